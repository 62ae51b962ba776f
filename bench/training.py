"""``python -m bench.training``: kronla's optimizers on real trainings, beside AdamW and another package's SOAP.

Two workloads (:mod:`bench.training_workloads`). Each optimizer gets the same budget: every learning rate of one grid
with seed 0, the best of them with seed 1 too. Then each is trained with its best rate and three quarters of AdamW's
steps, a schedule of its own: does it reach AdamW's final loss? Seconds are taken apart from that, with all optimizers
side by side (:mod:`bench.training_times`). Every training is kept in a file, and a second call goes on where the first
ended.
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from bench import training_report, training_times, training_workloads
from bench.training_runs import RATES, WAYS, Run, Store, fingerprint, train
from bench.training_workloads import Workload
from kronla.commands.info import collect

SEEDS = (0, 1)
SHORTER = 0.75
# Not tuned for itself: it takes the learning rate of another, from which it differs in one setting.
FOLLOWS = {"EShampoo, fixed": "EShampoo"}


def main() -> int:
    args = parse_arguments()
    if args.threads:
        torch.set_num_threads(args.threads)
    console = Console(width=None if sys.stdout.isatty() else 140)
    steps = args.steps or (60 if args.quick else 500)
    chosen = [workload for workload in workloads(args.fashion_mnist) if args.workload in (None, workload.name)]
    for workload in chosen:
        console.print(f"{workload.name}: {workload.data}; {torch.get_num_threads()} threads", soft_wrap=True)
        store = Store(args.runs)
        if not args.report:
            train_all(workload, steps, args.quick, store, console)
            store.keep_times(workload.name, time_all(workload, 3 if args.quick else args.rounds, console))
        report(workload, steps, store, args.out, console)
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.training", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="60 steps, one learning rate and seed: about 5 minutes")
    parser.add_argument("--workload", choices=("vit", "characters"), help="only this one")
    parser.add_argument("--steps", type=int, help="of a training (500; with --quick 60)")
    parser.add_argument("--threads", type=int, help="of torch (its default)")
    parser.add_argument("--rounds", type=int, default=8, help="of taking times (%(default)s; with --quick 3)")
    parser.add_argument("--report", action="store_true", help="only tell what the files of earlier runs say")
    parser.add_argument("--out", type=Path, default=Path("build/training"), help="folder of the report (%(default)s)")
    parser.add_argument("--runs", type=Path, default=Path("build/training"), help="folder of the runs (%(default)s)")
    parser.add_argument(
        "--fashion-mnist", type=Path, default=training_workloads.FASHION, help="its folder (%(default)s)"
    )
    return parser.parse_args()


def workloads(fashion_mnist: Path) -> list[Workload]:
    return [training_workloads.vision(fashion_mnist), training_workloads.characters()]


def time_all(workload: Workload, rounds: int, console: Console) -> dict[str, Any]:
    """Seconds per step, all optimizers side by side."""
    with Progress(console=console) as progress:
        bar = progress.add_task(f"{workload.name}: seconds per step", total=rounds * len(WAYS))
        return training_times.compare(workload, rounds, lambda way: progress.advance(bar))


def report(workload: Workload, steps: int, store: Store, out: Path, console: Console) -> None:
    """The table, the picture, and a JSON file with every figure."""
    runs, shorter = [run for run in store.all() if run.workload == workload.name], round(SHORTER * steps)
    runs = [run for run in runs if run.steps in (steps, shorter)]
    summary = training_report.summarise(runs, steps, shorter)
    times = store.times(workload.name)
    console.print(training_report.table(workload.name, summary, times, steps, shorter))
    path = training_report.picture(workload.name, runs, summary, times, out)
    record = {
        "workload": workload.name,
        "data": workload.data,
        "steps": steps,
        "machine": {name: collect().get(name) for name in ("torch", "cpu", "instruction set")},
        "summary": summary,
        "times": times,
        "runs": [asdict(run) for run in runs],
    }
    path.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    console.print(f"{path}, {path.with_suffix('.json')}")


def train_all(workload: Workload, steps: int, quick: bool, store: Store, console: Console) -> None:
    """All runs of one workload: the grid, the second seed, the shorter trainings."""
    columns = (
        TextColumn("{task.description:<34}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task(workload.name, total=None, note="")

        def done(way: str, lr: float, seed: int, length: int) -> Run:
            run = Run(workload.name, way, lr, seed, length, algorithm=fingerprint(way))
            found = store.find(run)
            if found is not None:
                return found
            progress.reset(bar, total=length, description=f"{way}, lr {lr:g}, seed {seed}")
            train(run, workload, lambda note: progress.update(bar, advance=1, note=note))
            store.keep(run)
            console.print(f"{run.key}: {run.final:.4f}")
            return run

        best: dict[str, float] = {}
        rates = (3e-3,) if quick else RATES
        for way in [way for way in WAYS if way not in FOLLOWS]:
            best[way] = min((done(way, lr, 0, steps) for lr in rates), key=lambda run: run.final).lr
        # The grid is done, which is most of seed 0: then what answers the most, should somebody stop it early.
        for seed in SEEDS[:1] if quick else SEEDS:
            done("AdamW", best["AdamW"], seed, steps)
            for way in [way for way in best if way != "AdamW"]:
                done(way, best[way], seed, round(SHORTER * steps))
            for way in [way for way in WAYS if way != "AdamW"]:
                done(way, best[FOLLOWS.get(way, way)], seed, steps)


if __name__ == "__main__":
    raise SystemExit(main())
