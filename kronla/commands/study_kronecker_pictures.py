"""The pictures of the study of Morwani et al. 2024, in the manner of the paper's Figures 1 to 5."""

from pathlib import Path
from typing import Any

from kronla.commands.study_parts import Results
from kronla.commands.study_pictures import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    YELLOW,
    cosine_axis,
    figure,
)

_NAMES = {"mnist2": "logistic regression", "mnist10": "softmax regression", "convnet": "ConvNet", "vit": "ViT"}
_APPROXIMATIONS: dict[str, Any] = {
    "optimal": {"color": BLACK, "marker": "s", "label": "optimal Kronecker (5 rounds)"},
    "Shampoo²": {"color": BLUE, "marker": "o", "linestyle": "--", "label": "Shampoo²"},
    "K-FAC": {"color": GREEN, "marker": "^", "label": "K-FAC (expand)"},
    "Shampoo": {"color": ORANGE, "marker": "v", "label": "Shampoo"},
}
_RATIOS: dict[str, Any] = {
    "kronecker": {"color": BLACK, "marker": "s", "label": "σ₁/√Σσᵢ²"},
    "left": {"color": BLUE, "marker": "o", "label": "α₁σ₁/√Σαᵢ²σᵢ², left"},
    "right": {"color": ORANGE, "marker": "v", "linestyle": "--", "label": "α₁σ₁/√Σαᵢ²σᵢ², right"},
}
_LABELS: dict[str, Any] = {
    "sampled, |B| = 1": {"color": BLUE, "marker": "o", "label": "sampled labels, |B| = 1"},
    "real, |B| = 1": {"color": ORANGE, "marker": "v", "label": "real labels, |B| = 1"},
    "sampled, |B| = 256": {"color": SKY, "marker": "o", "linestyle": "--", "label": "sampled labels, |B| = 256"},
    "real, |B| = 256": {"color": PURPLE, "marker": "v", "linestyle": "--", "label": "real labels, |B| = 256"},
}
_BARS = {
    "optimal": BLACK,
    "Shampoo²": BLUE,
    "Shampoo": ORANGE,
    "K-FAC expand": GREEN,
    "K-FAC reduce": "#7FCFB4",
    "diagonal": GREY,
    "corrected": YELLOW,
    "sum of 3": PURPLE,
}


def draw(results: dict[str, Results], out: Path) -> list[Path]:
    """Every picture that these parts allow."""
    networks = {name: part for name, part in results.items() if "layers" in part}
    labelled = {name: part for name, part in results.items() if "labels" in part["looks"][0]}
    drawn = [_approximations(results, out / "figure1_approximations.png"), _ratios(results, out / "figure2_start.png")]
    if labelled:
        drawn += [
            _labels(labelled, ("sampled, |B| = 1", "real, |B| = 1"), "Figure 3: labels", out / "figure3_labels.png"),
            _labels(labelled, tuple(_LABELS), "Figure 4: batches and labels", out / "figure4_batches.png"),
        ]
    if networks:
        drawn.append(_layers(networks, out / "figure5_layers.png"))
    return drawn


def _titled(name: str, part: Results) -> str:
    instead = {"convnet": ", in place of CIFAR-5M", "vit": ", in place of ImageNet"}.get(name, "")
    return f"{_NAMES[name]}\n{part['data']}{instead}\n{part['layer']}; {part['examples']} images"


def _plot(axis: Any, part: Results, group: str, styles: dict[str, Any]) -> None:
    looks = part["looks"]
    shown = []
    for key, style in styles.items():
        values = [look[group][key] for look in looks if key in look[group]]
        if values:
            axis.plot([look["step"] for look in looks], values, **style)
            shown += values
    cosine_axis(axis, shown)


def _approximations(results: dict[str, Results], path: Path) -> Path:
    title = "Figure 1: cosine similarity of a layer's curvature and its Kronecker approximations"
    with figure(path, 2, len(results), (3.1 * len(results) + 0.8, 6), title, sharex="col") as axes:
        for i, (name, part) in enumerate(results.items()):
            _plot(axes[0][i], part, "gauss_newton", _APPROXIMATIONS)
            _plot(axes[1][i], part, "adagrad", _APPROXIMATIONS)
            axes[0][i].set_title(_titled(name, part))
            axes[1][i].set_xlabel("steps")
        axes[0][0].set_ylabel("Gauss–Newton")
        axes[1][0].set_ylabel("AdaGrad")
    return path


def _ratios(results: dict[str, Results], path: Path) -> Path:
    title = "Figure 2: the first singular pair of the rearrangement, and what the identity sees of it"
    with figure(path, 2, len(results), (3.1 * len(results) + 0.8, 6), title, sharex="col") as axes:
        for i, (name, part) in enumerate(results.items()):
            _plot(axes[0][i], part, "gauss_newton_ratios", _RATIOS)
            _plot(axes[1][i], part, "adagrad_ratios", _RATIOS)
            axes[0][i].set_title(_titled(name, part))
            axes[1][i].set_xlabel("steps")
        axes[0][0].set_ylabel("Gauss–Newton")
        axes[1][0].set_ylabel("AdaGrad")
    return path


def _labels(parts: dict[str, Results], shown: tuple[str, ...], title: str, path: Path) -> Path:
    full = f"{title}. Cosine of H_GN and Shampoo² made of such gradients"
    with figure(path, 1, len(parts), (3.7 * len(parts) + 0.8, 3.9), full) as axes:
        for i, (name, part) in enumerate(parts.items()):
            _plot(axes[0][i], part, "labels", {key: _LABELS[key] for key in shown})
            axes[0][i].set(title=_titled(name, part), xlabel="steps")
        axes[0][0].set_ylabel("cosine similarity")
    return path


def _layers(networks: dict[str, Results], path: Path) -> Path:
    title = "Figure 5: every layer after training, cosine similarity to H_GN"
    with figure(path, len(networks), 1, (11, 3.3 * len(networks)), title) as axes:
        for i, (name, part) in enumerate(networks.items()):
            layers = part["layers"]
            for j, (key, colour) in enumerate(_BARS.items()):
                places = [k + (j - len(_BARS) / 2 + 0.5) * 0.1 for k in range(len(layers))]
                axes[i][0].bar(places, [found[key] for found in layers.values()], 0.1, color=colour, label=key)
            places = [k + (list(_BARS).index("Shampoo²") - len(_BARS) / 2 + 0.5) * 0.1 for k in range(len(layers))]
            probes = zip(*(found["Shampoo² by 100 probes"] for found in layers.values()), strict=True)
            values, errors = ([*column] for column in probes)
            by_probes = {"fmt": "_", "color": SKY, "capsize": 2, "markersize": 6, "linewidth": 1.2}
            axes[i][0].errorbar(places, values, errors, label="Shampoo² by 100 probes", **by_probes)
            labels = [f"{name}\n{found['shape'][0]}×{found['shape'][1]}" for name, found in layers.items()]
            axes[i][0].set_xticks(range(len(layers)), labels, fontsize=8)
            axes[i][0].set_ylim(0, 1.03)
            axes[i][0].set_title(_titled(name, part).rpartition("\n")[0].replace("\n", ", "))
            axes[i][0].set_ylabel("cosine similarity")
            axes[i][0].grid(axis="x", visible=False)
    return path
