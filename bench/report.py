"""``make bench``: every case against torch, as one table of ratios."""

import argparse
import json
import math
import sys
from collections import defaultdict
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench import bench_apply, bench_eigenbasis, bench_factors, bench_inverse_root, bench_rearrangement, shapes
from bench.cases import Case, InaccurateError, Measurement, measure
from kronla.commands.info import collect

MODULES = [bench_factors, bench_inverse_root, bench_eigenbasis, bench_rearrangement, bench_apply]


def main() -> int:
    args = parse_arguments()
    chosen = choose(args)
    if not chosen:
        print("No case has such a family or workload.", file=sys.stderr)
        return 2
    measurements, refused = measure_all(chosen, args.seconds or (0.5 if args.quick else 1.5))
    facts = collect()
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(table(measurements))
    console.print(f"{facts['cpu']}; {facts['threads']}; torch {facts['torch']}; {facts.get('blas core', '')}")
    for sentence in refused:
        console.print(f"REFUSED, not equally accurate: {sentence}")
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        record = {"info": facts, "measurements": [m.as_dict() for m in measurements], "refused": refused}
        args.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return 1 if refused else 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.report", description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"only {', '.join(shapes.QUICK_WORKLOADS)}, and shorter")
    parser.add_argument("--family", action="append", help="only this family; may be repeated")
    parser.add_argument("--workload", action="append", help="only this workload; may be repeated")
    parser.add_argument("--seconds", type=float, help="to spend on each case, at least three rounds")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    return parser.parse_args()


def choose(args: argparse.Namespace) -> list[Case]:
    everything = [case for module in MODULES for case in module.CASES]
    skipped = set(shapes.WORKLOADS) - set(shapes.QUICK_WORKLOADS) if args.quick else set()
    return [
        case
        for case in everything
        if case.workload not in skipped
        and (not args.family or case.family in args.family)
        and (not args.workload or case.workload in args.workload)
    ]


def measure_all(chosen: list[Case], seconds: float) -> tuple[list[Measurement], list[str]]:
    measurements, refused = [], []
    with Progress(transient=True) as progress:
        task = progress.add_task("", total=len(chosen))
        for case in chosen:
            progress.update(task, description=str(case))
            try:
                measurements.append(measure(case, seconds))
            except InaccurateError as error:
                refused.append(str(error))
            progress.advance(task)
    return measurements, refused


def table(measurements: list[Measurement]) -> Table:
    """A row for each case, and the geometric mean of each family."""
    result = Table(title="torch's time / kronla's time (above 1: kronla is faster)")
    for heading in ("family", "workload", "torch's way"):
        result.add_column(heading, no_wrap=True)
    for heading in ("kronla ms", "torch ms", "ratio", "quartiles", "kronla error", "torch error"):
        result.add_column(heading, justify="right")
    families: dict[str, list[Measurement]] = defaultdict(list)
    for m in measurements:
        families[m.case.family].append(m)
    for family, members in families.items():
        for m in members:
            result.add_row(family, m.case.workload, m.way, *_figures(m))
        mean = math.exp(sum(math.log(m.ratio) for m in members) / len(members))
        result.add_row(family, "geometric mean", "", "", "", f"[bold]{mean:.2f}[/bold]", end_section=True)
    return result


def _figures(m: Measurement) -> list[str]:
    return [
        f"{1e3 * m.kronla_seconds:.2f}",
        f"{1e3 * m.torch_seconds:.2f}",
        f"{m.ratio:.2f}",
        f"{m.low:.2f}–{m.high:.2f}",
        f"{m.kronla_error:.1e}",
        f"{m.torch_error:.1e}",
    ]


if __name__ == "__main__":
    sys.exit(main())
