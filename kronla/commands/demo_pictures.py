"""The demo's two pictures, drawn without a display."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from kronla.commands.demo_ops import Comparison
from kronla.commands.demo_training import Run

# Okabe and Ito's colours, which colour-blind readers tell apart.
_COLOURS = {
    "torch AdamW": "#888888",
    "kronla Shampoo": "#009E73",
    "kronla EShampoo": "#D55E00",
    "kronla SOAP": "#0072B2",
    "SOAP on torch.linalg": "#56B4E9",
}
_FAMILY_COLOURS = {
    "factors": "#0072B2",
    "eigenbasis": "#D55E00",
    "inverse roots": "#009E73",
    "apply": "#E69F00",
    "rest": "#BBBBBB",
}
_STYLE: Any = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E5E5E5",
    "axes.axisbelow": True,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "legend.frameon": False,
}


def training(runs: list[Run], out: Path) -> Path:
    """Loss and accuracy over steps and over seconds."""
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(2, 2, figsize=(11, 7), sharex="col", sharey="row", layout="constrained")
        for run in runs:
            dashed = "--" if run.name == "SOAP on torch.linalg" else "-"
            style: dict[str, Any] = {"color": _COLOURS[run.name], "linestyle": dashed, "linewidth": 1.8}
            for column, x in enumerate((run.steps, run.times)):
                axes[0, column].plot(x, run.losses, label=run.name, **style)
                axes[1, column].plot(x, [100 * accuracy for accuracy in run.accuracies], **style)
        longest = max(run.times[-1] for run in runs)
        axes[0, 0].set_yscale("log")
        axes[0, 0].set(title="Training loss, over steps", ylabel="cross entropy, 4,000 images")
        axes[0, 1].set(title="over seconds")
        axes[1, 0].set(title="Test accuracy, over steps", ylabel="% of 1,000 images", xlabel="steps")
        axes[1, 1].set(title="over seconds", xlabel="seconds of training", xlim=(-0.02 * longest, 1.02 * longest))
        axes[1, 0].set_ylim(min(85, 100 * min(max(run.accuracies) for run in runs) - 5), 98)
        figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=len(runs))
        return _save(figure, out / "training.png")


def families(runs: list[Run], rows: list[Comparison], out: Path) -> Path:
    """Where the seconds of each training went, and each family's time and error beside torch's."""
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(1, 3, figsize=(14, 5), width_ratios=(1.1, 1, 1), layout="constrained")
        _seconds(axes[0], runs)
        rows = rows[::-1]
        labels = [f"{row.family}\n{row.workload}" for row in rows]
        _ratios(axes[1], rows, labels)
        _errors(axes[2], rows)
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower left", ncols=len(_FAMILY_COLOURS))
        return _save(figure, out / "families.png")


def _seconds(axis: Any, runs: list[Run]) -> None:
    names = [run.name for run in runs]
    left = [0.0] * len(runs)
    for family, colour in _FAMILY_COLOURS.items():
        widths = [run.seconds[family] for run in runs]
        axis.barh(names, widths, left=left, color=colour, label=family, height=0.65)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    for i, total in enumerate(left):
        axis.text(total + 0.01 * max(left), i, f"{total:.1f} s", va="center", fontsize=9)
    axis.invert_yaxis()
    axis.set(title="Seconds of a training, by family", xlabel="seconds", xlim=(0, 1.12 * max(left)))
    axis.grid(axis="y", visible=False)


def _ratios(axis: Any, rows: list[Comparison], labels: list[str]) -> None:
    ratios = [row.ratio for row in rows]
    axis.barh(labels, ratios, color=["#0072B2" if ratio >= 1 else "#D55E00" for ratio in ratios], height=0.65)
    for i, ratio in enumerate(ratios):
        axis.text(ratio + 0.02 * max(ratios), i, f"{ratio:.2f}×", va="center", fontsize=9)
    axis.axvline(1, color="black", linewidth=1)
    axis.set(title="torch's time / kronla's", xlabel="above 1: kronla is faster", xlim=(0, 1.18 * max(*ratios, 1)))
    axis.grid(axis="y", visible=False)
    axis.tick_params(axis="y", labelsize=8)


def _errors(axis: Any, rows: list[Comparison]) -> None:
    places = range(len(rows))
    for i, row in enumerate(rows):
        axis.plot([row.kronla_error, row.torch_error], [i, i], color="#CCCCCC", linewidth=2, zorder=1)
    axis.scatter([row.torch_error for row in rows], places, color="#888888", label="torch", zorder=2)
    axis.scatter([row.kronla_error for row in rows], places, color="#0072B2", label="kronla", zorder=3)
    axis.set(title="Relative error", xlabel="against float64, log scale", xscale="log", yticks=list(places))
    axis.tick_params(axis="y", length=0, labelleft=False)
    axis.set_ylim(-0.5, len(rows) - 0.5)
    axis.legend(loc="best", fontsize=9)


def _save(figure: Any, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)
    return path
