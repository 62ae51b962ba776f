"""Where ``python -m kronla check`` runs, how it compares, and what it says of an op."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from kronla.testing import matrices


@dataclass(frozen=True)
class Setting:
    """Where a check runs, and in what accumulator dtype."""

    device: torch.device
    dtype: torch.dtype
    missing: set[str] = field(default_factory=set)  # what the running check found that the device cannot do

    def attempt(self, op: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """The op's result; None where this device has no kernel for it, which the verdict tells. The CPU has all."""
        try:
            return op(*args, **options)
        except NotImplementedError as error:
            if self.device.type == "cpu":
                raise
            self.missing.add(str(error))
            return None

    @property
    def rounding(self) -> float:
        return torch.finfo(self.dtype).eps / 2

    @property
    def gradient_dtypes(self) -> list[torch.dtype]:
        return [self.dtype, torch.bfloat16, torch.float16]

    def put(self, x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        return x.to(self.device, dtype or self.dtype)

    def gradients(self, *shape: int, seed: int = 0) -> Tensor:
        return self.put(matrices.gradients(*shape, dtype=torch.float64, seed=seed))

    def symmetric(self, n: int, condition: float = 1e3, batch: int = 2, kind: str = "log-uniform") -> Tensor:
        return self.put(matrices.symmetric(kind, n, condition, (batch,), torch.float64, seed=n))


@dataclass(frozen=True)
class Comparison:
    error: float
    tolerance: float


@dataclass(frozen=True)
class Verdict:
    """The comparison that came nearest to its tolerance, or went furthest beyond; NaN is a failure."""

    error: float
    tolerance: float
    problem: str = ""
    missing: tuple[str, ...] = ()

    @classmethod
    def of(cls, comparisons: Iterable[Comparison], missing: Collection[str] = ()) -> Verdict:
        compared = list(comparisons)
        if not compared and not missing:
            return cls(float("nan"), 0.0, "nothing was compared")
        if not compared:
            return cls(0.0, 0.0, missing=tuple(missing))
        worst = max(compared, key=lambda c: float("inf") if c.error != c.error else c.error / max(c.tolerance, 1e-300))
        return cls(worst.error, worst.tolerance, missing=tuple(missing))

    @property
    def passed(self) -> bool:
        return not self.problem and self.error <= self.tolerance

    def __str__(self) -> str:
        figures = self.problem or f"{self.error:.1e} (allowed {self.tolerance:.1e})"
        without = "".join(f"\n{'':16} not there: {sentence}" for sentence in self.missing)
        return f"{'ok' if self.passed else 'FAILED':<7} {figures}{without}"


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """‖actual - expected‖_F / ‖expected‖_F, in float64."""
    actual, expected = actual.double(), expected.double()
    if actual.shape != expected.shape:
        return float("nan")
    return float((actual - expected).norm() / expected.norm().clamp_min(1e-300))


def close(actual: Tensor, expected: Tensor, tolerance: float) -> Comparison:
    return Comparison(relative_error(actual, expected), tolerance)


def equal(actual: Tensor, expected: Tensor) -> Comparison:
    same = actual.shape == expected.shape and bool((actual.double() == expected.double()).all())
    return Comparison(0.0 if same else float("inf"), 0.0)


def product_tolerance(setting: Setting, *sizes: int) -> float:
    """8·n·u, n the longest sum."""
    return 8 * max(4, *sizes) * setting.rounding
