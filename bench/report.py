"""``make bench``: every case against torch, as one table of ratios beside the targets; a full run is put on record.

A run of all cases writes bench/results/cpu.json and cpu.png, and the table of README.md.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench import (
    bench_apply,
    bench_eigenbasis,
    bench_factors,
    bench_inverse_root,
    bench_rearrangement,
    bench_refresh,
    machine,
    memory,
    readme,
    shapes,
)
from bench.cases import Case, Measurement, Refused, Session
from bench.targets import Peak, Summary, row_name, summarise

# Seconds after the start: a machine that is slow or disturbed shall not take much longer than a quarter of an hour.
SECOND_PASSES_END = 780.0
MODULES = [bench_factors, bench_inverse_root, bench_eigenbasis, bench_rearrangement, bench_apply, bench_refresh]
PICTURE = readme.RESULTS.with_suffix(".png")


def main() -> int:
    args = parse_arguments()
    chosen = choose(args)
    if not chosen:
        print("No case has such a family or workload.", file=sys.stderr)
        return 2
    full = not (args.quick or args.family or args.workload)
    record = run(chosen, args.seconds, full)
    console = Console(width=None if sys.stdout.isatty() else 200)
    show(record, console)
    for path in {args.json, readme.RESULTS if full else None} - {None}:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if args.picture or full:
        from bench import picture  # matplotlib is slow to load

        picture.draw(record, args.picture or PICTURE)
    if full:
        readme.update()
    return 1 if record["refused"] else 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.report", description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"only {', '.join(shapes.QUICK_WORKLOADS)}")
    parser.add_argument("--family", action="append", help="only families that begin so; may be repeated")
    parser.add_argument("--workload", action="append", help="only this workload; may be repeated")
    parser.add_argument("--seconds", type=float, default=0.3, help="to spend on each case, at least 3 rounds")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    parser.add_argument("--picture", type=Path, help="draw the figures into this file too")
    return parser.parse_args()


def choose(args: argparse.Namespace) -> list[Case]:
    everything = [case for module in MODULES for case in module.CASES]
    skipped = {*shapes.WORKLOADS, *shapes.SINGLE} - set(shapes.QUICK_WORKLOADS) if args.quick else set()
    return [
        case
        for case in everything
        if case.workload not in skipped
        and (not args.family or case.family.startswith(tuple(args.family)))
        and (not args.workload or case.workload in args.workload)
    ]


def run(chosen: list[Case], seconds: float, with_memory: bool = False) -> dict:
    """Measures the machine, the cases and memory; the record is what cpu.json holds."""
    start, others = time.perf_counter(), machine.Others()
    peak, rates = machine.measure_peak()
    sessions: list[Session] = []
    with Progress(transient=True) as progress:
        task = progress.add_task("", total=2 * len(chosen))
        for case in chosen:
            progress.update(task, description=str(case))
            sessions.append(Session(case))
            sessions[-1].run(seconds / 2)
            others.sample()
            progress.advance(task)
        for session in sessions:
            progress.update(task, description=f"{session.case}, again")
            in_time = time.perf_counter() - start < SECOND_PASSES_END
            if session.brief and in_time:
                session.run(seconds / 2)
            if session.disturbed and in_time:
                session.run(2 * seconds)
            others.sample()
            progress.advance(task)
    measurements = [m for session in sessions for m in session.measurements()]
    refused = [r for session in sessions for r in session.refused]
    peaks = memory.measure() if with_memory else None
    facts, use = machine.facts(), others.record()
    return {
        "schema": 1,
        "machine": facts,
        "peak": {"flops": peak.flops, "bytes": peak.bytes, "measured": rates},
        "others": use,
        "warnings": machine.warnings(facts, use),
        "seconds": time.perf_counter() - start,
        "groups": [asdict(summary) for summary in summarise(measurements, refused, peak)],
        "measurements": [{**asdict(m), "fraction": peak.fraction(m)} for m in measurements],
        "refused": [asdict(r) for r in refused],
        "memory": peaks,
    }


def show(record: dict, console: Console) -> None:
    measurements = [Measurement(**{k: v for k, v in m.items() if k != "fraction"}) for m in record["measurements"]]
    refused = [Refused(**r) for r in record["refused"]]
    peak = Peak(record["peak"]["flops"], record["peak"]["bytes"])
    console.print(table(measurements, [Summary(**group) for group in record["groups"]], peak))
    facts = record["machine"]
    console.print(
        f"{facts['cpu']}; {facts['threads']} threads; {facts['instruction set']}; torch {facts['versions']['torch']};"
        f" {record['seconds']:.0f} s"
    )
    rates = ", ".join(f"{name} {rate:.0f}" for name, rate in record["peak"]["measured"].items())
    console.print(f"Measured peaks: {rates}. 'Of peak': the least work of kronla's way at that rate / its time.")
    if record["memory"]:
        console.print(memory.sentence(record["memory"]))
    for sentence in refused:
        console.print(f"REFUSED, not equally accurate: {sentence}", style="red")
    for sentence in record["warnings"]:
        console.print(f"WARNING: {sentence}", style="bold red")


def table(measurements: list[Measurement], groups: list[Summary], peak: Peak) -> Table:
    """A row for each case; for each group the geometric mean and the worst row beside the targets."""
    result = Table(title="torch's time / kronla's time (above 1: kronla is faster)")
    for heading in ("group", "workload", "torch's way"):
        result.add_column(heading, no_wrap=True)
    for heading in ("kronla ms", "torch ms", "ratio", "quartiles", "of peak", "errors, kronla / torch"):
        result.add_column(heading, justify="right", no_wrap=True)
    for group in groups:
        for m in measurements:
            if m.group == group.group:
                result.add_row(m.group, row_name(m), m.way, *_figures(m, peak))
        result.add_row(f"[bold]{group.group}[/bold]", *_summary_cells(group), end_section=True)
    return result


def _figures(m: Measurement, peak: Peak) -> list[str]:
    return [
        f"{1e3 * m.kronla_seconds:.2f}",
        f"{1e3 * m.torch_seconds:.2f}",
        f"{m.ratio:.2f}",
        f"{m.low:.2f}–{m.high:.2f}",
        f"{peak.fraction(m):.0%}",
        f"{m.kronla_error:.1e} / {m.torch_error:.1e}",
    ]


def _summary_cells(group: Summary) -> list[str]:
    refused = f", {group.refused} refused" if group.refused else ""
    if group.mean is None or group.worst is None or group.fraction is None:
        return [f"nothing measured{refused}"]
    target = "no target"
    if group.target_mean is not None:
        floor = "" if group.target_floor is None else f" / {group.target_floor}"
        target = f"target {group.target_mean}{floor}: {'met' if group.met else 'NOT MET'}"
    return [
        f"worst: {group.worst_workload}{refused}",
        target,
        "",
        "mean",
        f"[bold]{group.mean:.2f}[/bold]",
        f"worst {group.worst:.2f}",
        f"{group.fraction:.0%}",
    ]


if __name__ == "__main__":
    sys.exit(main())
