"""What the studies' pictures have in common, drawn without a display."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

# Okabe and Ito's colours, which colour-blind readers tell apart.
BLUE, ORANGE, GREEN, PURPLE, SKY, YELLOW, GREY, BLACK = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#E69F00",
    "#888888",
    "#000000",
)
_STYLE: Any = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E5E5E5",
    "axes.axisbelow": True,
    "axes.titlesize": 10,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
}


@contextmanager
def figure(path: Path, rows: int, columns: int, size: tuple[float, float], title: str, **shared: Any) -> Iterator[Any]:
    """Axes ``[rows][columns]`` of a figure that is saved at the end."""
    with plt.rc_context(_STYLE):
        made, axes = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False, **shared)
        made.suptitle(fill(title, round(size[0] * 11)), fontsize=11, fontweight="bold", x=0.01, ha="left")
        yield axes
        handles = {
            label: handle
            for axis in axes.flat
            for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
            if axis.get_legend() is None
        }
        if handles:
            made.legend(
                handles.values(),
                handles.keys(),
                loc="outside lower center",
                ncols=max(1, min(len(handles), int(size[0] / 2.3))),
            )
        made.savefig(path, dpi=110)
        plt.close(made)


def cosine_axis(axis: Any, curves: Sequence[float]) -> None:
    """An axis of cosines that ends at 1 and begins where there is something to see."""
    lowest = min(curves, default=0.0)
    bottom = max(0.0, lowest - 0.05) if lowest > 0.3 else 0.0
    axis.set_ylim(bottom, 1 + 0.04 * (1 - bottom))
