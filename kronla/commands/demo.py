"""``python -m kronla demo``: three optimizers on MNIST beside AdamW and plain torch, two tables and two pictures."""

import argparse
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from kronla.commands.demo_ops import Comparison
    from kronla.commands.demo_training import Run

_PACKAGES = ("rich", "matplotlib", "mlxtend")
_HEADINGS = {"inverse roots": "roots", "eigenbasis": "basis"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The demo's options."""
    parser.add_argument("--out", type=Path, default=Path("demo_out"), help="folder of the pictures (%(default)s)")
    parser.add_argument("--epochs", type=int, help="passes over the 4,000 images (6; with --quick 1)")
    parser.add_argument("--quick", action="store_true", help="one epoch and few repeats: about 20 seconds")


def run(args: argparse.Namespace) -> int:
    """Train, compare, print, draw. 0 where all went well, 2 where a package is missing or an option is wrong."""
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        print(f'The demo needs {", ".join(missing)}: pip install "kronla[demo]"', file=sys.stderr)
        return 2
    epochs = args.epochs if args.epochs is not None else 1 if args.quick else 6
    if epochs < 1:
        print(f"--epochs must be a whole number ≥ 1, but is {epochs}.", file=sys.stderr)
        return 2
    _demo(args.out, epochs, repeats=3 if args.quick else 9)
    return 0


def _demo(out: Path, epochs: int, repeats: int) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from kronla.commands import demo_ops, demo_pictures, demo_training

    console, start = Console(), time.perf_counter()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
    )
    data = demo_training.load_data()
    console.print(
        f"MNIST, {len(data.digits):,} images to learn from and {len(data.test_digits):,} to be tested on; network "
        f"784-256-128-10; {epochs} epochs; {torch.get_num_threads()} threads.",
        soft_wrap=True,
    )
    with Progress(*columns, console=console) as progress:
        runs = [demo_training.train(name, data, epochs, progress) for name in demo_training.OPTIMIZERS]
        soap = next(run.optimizer for run in runs if run.name == "kronla SOAP")
        workloads = [demo_ops.from_training(soap, "this network"), demo_ops.transformer()]
        rows = demo_ops.compare(workloads, repeats, progress)
    console.print(_training_table(runs))
    console.print(_ops_table(rows))
    for inputs in workloads:
        ratios = demo_ops.ratios_after_a_step(inputs)
        told = ", ".join(f"{ratios[name]:.4f} ({name})" for name in ("kronla", "torch", "float64"))
        console.print(f"Off-diagonal ratio, {inputs.name}: {ratios['before']:.4f}, after the QR step {told}.")
    pictures = [demo_pictures.training(runs, out), demo_pictures.families(runs, rows, out)]
    _conclude(console, runs, pictures, time.perf_counter() - start)


def _table(title: str, caption: str) -> "Table":
    """Narrow enough for 80 columns: a figure that is cut says nothing."""
    from rich import box
    from rich.table import Table

    return Table(
        title=title,
        title_justify="left",
        caption=caption,
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )


def _training_table(runs: "list[Run]") -> "Table":
    table = _table(
        "Training: loss on the training images, accuracy on the test images",
        "rest: forward, backward, elementwise work; of seconds (s), the shares of the families",
    )
    table.add_column("optimizer", no_wrap=True)
    families = list(runs[0].seconds)
    for name in ("loss", "test", "s", *families):
        table.add_column(_HEADINGS.get(name, name), justify="right", no_wrap=True)
    for run in runs:
        shares = [run.seconds[family] / run.times[-1] for family in families]
        table.add_row(
            run.name,
            f"{run.losses[-1]:.4f}",
            f"{run.accuracies[-1]:.1%}",
            f"{run.times[-1]:.1f}",
            *(f"{share:.0%}" if share > 0 else "–" for share in shares),
        )
    return table


def _ops_table(rows: "list[Comparison]") -> "Table":
    table = _table(
        "Op families beside torch (float32, equal inputs)",
        "error: the largest, relative to float64 (eigenbasis: of QᵀQ); times: medians, taken by turns",
    )
    for name in ("family", "workload"):
        table.add_column(name, no_wrap=True)
    for name in ("kronla error", "torch error", "kronla ms", "torch ms", "torch/ kronla"):
        table.add_column(name.replace(" ", "\n"), justify="right", no_wrap=True)
    for row in rows:
        errors = (f"{row.kronla_error:.1e}", f"{row.torch_error:.1e}")
        times = (f"{row.kronla_ms:.2f}", f"{row.torch_ms:.2f}", f"{row.ratio:.2f}×")
        table.add_row(row.family, row.workload, *errors, *times)
    return table


def _conclude(console: "Console", runs: "list[Run]", pictures: list[Path], seconds: float) -> None:
    by_name = {run.name: run for run in runs}
    adam, soap, plain = (by_name[name] for name in ("torch AdamW", "kronla SOAP", "SOAP on torch.linalg"))
    reached = next((step for step, loss in zip(soap.steps, soap.losses, strict=True) if loss <= adam.losses[-1]), None)
    if reached is not None:
        console.print(f"SOAP is at AdamW's last loss after {reached} of its {adam.steps[-1]} steps.")
    console.print(
        f"A training with kronla's SOAP takes {soap.times[-1] / plain.times[-1]:.2f} of the seconds of torch's."
    )
    for path in pictures:
        console.print(f"Picture: {path}", soft_wrap=True)
    console.print(f"Done in {seconds:.0f} s.")
