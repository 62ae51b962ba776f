"""A benchmark case on a GPU: accuracy first, then kronla against the best of each group of baselines."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor

from bench.gpu.roofline import Work
from bench.gpu.timing import Difference, Function, Inputs, Prepared, clone, compare, copies_of

# Errors below this (about 50 roundings of float32) count as equal.
EQUAL_ERROR = 3e-6


@dataclass(frozen=True)
class Way:
    """What one would write instead."""

    function: Function
    capturable: bool = True
    missing: str = ""  # why it cannot run here
    part: float = 1.0  # of the work that it does, where it is a loop too long to be run whole: no error is taken then


@dataclass(frozen=True)
class Goal:
    """A group of ways, the quickest of which is what kronla is measured against; no target: for information."""

    ways: dict[str, Way]
    target: float | None = None


@dataclass(frozen=True)
class Less:
    """Measure what `Case.kronla` does more than this, `count` times."""

    function: Function
    count: int


@dataclass(frozen=True)
class Case:
    """`error` measures results against float64, from inputs that nothing has changed."""

    family: str
    name: str
    inputs: Callable[[torch.device], Inputs]
    kronla: Function
    goals: dict[str, Goal]
    error: Callable[[Inputs, list[Tensor]], float]
    work: Callable[[Inputs], Work]
    less: Less | None = None

    def __str__(self) -> str:
        return f"{self.family} {self.name}"


@dataclass
class Row:
    """A case against one group of ways. Times in seconds; None where there is none, and `note` says why."""

    family: str
    name: str
    against: str
    target: float | None = None
    way: str = ""
    kronla_seconds: float | None = None
    baseline_seconds: float | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    rounds: int = 0
    kronla_error: float | None = None
    baseline_error: float | None = None
    equally_accurate: bool | None = None
    floor_seconds: float | None = None
    bound: str = ""
    fraction: float | None = None  # floor over kronla's time
    graphed: dict[str, bool] = field(default_factory=dict)
    samples: dict[str, float] = field(default_factory=dict)  # seconds of each way, once
    note: str = ""

    def as_dict(self) -> dict[str, object]:
        """For JSON, which knows no NaN."""
        values = asdict(self)
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}


def first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:160]}"


def measure(case: Case, device: torch.device, budget: float) -> Iterator[Row]:
    """A row for each group, as soon as it is known. A way that fails is told in the row's note."""
    inputs = case.inputs(device)
    error = case.error(inputs, case.kronla(*clone(inputs)))
    work = case.work(inputs)
    copies = copies_of(inputs)
    kronla: Prepared | Difference = Prepared(case.kronla, copies)
    if case.less is not None:
        kronla = Difference(kronla, Prepared(case.less.function, copies), case.less.count)
    end = time.perf_counter() + budget
    for number, (against, goal) in enumerate(case.goals.items()):
        row = Row(case.family, case.name, against, goal.target, kronla_error=error, note=kronla.problem)
        row.floor_seconds, row.bound = work.seconds, work.bound
        share = (end - time.perf_counter()) / (len(case.goals) - number)
        _against(row, goal, case, inputs, copies, kronla, max(share, 0.0))
        row.kronla_seconds = row.kronla_seconds or kronla.seconds()
        row.fraction = row.floor_seconds / row.kronla_seconds
        yield row


def _against(
    row: Row, goal: Goal, case: Case, inputs: Inputs, copies: list[Inputs], kronla: Prepared | Difference, budget: float
) -> None:
    prepared: dict[str, Prepared] = {}
    errors: dict[str, float] = {}
    notes = [row.note] if row.note else []
    for name, way in goal.ways.items():
        try:
            problem = way.missing or _prepare(name, way, case, inputs, copies, prepared, errors)
        except Exception as error:
            problem = first_line(error)
        if problem:
            notes.append(f"{name}: {problem}")
    row.samples = {name: way.seconds() for name, way in prepared.items()}
    if prepared:
        best = min(row.samples, key=lambda name: row.samples[name])
        found = compare(kronla, prepared[best], budget)
        row.way, row.rounds = best, found.rounds
        row.kronla_seconds, row.baseline_seconds = found.kronla, found.baseline
        row.ratio, row.low, row.high = found.ratio, found.low, found.high
        row.graphed = {"kronla": kronla.graph is not None, "baseline": prepared[best].graph is not None}
        if best in errors:
            row.baseline_error = errors[best]
            row.equally_accurate = (row.kronla_error or 0.0) <= max(2 * errors[best], EQUAL_ERROR)
    row.note = "; ".join(notes)


def _prepare(
    name: str,
    way: Way,
    case: Case,
    inputs: Inputs,
    copies: list[Inputs],
    prepared: dict[str, Prepared],
    errors: dict[str, float],
) -> str:
    """Adds a way to those that can be compared; what to note of it."""
    if way.part == 1.0:
        error = case.error(inputs, way.function(*clone(inputs)))
        if not math.isfinite(error):
            return "its result is useless"
        errors[name] = error
    prepared[name] = Prepared(way.function, copies, way.capturable, 1.0 / way.part)
    return prepared[name].problem
