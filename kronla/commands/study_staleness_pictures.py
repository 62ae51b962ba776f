"""The pictures of the study of Eschenhagen et al. 2025, in the manner of the paper's Figures 1 to 5."""

import math
from pathlib import Path
from typing import Any

from kronla.commands.study_parts import Results
from kronla.commands.study_pictures import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, YELLOW, figure

_PANELS = {"figure1-fresh": "no grafting", "figure1-stale": "no grafting", "figure1-grafted": "grafted from Adam"}
_LOSSES = (0.4, 0.5, 0.7, 1, 2, 3)  # ticks of logarithmic axes
_RATIOS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1)
_COLOURS = (BLUE, ORANGE, GREEN, PURPLE)
_VARIANTS: dict[str, Any] = {
    "Shampoo": {"color": ORANGE, "marker": "v"},
    "Shampoo, grafted": {"color": GREEN, "marker": "^"},
    "Shampoo²": {"color": YELLOW, "marker": "D"},
    "EShampoo": {"color": BLUE, "marker": "o"},
    "SOAP": {"color": PURPLE, "marker": "s"},
}
_WAYS: dict[str, Any] = {
    "eigh, every step": {"color": BLACK},
    "eigh, every 10": {"color": GREY},
    "eigh, τ = 0.1": {"color": ORANGE},
    "QR, τ = 0.1, I = 1": {"color": SKY, "linestyle": "--"},
    "QR, τ = 0.1, I = 10": {"color": BLUE},
    "QR, τ = 0.01, I = 10": {"color": GREEN},
    "rotation, τ = 0.1, I = 1": {"color": PURPLE, "linestyle": "--"},
}
_KINDS = {"patch": BLACK, "position": PURPLE, "qkv": BLUE, "proj": SKY, "fc1": GREEN, "fc2": YELLOW, "head": ORANGE}
_HALVES: dict[str, Any] = {
    "τ = 0.1": {"color": BLACK},
    "τ = 0.1, then 0.99": {"color": BLUE},
    "τ = 0.99, then 0.1": {"color": ORANGE},
    "τ = 0.99": {"color": GREY, "linestyle": "--"},
}
_UPDATES: dict[str, Any] = {
    "Adam": {"color": GREY},
    "Shampoo, every step": {"color": ORANGE},
    "Shampoo, stale": {"color": ORANGE, "linestyle": ":"},
    "Shampoo, stale, grafted": {"color": GREEN, "linestyle": "--"},
    "EShampoo, every step": {"color": BLUE},
    "EShampoo, stale": {"color": BLUE, "linestyle": ":"},
}


def draw(results: dict[str, Results], out: Path) -> list[Path]:
    """Every picture that these parts allow."""
    drawn = []
    if any(name in results for name in _PANELS):
        panels = {name: part for name, part in results.items() if name in _PANELS}
        drawn.append(_figure_1(panels, results.get("figure2-adam"), out / "figure1_grafting.png"))
    variants = [part for name, part in results.items() if name.startswith("figure2-")]
    if variants:
        drawn.append(_figure_2(variants, out / "figure2_frequencies.png"))
    for name, picture, path in (
        ("figure3", _figure_3, "figure3_adaptive.png"),
        ("figure4", _figure_4, "figure4_kinds.png"),
        ("figure5", _figure_5, "figure5_early_late.png"),
        ("yardstick", _yardstick, "yardstick.png"),
    ):
        if name in results:
            drawn.append(picture(results[name], out / path))
    return drawn


def _where(part: Results) -> str:
    return f"small ViT, {part['data']}, in place of Imagewoof"


def _ended(variant: Results | None) -> list[Results]:
    """The rows of Figure 2 whose trainings came to an end."""
    return [] if variant is None else [row for row in variant["rows"] if row["final"] is not None]


def _logarithmic(axis: Any) -> None:
    """Losses on a logarithmic axis whose ticks are numbers."""
    axis.set_yscale("log")
    axis.set_yticks(_LOSSES, [f"{loss:g}" for loss in _LOSSES])
    axis.minorticks_off()


def _curve(axis: Any, key: str, name: str, run: Results, style: dict[str, Any]) -> None:
    """A training's loss over steps, seconds or refreshes, in a band of one standard error."""
    axis.plot(run[key], run["losses"], label=name, **style)
    low, high = ([x + sign * e for x, e in zip(run["losses"], run["errors"], strict=True)] for sign in (-1, 1))
    axis.fill_between(run[key], low, high, color=style["color"], alpha=0.15, linewidth=0)


def _figure_1(panels: dict[str, Results], adam: Results | None, path: Path) -> Path:
    first = next(iter(panels.values()))
    title = f"Figure 1: last training loss of Shampoo over learning rates and ε; {_where(first)}"
    with figure(path, 1, len(panels), (3.6 * len(panels) + 0.6, 3.9), title, sharey=True) as axes:
        for axis, (name, part) in zip(axes[0], panels.items(), strict=True):
            axis.axhline(math.log(10), color=GREY, linewidth=1, linestyle=":", label="a guess, ln 10")
            for row in _ended(adam):
                axis.axhline(row["final"], color=GREY, linestyle="--", label=f"Adam at its best, lr = {row['lr']:g}")
            for colour, (damping, finals) in zip(_COLOURS, part["finals"].items(), strict=False):
                known = [(lr, final) for lr, final in zip(part["rates"], finals, strict=True) if final is not None]
                axis.plot(*(list(zip(*known, strict=True)) or ([], [])), "o-", color=colour, label=f"ε = {damping}")
                failed = [lr for lr, final in zip(part["rates"], finals, strict=True) if final is None]
                axis.plot(failed, [0.97] * len(failed), "x", color=colour, transform=axis.get_xaxis_transform())
            fresh = "every step" if part["every"] == 1 else f"every {part['every']} steps"
            axis.set(title=f"roots {fresh}, {_PANELS[name]}", xscale="log", xlabel="learning rate")
            axis.set_xticks(part["rates"], [f"{lr:g}" for lr in part["rates"]])
            _logarithmic(axis)
        axes[0][0].set_ylabel("training loss, last tenth")
    return path


def _figure_2(variants: list[Results], path: Path) -> Path:
    errors = any(row["final_error"] for part in variants for row in _ended(part))
    told = "; bars and band: standard errors over seeds" if errors else ""
    title = f"Figure 2: variants and update frequencies, each at its best learning rate; {_where(variants[0])}{told}"
    with figure(path, 1, 1, (8, 4.6), title) as axes:
        axis = axes[0][0]
        for part in variants:
            rows = _ended(part)
            finals, errors = ([row[key] for row in rows] for key in ("final", "final_error"))
            if part["variant"] == "Adam":
                for final, error in zip(finals, errors, strict=True):
                    axis.axhspan(final - error, final + error, color=GREY, alpha=0.25, linewidth=0)
                    axis.axhline(final, color=GREY, linestyle="--", label="Adam")
                continue
            style = _VARIANTS[part["variant"]]
            axis.errorbar([row["every"] for row in rows], finals, errors, capsize=3, label=part["variant"], **style)
        frequencies = sorted({row["every"] for part in variants for row in part["rows"] if row["every"] is not None})
        axis.set(xscale="log", xlabel="steps between updates", ylabel="training loss, last tenth")
        axis.set_xticks(frequencies, [str(every) for every in frequencies])
        axis.minorticks_off()
    return path


def _figure_3(part: Results, path: Path) -> Path:
    title = f"Figure 3: EShampoo, when and how its bases are refreshed; {_where(part)}"
    with figure(path, 1, 3, (13, 4.4), title, sharey=True) as axes:
        places = (("steps", "steps"), ("seconds", "CPU seconds, one thread"), ("refreshes", "bases refreshed so far"))
        for axis, (key, label) in zip(axes[0], places, strict=True):
            for name, run in part["runs"].items():
                _curve(axis, key, name, run, _WAYS[name])
            axis.set(xlabel=label)
            _logarithmic(axis)
        axes[0][2].set_xscale("log")
        axes[0][0].set_ylabel("training loss")
    return path


def _figure_4(part: Results, path: Path) -> Path:
    title = f"Figure 4: by kind of parameter; {_where(part)}"
    with figure(path, 1, 3, (13, 4.2), title) as axes:
        for mode, side in enumerate(("rows (L)", "columns (R)")):
            axis = axes[0][mode]
            for kind, colour in _KINDS.items():
                values = [point["ratios"][kind][mode] for point in part["aged"]]
                axis.plot([point["step"] for point in part["aged"]], values, color=colour, label=kind)
            axis.axhline(0.1, color=GREY, linewidth=1, linestyle=":", label="τ = 0.1")
            axis.set(title=f"off-diagonal ratio, {side}, in a basis {part['age']} steps old", xlabel="steps")
            axis.set_yscale("log")
            axis.set_yticks(_RATIOS, [f"{ratio:g}" for ratio in _RATIOS])
            axis.minorticks_off()
        axes[0][1].sharey(axes[0][0])
        axis = axes[0][2]
        for i, (kind, colour) in enumerate(_KINDS.items()):
            shares = part["refreshed"][kind]
            axis.bar([i - 0.2, i + 0.2], shares, 0.36, color=colour)
            for place, share, side in zip((i - 0.2, i + 0.2), shares, "LR", strict=True):
                axis.text(place, share, side, ha="center", va="bottom", fontsize=8)
        axis.set_xticks(range(len(_KINDS)), list(_KINDS))
        axis.set(title="share of steps in which τ = 0.1 asks for a refresh")
    return path


def _figure_5(part: Results, path: Path) -> Path:
    title = f"Figure 5: error of the basis in early and in late steps; {_where(part)}"
    with figure(path, 1, 2, (10, 4.2), title) as axes:
        for name, run in part["runs"].items():
            _curve(axes[0][0], "steps", name, run, _HALVES[name])
            axes[0][1].plot(run["steps"], run["refreshes"], label=name, **_HALVES[name])
        for axis in axes[0]:
            axis.axvline(part["switch"], color=GREY, linewidth=1, linestyle=":", label="the change of τ")
            axis.set_xlabel("steps")
        _logarithmic(axes[0][0])
        axes[0][0].set_ylabel("training loss")
        axes[0][1].set_ylabel("bases refreshed so far")
    return path


def _yardstick(part: Results, path: Path) -> Path:
    rows, columns = part["shape"]
    title = f"Updates of the head ({rows}×{columns}) beside full-matrix Adam's; {_where(part)}"
    with figure(path, 1, 2, (10, 4.2), title) as axes:
        steps = [point["step"] for point in part["points"]]
        for name, style in _UPDATES.items():
            for column in (0, 1):
                values = [point["updates"][name][column] for point in part["points"]]
                axes[0][column].plot(steps, values, label=name, **style)
        axes[0][0].axhline(1, color=BLACK, linewidth=1)
        for axis in axes[0]:
            spanned = f"{rows * columns} gradients, as many as dimensions"
            axis.axvline(rows * columns, color=GREY, linewidth=1, linestyle=":", label=spanned)
        axes[0][0].set(ylabel="length / full-matrix Adam's", yscale="log", xlabel="steps")
        axes[0][0].yaxis.set_major_formatter("{x:g}")
        axes[0][1].set(ylabel="angle to full-matrix Adam's, degrees", xlabel="steps")
    return path
