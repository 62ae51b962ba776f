"""One training of ``bench.training``: the optimizers, the schedule, the curve, and a file, so that it resumes."""

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from bench.training_workloads import Workload
from kronla import optim

# Of every optimizer alike: the grid of learning rates, the warm-up and the decay to zero.
RATES = (1e-3, 3e-3, 1e-2, 3e-2)
WARM_UP = 0.05
EVALUATIONS = 25
# Of AdamW, Shampoo and EShampoo; SOAP keeps its own defaults, (0.95, 0.95), in both implementations.
_SHARED = {"betas": (0.9, 0.95), "weight_decay": 0.01}
EVERY = 10

Way = Callable[[Iterable[Tensor], float], Optimizer]


def _peer(params: Iterable[Tensor], lr: float) -> Optimizer:
    try:
        from pytorch_optimizer import SOAP
    except ImportError:
        raise SystemExit(
            "The peer is missing: pip install --no-deps --target DIR pytorch_optimizer, and put DIR on PYTHONPATH."
        ) from None
    return SOAP(params, lr=lr, precondition_frequency=EVERY)


WAYS: dict[str, Way] = {
    "AdamW": lambda params, lr: torch.optim.AdamW(params, lr=lr, **_SHARED),
    "SOAP": lambda params, lr: optim.SOAP(params, lr=lr, update_every=EVERY),
    "EShampoo": lambda params, lr: optim.EShampoo(params, lr=lr, update_every=EVERY, tol=0.1, **_SHARED),
    "Shampoo": lambda params, lr: optim.Shampoo(params, lr=lr, update_every=EVERY, **_SHARED),
    "pytorch-optimizer SOAP": _peer,
    "EShampoo, fixed": lambda params, lr: optim.EShampoo(params, lr=lr, update_every=EVERY, tol=0.0, **_SHARED),
}


@dataclass
class Run:
    """One training and its curve. A loss that is not finite ends it."""

    workload: str
    way: str
    lr: float
    seed: int
    steps: int
    at: list[int] = field(default_factory=list)
    training: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    algorithm: str = ""
    """:func:`fingerprint` of its optimizer."""

    @property
    def key(self) -> str:
        return f"{self.workload}-{self.way.replace(' ', '_').replace(',', '')}-{self.lr:g}-{self.seed}-{self.steps}"

    @property
    def final(self) -> float:
        """The validation loss at the end; infinite where the training did not get there."""
        return self.validation[-1] if self.at and self.at[-1] == self.steps else math.inf


@cache
def fingerprint(way: str) -> str:
    """Where an optimizer takes a small fixed problem in float64, to five digits: another algorithm ends elsewhere.

    The factors of its square matrix have full rank, so that no rounding decides on eigenvectors.
    """
    generator = torch.Generator().manual_seed(0)
    params = [torch.nn.Parameter(torch.ones(shape, dtype=torch.float64)) for shape in ((6, 6), (5,))]
    optimizer = WAYS[way](params, 0.1)
    for _ in range(2 * EVERY + 5):
        for p in params:
            p.grad = p.detach() + torch.randn(p.shape, dtype=torch.float64, generator=generator)
        optimizer.step()
    return f"{sum(p.detach().square().sum() for p in params):.4e}"


def rate(step: int, steps: int) -> float:
    """The share of the learning rate in one step, counted from 0: up in 5% of the steps, then down to zero."""
    up = max(1, round(WARM_UP * steps))
    return (step + 1) / up if step < up else (steps - step) / (steps - up + 1)


def train(run: Run, workload: Workload, advance: Callable[[str], None]) -> None:
    """Fill in the curve of a run; ``advance`` hears of every step."""
    model = workload.model(run.seed)
    optimizer = WAYS[run.way](model.parameters(), run.lr)
    batches = workload.batches(run.seed)
    every, recent = max(10, run.steps // EVALUATIONS), []
    for step in range(run.steps):
        for group in optimizer.param_groups:
            group["lr"] = run.lr * rate(step, run.steps)
        optimizer.zero_grad()
        loss = workload.loss(model, next(batches))
        loss.backward()
        optimizer.step()
        recent.append(loss.item())
        if not math.isfinite(recent[-1]):
            return
        if (step + 1) % every == 0 or step + 1 == run.steps:
            run.at.append(step + 1)
            run.training.append(sum(recent) / len(recent))
            run.validation.append(workload.validate(model))
            recent = []
        advance(f"{run.validation[-1]:.3f}" if run.validation else "")


class Store:
    """The runs that are done, one file each: what is there, of the same algorithm, is not trained again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def find(self, run: Run) -> Run | None:
        path = self.folder / f"{run.key}.json"
        found = Run(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None
        return found if found is not None and found.algorithm == run.algorithm else None

    def all(self) -> list[Run]:
        found = (json.loads(path.read_text(encoding="utf-8")) for path in sorted(self.folder.glob("*-*.json")))
        return [Run(**run) for run in found]

    def keep(self, run: Run) -> None:
        self._write(f"{run.key}.json", asdict(run))

    def times(self, workload: str) -> dict[str, Any] | None:
        path = self.folder / f"times_{workload}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def keep_times(self, workload: str, times: dict[str, Any]) -> None:
        self._write(f"times_{workload}.json", times)

    def _write(self, name: str, content: dict[str, Any]) -> None:
        partial = self.folder / f"{name}.partial"
        partial.write_text(json.dumps(content) + "\n", encoding="utf-8")
        partial.replace(self.folder / name)  # what is interrupted leaves no half file
