"""A benchmark case: inputs, kronla's way, torch's ways by group, accuracy first, then interleaved times.

The inputs are rotated through copies that do not fit in the cache together, and all sides take turns, so that a machine
that slows down slows each. What is reported is the median of the ratios of neighbours, not a ratio of medians.

It does not slow each alike: another process on one of two cores costs torch's batched eigh, whose threads wait for each
other at every panel, a factor from 2 to 100, and kronla, which deals out whole matrices, up to 2. So brief cases are
measured in two passes and disturbed ones again.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Inputs = tuple[list[Tensor], ...]
Way = Callable[..., list[Tensor]]
Ways = dict[str, Way]
Judge = Callable[[list[Tensor]], float]

# Rotated copies add up to at least this: twice the last-level cache of a desktop or a small server.
OUT_OF_CACHE_BYTES = 64 << 20
# Errors below this (about 50 roundings of float32) count as equal.
EQUAL_ERROR = 3e-6
# Rounds of a pass.
LEAST_ROUNDS = 3
# From so many seconds on the run that a way's accuracy was judged on is its only round, but for the main rival's: a run
# of everything would take an hour.
JUDGED_COUNTS = 3.5
# Rounds shorter than this are made in two passes, minutes apart: a machine may be slow for as long as one case takes.
BRIEF = 1.0
# Upper over lower quartile of the ratios from which on a case counts as disturbed and is measured again.
DISTURBED = 1.3
# n³ operations of a divide and conquer: reduction 4/3, merging at most 4/3, transforming back 2.
EIGH = 4 / 3 + 4 / 3 + 2


@dataclass(frozen=True)
class Work:
    """What a result costs at least on this way to it: float32 operations, or bytes to and from memory.

    A symmetric product counts as half a product. Against the machine's measured rate it gives the fraction reached.
    """

    amount: float
    unit: str = "flop"  # or "byte"


@dataclass(frozen=True)
class Case:
    """One workload of one family.

    `kronla` and each of torch's ways take the inputs and return the results; where they update in place, the tensors
    that they updated. `groups` holds torch's ways by the row of the table that they belong to. `judge` takes inputs
    that nothing will change and returns what measures results against float64. `enough` is an error at which it does
    not matter whose is smaller.
    """

    family: str
    workload: str
    inputs: Callable[[], Inputs]
    kronla: Way
    groups: dict[str, Ways]
    judge: Callable[[Inputs], Judge]
    work: Callable[[Inputs, list[Tensor]], Work]
    enough: float = EQUAL_ERROR

    def __str__(self) -> str:
        return f"{self.family}-{self.workload}"


@dataclass(frozen=True)
class Measurement:
    """Medians in seconds; `ratio` is torch's time over kronla's, `low` and `high` its quartiles."""

    group: str
    family: str
    workload: str
    way: str
    kronla_seconds: float
    torch_seconds: float
    ratio: float
    low: float
    high: float
    rounds: int
    kronla_error: float
    torch_error: float
    work: float
    unit: str


@dataclass(frozen=True)
class Refused:
    """The two sides do not reach the same accuracy: their times must not be compared."""

    group: str
    family: str
    workload: str
    kronla_error: float
    torch_errors: dict[str, float]

    def __str__(self) -> str:
        theirs = ", ".join(f"{way} {error:.1e}" for way, error in self.torch_errors.items())
        where = f"{self.group}, {self.family} {self.workload}"
        return f"{where}: kronla's error is {self.kronla_error:.1e}, torch's {theirs}"


@dataclass(frozen=True)
class Trial:
    """One first run of a way, on which accuracy is judged."""

    seconds: float
    error: float
    results: list[Tensor]


@dataclass(frozen=True)
class Verdict:
    """Which groups may be timed, with the first runs, and which not."""

    kronla: Trial
    torch: dict[str, dict[str, Trial]]
    refused: list[Refused]


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


def check_accuracy(case: Case, inputs: Inputs) -> Verdict:
    """A group is refused where kronla's error is more than twice that of the group's best way, and not `enough`."""
    judge = case.judge(inputs)

    def trial(way: Way) -> Trial:
        own = _clone(inputs)
        start = time.perf_counter()
        results = way(*own)
        seconds = time.perf_counter() - start
        return Trial(seconds, judge(results), results)

    ours = trial(case.kronla)
    accepted, refused = {}, []
    for group, ways in case.groups.items():
        trials = {name: trial(way) for name, way in ways.items()}
        allowed = max(2 * min(t.error for t in trials.values()), case.enough)
        if ours.error <= allowed:
            # A way that is not accurate enough itself is no rival.
            accepted[group] = {name: t for name, t in trials.items() if t.error <= max(2 * ours.error, allowed)}
        else:
            errors = {name: t.error for name, t in trials.items()}
            refused.append(Refused(group, case.family, case.workload, ours.error, errors))
    return Verdict(ours, accepted, refused)


def seconds_of(way: Way, inputs: Inputs) -> float:
    start = time.perf_counter()
    way(*inputs)
    return time.perf_counter() - start


def fastest(ways: Ways, trials: dict[str, Trial], pool: Pool) -> str:
    """The quickest of the ways that have a trial; the trials have warmed them up."""
    if len(trials) == 1:
        return next(iter(trials))
    return min(trials, key=lambda name: min(seconds_of(ways[name], pool.take()) for _ in range(2)))


class Session:
    """One case while it is measured: accuracy and the fastest way of each group once, then passes of rounds.

    kronla and the first group take part in every round; another group's way where it is not too long.
    """

    def __init__(self, case: Case) -> None:
        inputs = case.inputs()
        verdict = check_accuracy(case, inputs)
        pool = Pool(inputs)
        self.case, self.refused = case, verdict.refused
        self._ways = {group: fastest(case.groups[group], trials, pool) for group, trials in verdict.torch.items()}
        self._first = {group: verdict.torch[group][way].seconds for group, way in self._ways.items()}
        self._errors = {group: verdict.torch[group][way].error for group, way in self._ways.items()}
        self._error = verdict.kronla.error
        self._work = case.work(inputs, verdict.kronla.results)
        main = next(iter(self._ways), None)
        # Seconds of kronla and of torch, by round.
        self._pairs: dict[str, list[tuple[float, float]]] = {
            group: [(verdict.kronla.seconds, seconds)] if group != main and seconds >= JUDGED_COUNTS else []
            for group, seconds in self._first.items()
        }
        self._repeated = [group for group, pairs in self._pairs.items() if not pairs]
        self.brief = verdict.kronla.seconds + sum(self._first[group] for group in self._repeated) < BRIEF

    def run(self, budget: float, most_rounds: int = 50) -> None:
        """A pass: rounds of all sides in turn until the budget in seconds is spent; who goes first alternates.

        Brief ways run once before, untimed; long ones have run when their accuracy was judged.
        """
        if not self._repeated:
            return
        pool = Pool(self.case.inputs())
        sides = {"": self.case.kronla, **{g: self.case.groups[g][self._ways[g]] for g in self._repeated}}
        if self.brief:
            for way in sides.values():
                way(*pool.take())
        order, end, done = list(sides), time.perf_counter() + budget, 0
        while done < LEAST_ROUNDS or (done < most_rounds and time.perf_counter() < end):
            seconds = {side: seconds_of(sides[side], pool.take()) for side in order}
            for group in self._repeated:
                self._pairs[group].append((seconds[""], seconds[group]))
            order.reverse()
            done += 1

    @property
    def disturbed(self) -> bool:
        return any(m.high > DISTURBED * m.low for m in self.measurements())

    def measurements(self) -> list[Measurement]:
        """Of each group that may be timed, from all passes."""
        found = []
        for group, pairs in self._pairs.items():
            ratios = sorted(torch_seconds / seconds for seconds, torch_seconds in pairs)
            quarter = len(ratios) // 4
            found.append(
                Measurement(
                    group=group,
                    family=self.case.family,
                    workload=self.case.workload,
                    way=self._ways[group],
                    kronla_seconds=statistics.median(seconds for seconds, _ in pairs),
                    torch_seconds=statistics.median(seconds for _, seconds in pairs),
                    ratio=statistics.median(ratios),
                    low=ratios[quarter],
                    high=ratios[-1 - quarter],
                    rounds=len(ratios),
                    kronla_error=self._error,
                    torch_error=self._errors[group],
                    work=self._work.amount,
                    unit=self._work.unit,
                )
            )
        return found


def run_with(benchmark, case: Case, side: str) -> None:
    """The same case under pytest-benchmark: a group for each case, a row for kronla and for each of torch's ways."""
    inputs = case.inputs()
    refused = check_accuracy(case, inputs).refused
    assert not refused, str(refused[0])
    pool = Pool(inputs)
    ways = {"kronla": case.kronla, **{way: run for group in case.groups.values() for way, run in group.items()}}
    benchmark.group = str(case)
    benchmark.extra_info["torch_threads"] = torch.get_num_threads()
    benchmark.pedantic(ways[side], setup=lambda: (pool.take(), {}), rounds=10, warmup_rounds=1)


def sides(cases: list[Case]) -> list[tuple[Case, str]]:
    """Parameters for `run_with`."""
    return [(case, side) for case in cases for side in ["kronla", *(way for g in case.groups.values() for way in g)]]


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


def matrices(tensors: list[Tensor]) -> int:
    """How many matrices a list of batches holds."""
    return sum(x[..., 0, 0].numel() for x in tensors)


def cubes(tensors: list[Tensor]) -> float:
    """Σ n³ over all n × n matrices of a list of batches: half a product each."""
    return float(sum(x[..., 0, 0].numel() * x.shape[-1] ** 3 for x in tensors))
