"""A benchmark case: inputs, kronla's way, torch's ways, accuracy first, then interleaved times.

The inputs are rotated through copies that do not fit in the cache together, and the two sides take turns, so that a
machine that slows down slows both. What is reported is the median of the ratios of neighbours, not a ratio of medians.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Inputs = tuple[list[Tensor], ...]
Way = Callable[..., list[Tensor]]

# Rotated copies add up to at least this: twice the last-level cache of a desktop or a small server.
OUT_OF_CACHE_BYTES = 64 << 20
# Errors below this (about 50 roundings of float32) count as equal.
EQUAL_ERROR = 3e-6


@dataclass(frozen=True)
class Case:
    """One workload of one family.

    `kronla` and each of `torch` take the inputs and return the results; where they update in place, the tensors that
    they updated. `error` measures such results against float64, from inputs that nothing has changed.
    """

    family: str
    workload: str
    inputs: Callable[[], Inputs]
    kronla: Way
    torch: dict[str, Way]
    error: Callable[[Inputs, list[Tensor]], float]

    def __str__(self) -> str:
        return f"{self.family}-{self.workload}"


@dataclass(frozen=True)
class Measurement:
    """Medians in seconds; `ratio` is torch's time over kronla's, `low` and `high` its quartiles."""

    case: Case
    way: str
    kronla_seconds: float
    torch_seconds: float
    ratio: float
    low: float
    high: float
    rounds: int
    kronla_error: float
    torch_error: float

    def as_dict(self) -> dict[str, object]:
        figures = {name: value for name, value in vars(self).items() if name != "case"}
        return {"family": self.case.family, "workload": self.case.workload, **figures}


class InaccurateError(AssertionError):
    """The two sides do not reach the same accuracy: their times must not be compared."""


class Pool:
    """Copies of the inputs, handed out in turn."""

    def __init__(self, inputs: Inputs) -> None:
        size = sum(x.nbytes for tensors in inputs for x in tensors)
        count = max(2, min(64, -(-OUT_OF_CACHE_BYTES // max(size, 1))))
        self._copies = [_clone(inputs) for _ in range(count)]
        self._next = 0

    def take(self) -> Inputs:
        self._next = (self._next + 1) % len(self._copies)
        return self._copies[self._next]


def _clone(inputs: Inputs) -> Inputs:
    return tuple([x.clone() for x in tensors] for tensors in inputs)


def check_accuracy(case: Case, inputs: Inputs) -> tuple[float, dict[str, float]]:
    """The errors of kronla and of torch's ways; raises where kronla's is more than twice that of torch's best."""
    error = case.error(inputs, case.kronla(*_clone(inputs)))
    torch_errors = {name: case.error(inputs, way(*_clone(inputs))) for name, way in case.torch.items()}
    allowed = max(2 * min(torch_errors.values()), EQUAL_ERROR)
    if not error <= allowed:
        raise InaccurateError(f"{case}: kronla's error is {error:.1e}, torch's {torch_errors}")
    return error, torch_errors


def seconds_of(way: Way, inputs: Inputs) -> float:
    start = time.perf_counter()
    way(*inputs)
    return time.perf_counter() - start


def fastest(ways: dict[str, Way], pool: Pool) -> str:
    """The name of the quickest; the accuracy check has warmed them up."""
    if len(ways) == 1:
        return next(iter(ways))
    return min(ways, key=lambda name: min(seconds_of(ways[name], pool.take()) for _ in range(2)))


def measure(case: Case, budget: float, least_rounds: int = 3, most_rounds: int = 50) -> Measurement:
    """Accuracy, then torch's fastest way, then rounds until the budget in seconds is spent."""
    inputs = case.inputs()
    kronla_error, torch_errors = check_accuracy(case, inputs)
    pool = Pool(inputs)
    way = fastest(case.torch, pool)
    ours: list[float] = []
    theirs: list[float] = []
    end = time.perf_counter() + budget
    while len(ours) < least_rounds or (len(ours) < most_rounds and time.perf_counter() < end):
        for side in (0, 1) if len(ours) % 2 else (1, 0):  # who goes first alternates
            (theirs if side else ours).append(seconds_of(case.torch[way] if side else case.kronla, pool.take()))
    ratios = sorted(t / k for t, k in zip(theirs, ours, strict=True))
    quarter = len(ratios) // 4
    return Measurement(
        case,
        way,
        statistics.median(ours),
        statistics.median(theirs),
        statistics.median(ratios),
        ratios[quarter],
        ratios[-1 - quarter],
        len(ratios),
        kronla_error,
        torch_errors[way],
    )


def run_with(benchmark, case: Case, side: str) -> None:
    """The same case under pytest-benchmark: a group for each case, a row for kronla and for each of torch's ways."""
    inputs = case.inputs()
    check_accuracy(case, inputs)
    pool = Pool(inputs)
    way = case.kronla if side == "kronla" else case.torch[side.removeprefix("torch-")]
    benchmark.group = str(case)
    benchmark.extra_info["torch_threads"] = torch.get_num_threads()
    benchmark.pedantic(way, setup=lambda: (pool.take(), {}), rounds=10, warmup_rounds=1)


def sides(cases: list[Case]) -> list[tuple[Case, str]]:
    """Parameters for `run_with`."""
    return [(case, side) for case in cases for side in ["kronla", *(f"torch-{way}" for way in case.torch)]]


def first_of_each_shape(tensors: list[Tensor]) -> list[int]:
    """Indices of one tensor of each shape: enough to judge accuracy on, in float64."""
    seen: dict[torch.Size, int] = {}
    for index, x in enumerate(tensors):
        seen.setdefault(x.shape, index)
    return list(seen.values())


def worst_relative_error(actual: list[Tensor], expected: list[Tensor]) -> float:
    """The largest ‖a - b‖_F/‖b‖_F over all matrices, in float64; NaN where anything is NaN."""
    errors = [
        (a.double() - b.double()).flatten(-2).norm(dim=-1) / b.double().flatten(-2).norm(dim=-1).clamp_min(1e-300)
        for a, b in zip(actual, expected, strict=True)
    ]
    return float(torch.cat([error.flatten() for error in errors]).max())
