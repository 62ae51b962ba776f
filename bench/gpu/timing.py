"""Times on a device: ways prepared as CUDA graphs over rotated inputs, interleaved, medians of ratios."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Inputs = tuple[list[Tensor], ...]
Function = Callable[..., list[Tensor]]

# The copies of the inputs that are taken in turn add up to this, or there are MOST_COPIES: an H200 has 60 MB of L2.
OUT_OF_CACHE_BYTES = 256 << 20
MOST_COPIES = 16
# A sample repeats all copies until it takes this long: events tick in half a microsecond, a launch costs a few.
LEAST_SAMPLE_SECONDS = 1e-3
MOST_REPEATS = 16
# A call that takes longer is timed on one copy, which is larger than any cache then.
LONG_CALL_SECONDS = 0.3


def clone(inputs: Inputs) -> Inputs:
    return tuple([x.clone() for x in tensors] for tensors in inputs)


def copies_of(inputs: Inputs) -> list[Inputs]:
    size = sum(x.nbytes for tensors in inputs for x in tensors)
    count = max(2, min(MOST_COPIES, -(-OUT_OF_CACHE_BYTES // max(size, 1))))
    return [clone(inputs) for _ in range(count if inputs[0][0].is_cuda else 2)]


def seconds_of(run: Callable[[], object], device: torch.device) -> float:
    """By events on the device, by the clock on the host's."""
    if device.type != "cuda":
        start = time.perf_counter()
        run()
        return max(time.perf_counter() - start, 1e-9)
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    begin.record()
    run()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1e3


class Prepared:
    """One way over all copies of the inputs: a CUDA graph where it can be captured, else call after call.

    `scale` multiplies the time of a way that does only a part of the work, such as some matrices of a loop.
    """

    def __init__(self, function: Function, copies: list[Inputs], capturable: bool = True, scale: float = 1.0) -> None:
        self.device, self.scale = copies[0][0][0].device, scale
        self.problem = ""
        self.graph: torch.cuda.CUDAGraph | None = None
        self._results: list[list[Tensor]] = []  # alive as long as the graph writes to them
        self._loop(function, copies[:1])
        self.seconds()  # loads and sets up what the first call does
        if self.seconds() < LONG_CALL_SECONDS:
            self._loop(function, copies)
        if capturable and self.device.type == "cuda":
            once = self.seconds() / scale
            repeats = max(1, min(MOST_REPEATS, round(LEAST_SAMPLE_SECONDS / max(once * self.calls, 1e-9))))
            self._capture(function, copies[: self.calls], repeats)

    def _loop(self, function: Function, copies: list[Inputs]) -> None:
        def run() -> None:
            for copy in copies:
                function(*copy)

        self._run: Callable[[], object] = run
        self.calls = len(copies)

    def _capture(self, function: Function, copies: list[Inputs], repeats: int) -> None:
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                for _ in range(repeats):
                    self._results = [function(*copy) for copy in copies]
        except RuntimeError as error:
            self.problem = f"no graph: {str(error).splitlines()[0][:80]}"
            torch.cuda.synchronize()
            return
        self._run, self.calls, self.graph = graph.replay, repeats * len(copies), graph
        self.seconds()

    def seconds(self) -> float:
        """Of one call."""
        return seconds_of(self._run, self.device) / self.calls * self.scale


class Difference:
    """The time of what one way does more than another, `count` times: a step of an iteration."""

    def __init__(self, more: Prepared, less: Prepared, count: int) -> None:
        self._more, self._less, self._count = more, less, count
        self.graph, self.problem = more.graph, more.problem or less.problem

    def seconds(self) -> float:
        return max(self._more.seconds() - self._less.seconds(), 1e-9) / self._count


@dataclass(frozen=True)
class Comparison:
    """Medians in seconds; `ratio` is the baseline's time over kronla's, `low` and `high` its quartiles."""

    kronla: float
    baseline: float
    ratio: float
    low: float
    high: float
    rounds: int


def compare(kronla: Prepared | Difference, baseline: Prepared, budget: float, most_rounds: int = 40) -> Comparison:
    """Turn by turn, who goes first alternating, until the budget in seconds is spent; at least two rounds."""
    ours: list[float] = []
    theirs: list[float] = []
    end = time.perf_counter() + budget
    while len(ours) < 2 or (len(ours) < most_rounds and time.perf_counter() < end):
        for first in (True, False) if len(ours) % 2 else (False, True):
            if first:
                ours.append(kronla.seconds())
            else:
                theirs.append(baseline.seconds())
    ratios = sorted(b / k for b, k in zip(theirs, ours, strict=True))
    quarter = len(ratios) // 4
    medians = statistics.median(ours), statistics.median(theirs), statistics.median(ratios)
    return Comparison(*medians, ratios[quarter], ratios[-1 - quarter], len(ratios))
