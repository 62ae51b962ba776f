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
    """An optimizer of kronla.optim by name, and its settings."""

    optimizer: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def make(self, params: Any) -> torch.optim.Optimizer:
        """The optimizer, without weight decay."""
        return getattr(optim, self.optimizer)(params, betas=BETAS, weight_decay=0.0, **self.options)


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
    recipe: Recipe, data: Images, steps: int, width: int, batch: int, bar: Bar, watch: Watch | None = None
) -> Results:
    """Loss, CPU seconds and refreshed bases over a training; equal batches and first weights for every recipe.

    Seconds are those of one thread's own work (forward, backward and step), so that other programs on the machine
    cost none. ``watch`` is called after each step, off the clock. A training whose loss is no longer finite ends.
    """
    model = seeded(lambda: ViT(width))
    optimizer = recipe.make(model.parameters())
    curve = _Curve(max(1, steps // _WINDOWS))
    bases: dict[str, torch.Tensor] = {}
    step, seconds, refreshes = 0, 0.0, 0
    with one_thread():
        for step, (pictures, classes) in zip(range(1, steps + 1), data.batches(batch, seed=1), strict=False):
            start = time.process_time()
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(pictures), classes)
            loss.backward()
            optimizer.step()
            seconds += time.process_time() - start
            refreshes += _moved(optimizer, bases)
            curve.add(step, loss.item(), seconds, refreshes)
            if watch is not None:
                watch(step, model, optimizer)
            bar.advance(f"loss {loss.item():.3f}")
            if not math.isfinite(loss.item()):
                break
    return curve.result(complete=step == steps)


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

    def result(self, complete: bool) -> Results:
        """The curve, and the mean loss of the last tenth; None where the training did not get there."""
        last = self.losses[-max(1, len(self.losses) // 10) :]
        final = sum(last) / len(last)
        return {**self.points, "final": final if complete and math.isfinite(final) else None}
