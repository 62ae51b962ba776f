"""Seconds per step of each optimizer, side by side: they take turns in blocks of one refresh cycle.

A machine that slows down slows all; what counts is the median over rounds of the ratio of neighbours. Wall time and the
process's CPU time are both taken: with one thread the second tells more on a machine that has other work to do.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer

from bench.training_runs import EVERY, WAYS
from bench.training_workloads import Workload
from kronla.commands.demo_training import FAMILIES, Clock

Seconds = dict[str, float]


class Entrant:
    """One model with its optimizer, that has had its first refresh."""

    def __init__(self, workload: Workload, way: str) -> None:
        self.workload, self.batches, self.clock = workload, workload.batches(0), Clock()
        self.model = workload.model(0)
        self.optimizer: Optimizer = WAYS[way](self.model.parameters(), 1e-3)
        for _ in range(EVERY + 1):
            self.step()

    def step(self) -> float:
        """One step; the CPU seconds of the optimizer alone."""
        self.optimizer.zero_grad()
        self.workload.loss(self.model, next(self.batches)).backward()
        start = time.process_time()
        self.optimizer.step()
        return time.process_time() - start

    def block(self) -> Seconds:
        """One refresh cycle: seconds per step, and of the CPU's those of the optimizer."""
        wall, cpu = time.perf_counter(), time.process_time()
        optimizer = sum(self.step() for _ in range(EVERY))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        return {"wall": wall / EVERY, "cpu": cpu / EVERY, "optimizer": optimizer / EVERY}

    def shares(self) -> Seconds:
        """Of one refresh cycle, the share of each family of kronla's in the optimizer's seconds."""
        self.clock.seconds.clear()
        with self.clock.listening():
            total = sum(self._timed_step() for _ in range(EVERY))
        shares = {family: self.clock.seconds[family] / total for family in FAMILIES}
        return {**shares, "rest": 1 - sum(shares.values())}

    def _timed_step(self) -> float:
        """One step, in wall seconds, which are what the clock of the families counts."""
        self.optimizer.zero_grad()
        self.workload.loss(self.model, next(self.batches)).backward()
        start = time.perf_counter()
        self.optimizer.step()
        return time.perf_counter() - start


def compare(workload: Workload, rounds: int, advance: Callable[[str], None]) -> dict[str, Any]:
    """Medians over rounds for each way; ratios to AdamW and to the peer are medians of the rounds' ratios."""
    entrants = {way: Entrant(workload, way) for way in WAYS}
    blocks: dict[str, list[Seconds]] = {way: [] for way in WAYS}
    shares: dict[str, list[Seconds]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way, entrant in entrants.items():
            blocks[way].append(entrant.block())
            shares[way].append(entrant.shares())
            advance(way)
    found: dict[str, Any] = {"threads": torch.get_num_threads(), "rounds": rounds, "ways": {}}
    for way in WAYS:
        of = {kind: statistics.median(block[kind] for block in blocks[way]) for kind in ("wall", "cpu", "optimizer")}
        for kind in ("wall", "cpu"):
            for other in ("AdamW", "pytorch-optimizer SOAP", "EShampoo, fixed"):
                pairs = zip(blocks[way], blocks[other], strict=True)
                of[f"{kind} / {other}"] = statistics.median(a[kind] / b[kind] for a, b in pairs)
        of["shares"] = {name: statistics.median(share[name] for share in shares[way]) for name in shares[way][0]}
        found["ways"][way] = of
    return found
