"""The study of Eschenhagen et al. 2025: what stale preconditioners cost, and what makes good for it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from kronla import diagnostics as d
from kronla.commands.study_data import Images, fashion
from kronla.commands.study_models import ViT, seeded
from kronla.commands.study_parts import Bar, Part, Results
from kronla.commands.study_staleness_pictures import draw
from kronla.commands.study_training import BETAS, Recipe, Watch, averaged, one_thread, train

__all__ = ["FULL", "QUICK", "draw", "parts", "shortened"]


@dataclass(frozen=True)
class Settings:
    """How much is trained."""

    steps: int
    width: int
    """Of the ViT."""
    batch: int
    pictures: int
    stale: int
    """Steps between refreshes where a preconditioner is stale (the paper: 100)."""
    frequencies: tuple[int, ...]
    rates: tuple[float, ...]
    dampings: tuple[float, ...]
    best: float
    """Learning rate of the trainings in eigenbases, Figures 3 to 5."""
    seeds: int
    """Trainings, of other weights and batches, behind each point of Figures 2, 3 and 5."""


FULL = Settings(
    600, 48, 64, 20_000, 100, (1, 10, 50, 100), (1e-3, 3e-3, 1e-2, 3e-2, 1e-1), (1e-12, 1e-8, 1e-5), best=3e-3, seeds=3
)
QUICK = Settings(100, 32, 64, 4_000, 20, (1, 5, 20), (3e-3, 1.7e-2, 1e-1), (1e-12, 1e-6), best=3e-3, seeds=1)

# Figure 1, and Figure 2's rows of the same optimizer.
_FIGURE_1: dict[str, dict[str, Any]] = {
    "fresh": {"grafting": None, "stale": False},
    "stale": {"grafting": None, "stale": True},
    "grafted": {"grafting": "adam", "stale": True},
}
_FIGURE_2 = {
    "Adam": Recipe("Adam"),
    "Shampoo": Recipe("Shampoo", {"grafting": None}),
    "Shampoo, grafted": Recipe("Shampoo", {"grafting": "adam"}),
    "Shampoo²": Recipe("Shampoo2"),
    "EShampoo": Recipe("EShampoo", {"method": "eigh", "tol": 0.0}),
    "SOAP": Recipe("SOAP"),
}
_FIGURE_3 = {
    "eigh, every step": {"method": "eigh", "tol": 0.0},
    "eigh, every 10": {"method": "eigh", "tol": 0.0, "update_every": 10},
    "eigh, τ = 0.1": {"method": "eigh", "tol": 0.1},
    "QR, τ = 0.1, I = 1": {"method": "qr", "tol": 0.1, "max_steps": 1},
    "QR, τ = 0.1, I = 10": {"method": "qr", "tol": 0.1, "max_steps": 10},
    "QR, τ = 0.01, I = 10": {"method": "qr", "tol": 0.01, "max_steps": 10},
    "rotation, τ = 0.1, I = 1": {"method": "rotation", "tol": 0.1, "max_steps": 1},
}
_FIGURE_5 = {
    "τ = 0.1": (0.1, 0.1),
    "τ = 0.1, then 0.99": (0.1, 0.99),
    "τ = 0.99, then 0.1": (0.99, 0.1),
    "τ = 0.99": (0.99, 0.99),
}
_YARDSTICK_WIDTH, _YARDSTICK_STEPS = 8, 4  # the head is 10×8; times the other trainings' length
_TRACED_EVERY = 10  # age of the bases in Figure 4


def shortened(settings: Settings, steps: int) -> Settings:
    """The same with trainings of other length."""
    return replace(settings, steps=steps)


def parts(settings: Settings) -> list[Part]:
    """The parts: one for each curve family of a figure, so that little is lost by an interruption."""
    tried, repeated = ("rates", "stale"), ("best", "seeds")

    def part(name: str, measure: Callable[[Settings, Bar], Results], *fields: str) -> Part:
        used = ("steps", "width", "batch", "pictures", *fields)
        return Part(name, {field: getattr(settings, field) for field in used}, partial(measure, settings))

    return [
        *(part(f"figure1-{name}", partial(_figure_1, name), *tried, "dampings") for name in _FIGURE_1),
        *(
            part(f"figure2-{_file(name)}", partial(_figure_2, name), "rates", "frequencies", "seeds")
            for name in _FIGURE_2
        ),
        part("figure3", _figure_3, *repeated),
        part("figure4", _figure_4, "best"),
        part("figure5", _figure_5, *repeated),
        part("yardstick", _yardstick, "stale"),
    ]


def _file(name: str) -> str:
    return name.lower().replace(", ", "-").replace("²", "2")


def _run(
    recipe: Recipe, data: Images, settings: Settings, bar: Bar, *, watch: Watch | None = None, seed: int = 0
) -> Results:
    return train(recipe, data, settings.steps, settings.width, settings.batch, bar, watch=watch, seed=seed)


def _repeated(recipe: Recipe, data: Images, settings: Settings, bar: Bar, watch: Watch | None = None) -> Results:
    """The mean of trainings with other seeds, and its standard error."""
    seeds = range(settings.seeds)
    return averaged([_run(recipe, data, settings, bar, watch=watch, seed=seed) for seed in seeds])


def _begin(settings: Settings, runs: int, bar: Bar) -> Images:
    bar.expect(runs * settings.steps)
    return fashion(settings.pictures)


def _figure_1(name: str, settings: Settings, bar: Bar) -> Results:
    """Shampoo's last loss over learning rates and ε (its damping)."""
    how = _FIGURE_1[name]
    data = _begin(settings, len(settings.rates) * len(settings.dampings), bar)
    every = settings.stale if how["stale"] else 1
    finals = {
        f"{damping:g}": [
            _run(
                Recipe("Shampoo", {"lr": lr, "damping": damping, "update_every": every, "grafting": how["grafting"]}),
                data,
                settings,
                bar,
            )["final"]
            for lr in settings.rates
        ]
        for damping in settings.dampings
    }
    return {"data": data.name, "every": every, "grafting": how["grafting"], "rates": settings.rates, "finals": finals}


def _figure_2(name: str, settings: Settings, bar: Bar) -> Results:
    """The last loss at the best of the learning rates, over update frequencies; Adam has none."""
    recipe = _FIGURE_2[name]
    frequencies = (None,) if name == "Adam" else settings.frequencies
    data = _begin(settings, len(frequencies) * (len(settings.rates) + settings.seeds - 1), bar)
    rows = []
    for every in frequencies:
        fixed = {} if every is None else {"update_every": every}
        tried = [Recipe(recipe.optimizer, {**recipe.options, **fixed, "lr": lr}) for lr in settings.rates]
        runs = [_run(one, data, settings, bar) for one in tried]
        finals = [run["final"] for run in runs]
        known = [i for i, final in enumerate(finals) if final is not None]
        best = min(known, key=lambda i: finals[i], default=0)
        others = [_run(tried[best], data, settings, bar, seed=seed) for seed in range(1, settings.seeds)]
        found = averaged([runs[best], *others])
        rows.append(
            {"every": every, "lr": settings.rates[best], "rates": settings.rates, "finals": finals}
            | {"stopped": [run["stopped"] for run in runs]}
            | {key: found[key] for key in ("final", "final_error")}
        )
    return {"data": data.name, "variant": name, "rows": rows}


def _figure_3(settings: Settings, bar: Bar) -> Results:
    """EShampoo by ways to keep its bases: loss, CPU seconds, refreshed bases."""
    data = _begin(settings, len(_FIGURE_3) * settings.seeds, bar)
    runs = {
        name: _repeated(Recipe("EShampoo", {"lr": settings.best, **options}), data, settings, bar)
        for name, options in _FIGURE_3.items()
    }
    return {"data": data.name, "runs": runs}


def _figure_4(settings: Settings, bar: Bar) -> Results:
    """Off-diagonal ratios by kind of parameter: in bases of ten steps' age, and the refreshes that τ = 0.1 asks for."""
    data = _begin(settings, 2, bar)
    trace = d.BasisTrace(_TRACED_EVERY)
    aged: list[Results] = []

    def watch(step: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        due = trace.calls % _TRACED_EVERY == 0
        found = trace.observe(d.factors_of(optimizer, model.named_parameters()))
        if due and found:
            aged.append({"step": step, "ratios": _by_kind(found.items())})

    recipe = Recipe("EShampoo", {"lr": settings.best, "method": "eigh", "tol": 0.0})
    _run(recipe, data, settings, bar, watch=watch)

    refreshed: list[tuple[d.FactorName, float]] = []
    before: dict[d.FactorName, torch.Tensor] = {}

    def count(step: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        for parameter, p in model.named_parameters():
            for key, value in optimizer.state[p].items():
                if key.startswith("basis."):
                    name = d.FactorName(parameter, *(int(part) for part in key.split(".")[1:]))
                    if name in before:
                        refreshed.append((name, float(not torch.equal(before[name], value))))
                    before[name] = value.clone()

    recipe = Recipe("EShampoo", {"lr": settings.best, "method": "eigh", "tol": 0.1})
    _run(recipe, data, settings, bar, watch=count)
    return {"data": data.name, "age": _TRACED_EVERY, "aged": aged, "refreshed": _by_kind(refreshed)}


def _by_kind(ratios: Iterable[tuple[d.FactorName, float]]) -> dict[str, list[float]]:
    """Means over the parameters of one kind: ``{kind: [of rows, of columns]}``; blocks of the ViT are one kind."""
    sums: dict[str, list[list[float]]] = {}
    for name, value in ratios:
        kind = name.parameter.removesuffix(".weight").rpartition(".")[2]
        sums.setdefault(kind, [[], []])[name.mode].append(value)
    return {kind: [sum(values) / max(1, len(values)) for values in both] for kind, both in sums.items()}


def _figure_5(settings: Settings, bar: Bar) -> Results:
    """EShampoo with a tight or a loose criterion in the first and in the second half of the training."""
    data = _begin(settings, len(_FIGURE_5) * settings.seeds, bar)
    runs = {}
    for name, (early, late) in _FIGURE_5.items():

        def switch(step: int, _: nn.Module, optimizer: torch.optim.Optimizer, late: float = late) -> None:
            if step == settings.steps // 2:
                optimizer.param_groups[0]["tol"] = late

        recipe = Recipe("EShampoo", {"lr": settings.best, "method": "eigh", "tol": early})
        runs[name] = _repeated(recipe, data, settings, bar, switch)
    return {"data": data.name, "switch": settings.steps // 2, "runs": runs}


def _yardstick(settings: Settings, bar: Bar) -> Results:
    """Lengths and angles of updates against full-matrix Adam's, all from one stream of gradients: Adam's training.

    Each optimizer keeps a parameter of its own that is given the head's gradients; its step with lr = 1 is the update.
    The network is narrow and the training long, so that gradients soon span the head's whole space: before they do,
    full-matrix Adam has no say in the rest of it, and comparisons of length mean little.
    """
    data = fashion(settings.pictures)
    steps = _YARDSTICK_STEPS * settings.steps
    bar.expect(steps)
    model = seeded(lambda: ViT(_YARDSTICK_WIDTH))
    head = model.get_parameter("head.weight")
    trainer = torch.optim.Adam(model.parameters(), lr=1e-3, betas=BETAS)
    full = d.FullMatrixAdam(tuple(head.shape), BETAS)
    stale = {"update_every": settings.stale}
    recipes = {
        "Shampoo, every step": Recipe("Shampoo", {"grafting": None, "update_every": 1}),
        "Shampoo, stale": Recipe("Shampoo", {"grafting": None, **stale}),
        "Shampoo, stale, grafted": Recipe("Shampoo", {"grafting": "adam", **stale}),
        "EShampoo, every step": Recipe("EShampoo", {"method": "eigh", "tol": 0.0}),
        "EShampoo, stale": Recipe("EShampoo", {"method": "eigh", "tol": 0.0, **stale}),
    }
    shadows = {name: torch.nn.Parameter(torch.zeros_like(head)) for name in ("Adam", *recipes)}
    optimizers: dict[str, torch.optim.Optimizer] = {"Adam": torch.optim.Adam([shadows["Adam"]], lr=1.0, betas=BETAS)}
    for name, recipe in recipes.items():
        optimizers[name] = Recipe(recipe.optimizer, {**recipe.options, "lr": 1.0}).make([shadows[name]])
    points: list[Results] = []
    every = max(1, steps // 60)
    with one_thread():
        for step, (pictures, classes) in zip(range(1, steps + 1), data.batches(settings.batch, 1), strict=False):
            trainer.zero_grad()
            loss = nn.functional.cross_entropy(model(pictures), classes)
            loss.backward()
            assert head.grad is not None
            full.add(head.grad)
            # EShampoo makes its bases at step 1 and does not move.
            reference = full.direction() if step % every == 0 and step > 1 else None
            found = {}
            for name, shadow in shadows.items():
                with torch.no_grad():
                    shadow.zero_()
                shadow.grad = head.grad.clone()
                optimizers[name].step()
                if reference is not None:
                    update = -shadow.detach()
                    found[name] = [d.update_norm(update, reference), d.update_angle(update, reference)]
            if reference is not None:
                points.append({"step": step, "updates": found})
            trainer.step()
            bar.advance(f"loss {loss.item():.3f}")
    return {"data": data.name, "shape": list(head.shape), "stale": settings.stale, "points": points}
