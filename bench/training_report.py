"""What the trainings of ``bench.training`` say: a table, a picture and the figures for each workload."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from rich.table import Table

from bench.training_runs import WAYS, Run

_COLOURS = {
    "AdamW": "#888888",
    "SOAP": "#0072B2",
    "EShampoo": "#D55E00",
    "Shampoo": "#009E73",
    "pytorch-optimizer SOAP": "#56B4E9",
    "EShampoo, fixed": "#E69F00",
}


def steps_to(run: Run, loss: float) -> float:
    """The first step at which the validation loss is that low, between two looks by a straight line."""
    points = list(zip(run.at, run.validation, strict=True))
    for (before, high), (after, low) in zip([(0, math.inf), *points], points, strict=False):
        if low <= loss:
            return after if math.isinf(high) else before + (after - before) * (high - loss) / (high - low)
    return math.inf


def summarise(runs: Sequence[Run], steps: int, shorter: int) -> dict[str, Any]:
    """For each way: the best learning rate, and its figures for each seed."""
    found: dict[str, Any] = {}
    targets: dict[int, float | None] = {}  # AdamW's final loss at its best rate, for each seed: it is the first way
    for way in WAYS:
        mine = [run for run in runs if run.way == way]
        grid = {run.lr: run.final for run in mine if run.steps == steps and run.seed == 0}
        if not grid:
            continue
        lr = min(grid, key=grid.__getitem__)
        of: dict[str, Any] = {"lr": lr, "grid": grid, "seeds": {}}
        for seed in sorted({run.seed for run in mine}):
            full = [run for run in mine if (run.lr, run.seed, run.steps) == (lr, seed, steps)]
            short = [run for run in mine if (run.lr, run.seed, run.steps) == (lr, seed, shorter)]
            final = full[0].final if full else None
            if way == "AdamW":
                targets[seed] = final
            target = targets.get(seed)
            of["seeds"][seed] = {
                "final": final,
                "steps to AdamW's final loss": steps_to(full[0], target) if full and target is not None else None,
                f"final with {shorter} steps": short[0].final if short else None,
                "AdamW's final": target,
            }
        found[way] = of
    return found


def table(name: str, summary: dict[str, Any], times: dict[str, Any] | None, steps: int, shorter: int) -> Table:
    """A row for each way; two seeds stand as a / b."""
    result = Table(title=f"{name}: {steps} steps")
    for heading in ("optimizer", "lr", "final loss", "steps to AdamW's", "seconds to it", f"loss at {shorter}"):
        result.add_column(heading, no_wrap=heading == "optimizer")
    for heading in ("s/step ÷ AdamW's", "÷ peer's"):
        result.add_column(heading)
    for way, of in summary.items():
        seeds = of["seeds"].values()
        reached = [seed["steps to AdamW's final loss"] for seed in seeds]
        timed = times["ways"][way] if times else None
        seconds = [None if n is None or timed is None else n * timed["cpu"] for n in reached]
        ratios = [f"{timed[f'cpu / {other}']:.2f}" if timed else "" for other in ("AdamW", "pytorch-optimizer SOAP")]
        finals, shorts = [s["final"] for s in seeds], [s[f"final with {shorter} steps"] for s in seeds]
        result.add_row(
            way, f"{of['lr']:g}", _told(finals), _told(reached, 0), _told(seconds, 0), _told(shorts), *ratios
        )
    return result


def _told(values: Sequence[float | None], digits: int = 3) -> str:
    return " / ".join("–" if v is None else "never" if math.isinf(v) else f"{v:.{digits}f}" for v in values)


def picture(name: str, runs: Sequence[Run], summary: dict[str, Any], times: dict[str, Any] | None, out: Path) -> Path:
    """Validation loss over steps and over seconds, seed 0; and where the optimizers' seconds go."""
    style: Any = {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}
    with plt.rc_context(style):
        figure, axes = plt.subplots(1, 3 if times else 1, figsize=(13, 4) if times else (6, 4), layout="constrained")
        losses = axes[0] if times else axes
        for way, of in summary.items():
            steps = max(run.steps for run in runs)
            best = [run for run in runs if (run.way, run.lr, run.seed, run.steps) == (way, of["lr"], 0, steps)]
            for run in best:
                losses.plot(run.at, run.validation, color=_COLOURS[way], label=way)
                if times:
                    each = times["ways"][way]["cpu"]
                    axes[1].plot([n * each for n in run.at], run.validation, color=_COLOURS[way])
        target = summary["AdamW"]["seeds"][0]["final"]
        for panel in axes[:2] if times else [losses]:
            panel.axhline(target, color="#888888", linewidth=0.8, linestyle=":")
            panel.set_yscale("log")
        losses.set(title=f"{name}: validation loss", xlabel="steps")
        losses.legend(fontsize=8)
        if times:
            axes[1].set(xlabel="CPU seconds")
            _draw_shares(axes[2], times)
        out.mkdir(parents=True, exist_ok=True)
        path = out / f"{name}.png"
        figure.savefig(path, dpi=110)
        plt.close(figure)
    return path


def _draw_shares(panel: Any, times: dict[str, Any]) -> None:
    """Milliseconds of one optimizer step, by family."""
    ways = [way for way in reversed(list(times["ways"]))]
    left = [0.0] * len(ways)
    for i, family in enumerate(times["ways"][ways[0]]["shares"]):
        widths = [1e3 * times["ways"][w]["optimizer"] * times["ways"][w]["shares"][family] for w in ways]
        panel.barh(ways, widths, left=left, label=family, color=["#0072B2", "#D55E00", "#009E73", "#E69F00", "#BBB"][i])
        left = [a + b for a, b in zip(left, widths, strict=True)]
    panel.set(title="the optimizer's step", xlabel="CPU milliseconds")
    panel.legend(
        fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=5, columnspacing=0.8, handlelength=1
    )
