"""One training of the small ViT with one of kronla's optimizers: what every figure on staleness is made of."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from kronla import optim
from kronla.commands.study_data import Images
from kronla.commands.study_models import ViT, seeded
from kronla.commands.study_parts import Bar, Results

# The same for all optimizers; trainings are too short for β₂ = 0.999.
BETAS = (0.9, 0.99)
_WINDOWS = 20  # points of a loss curve


@dataclass(frozen=True)
class Recipe:
    """An optimizer of kronla.optim by name, or torch's Adam, and its settings."""

    optimizer: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def make(self, params: Any) -> torch.optim.Optimizer:
        """The optimizer, without weight decay."""
        made_by = torch.optim if self.optimizer == "Adam" else optim
        return getattr(made_by, self.optimizer)(params, betas=BETAS, weight_decay=0.0, **self.options)


@contextmanager
def one_thread() -> Iterator[None]:
    """torch with one thread: such small tensors gain nothing by more, and lose much on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


Watch = Callable[[int, nn.Module, torch.optim.Optimizer], None]


def train(
    recipe: Recipe,
    data: Images,
    steps: int,
    width: int,
    batch: int,
    bar: Bar,
    *,
    watch: Watch | None = None,
    seed: int = 0,
) -> Results:
    """Loss, CPU seconds and refreshed bases over a training; a seed's batches and first weights serve every recipe.

    Seconds are those of one thread's own work (forward, backward and step), so that other programs on the machine
    cost none. ``watch`` is called after each step, off the clock. A training ends where its loss is no longer finite,
    or where the optimizer gives up since its factors have failed too often: ``stopped`` says why.
    """
    model = seeded(lambda: ViT(width), seed)
    optimizer = recipe.make(model.parameters())
    curve = _Curve(max(1, steps // _WINDOWS))
    bases: dict[str, torch.Tensor] = {}
    step, seconds, refreshes, stopped = 0, 0.0, 0, None
    with one_thread():
        for step, (pictures, classes) in zip(range(1, steps + 1), data.batches(batch, seed + 1), strict=False):
            start = time.process_time()
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(pictures), classes)
            loss.backward()
            stopped = _step(optimizer)
            seconds += time.process_time() - start
            refreshes += _moved(optimizer, bases)
            curve.add(step, loss.item(), seconds, refreshes)
            if watch is not None:
                watch(step, model, optimizer)
            bar.advance(f"loss {loss.item():.3f}")
            if not math.isfinite(loss.item()):
                stopped = f"The loss of step {step} is {loss.item()}."
            if stopped is not None:
                break
    return curve.result(stopped)


def _step(optimizer: torch.optim.Optimizer) -> str | None:
    """One step; what kronla's optimizers say where they give up (``max_failures``)."""
    try:
        optimizer.step()
    except RuntimeError as error:
        if "times in a row" not in str(error):
            raise
        return str(error)
    return None


def _moved(optimizer: torch.optim.Optimizer, bases: dict[str, torch.Tensor]) -> int:
    """How many bases are not those of the last call."""
    moved = 0
    for i, state in enumerate(optimizer.state.values()):
        for key, value in state.items():
            if key.startswith("basis."):
                name = f"{i}.{key}"
                moved += name not in bases or not torch.equal(bases[name], value)
                bases[name] = value.clone()
    return moved


class _Curve:
    """Losses as means over windows of steps."""

    def __init__(self, window: int) -> None:
        self.window = window
        self.losses: list[float] = []
        self.points: dict[str, list[float]] = {"steps": [], "losses": [], "seconds": [], "refreshes": []}

    def add(self, step: int, loss: float, seconds: float, refreshes: int) -> None:
        self.losses.append(loss)
        if step % self.window == 0 and math.isfinite(loss):
            mean = sum(self.losses[-self.window :]) / self.window
            for name, value in zip(self.points, (step, mean, round(seconds, 3), refreshes), strict=True):
                self.points[name].append(value)

    def result(self, stopped: str | None) -> Results:
        """The curve, and the mean loss of the last tenth; None where the training did not get there."""
        last = self.losses[-max(1, len(self.losses) // 10) :]
        return {**self.points, "final": sum(last) / len(last) if stopped is None else None, "stopped": stopped}


def averaged(runs: list[Results]) -> Results:
    """Means over trainings that differ by their seed, as one training, with standard errors (0 for one training).

    Curves end where the shortest does; ``final`` is None where any of the trainings did not end well.
    """
    points = min(len(run["steps"]) for run in runs)
    curves = {
        key: torch.tensor([run[key][:points] for run in runs], dtype=torch.float64)
        for key in ("steps", "losses", "seconds", "refreshes")
    }
    finals = [run["final"] for run in runs if run["final"] is not None]
    last = torch.tensor(finals, dtype=torch.float64) if len(finals) == len(runs) else None
    return {
        **{key: values.mean(0).tolist() for key, values in curves.items()},
        "errors": _standard_error(curves["losses"]).tolist(),
        "final": None if last is None else last.mean().item(),
        "final_error": None if last is None else _standard_error(last).item(),
        "finals": finals,
    }


def _standard_error(values: torch.Tensor) -> torch.Tensor:
    """Of the mean over the first dimension."""
    count = len(values)
    return values.std(0) / math.sqrt(count) if count > 1 else torch.zeros_like(values[0])
