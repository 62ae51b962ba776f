"""factors: L ← βL + (1-β)GGᵀ and R ← βR + (1-β)GᵀG for all gradients of a workload."""

from __future__ import annotations

import torch
from torch import Tensor

import kronla
from bench.cases import worst_relative_error
from bench.gpu import inputs, roofline
from bench.gpu.case import Case, Goal, Way
from bench.gpu.timing import Inputs

BETA = 0.95
TARGET = 1.8


def stacked(sizes: list[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """Gradients of equal shapes side by side: [count, m, n] in the order of their first."""
    counts: dict[tuple[int, int], int] = {}
    for size in sizes:
        counts[size] = counts.get(size, 0) + 1
    return [(count, *size) for size, count in counts.items()]


def matrices(stacks: list[Tensor]) -> list[Tensor]:
    """The ragged list: a view for each matrix of each stack."""
    return [matrix for stack in stacks for matrix in stack.unbind()]


def eyes(stacks: list[Tensor], dim: int) -> list[Tensor]:
    return [torch.eye(G.shape[dim], device=G.device).expand(G.shape[0], -1, -1).contiguous() for G in stacks]


def make(stacks: list[tuple[int, int, int]], device: torch.device) -> Inputs:
    Gs = inputs.gradients(list(stacks), device)
    return eyes(Gs, -2), eyes(Gs, -1), Gs


def by_kronla(Ls: list[Tensor], Rs: list[Tensor], Gs: list[Tensor]) -> list[Tensor]:
    kronla.foreach_update_factors_(matrices(Ls), matrices(Rs), matrices(Gs), beta=BETA)
    return Ls + Rs


def by_kronla_batched(Ls: list[Tensor], Rs: list[Tensor], Gs: list[Tensor]) -> list[Tensor]:
    kronla.foreach_update_factors_(Ls, Rs, Gs, beta=BETA)
    return Ls + Rs


def by_addmm(Ls: list[Tensor], Rs: list[Tensor], Gs: list[Tensor]) -> list[Tensor]:
    for L, R, G in zip(matrices(Ls), matrices(Rs), matrices(Gs), strict=True):
        L.addmm_(G, G.mT, beta=BETA, alpha=1 - BETA)
        R.addmm_(G.mT, G, beta=BETA, alpha=1 - BETA)
    return Ls + Rs


def by_baddbmm(Ls: list[Tensor], Rs: list[Tensor], Gs: list[Tensor]) -> list[Tensor]:
    """With gradients of equal shapes stored side by side, which one must have arranged before."""
    for L, R, G in zip(Ls, Rs, Gs, strict=True):
        L.baddbmm_(G, G.mT, beta=BETA, alpha=1 - BETA)
        R.baddbmm_(G.mT, G, beta=BETA, alpha=1 - BETA)
    return Ls + Rs


def error(given: Inputs, results: list[Tensor]) -> float:
    """Of the first and last matrix of each stack."""
    Ls, Rs, Gs = ([x[[0, -1]].double() for x in stacks] for stacks in given)
    truth = by_baddbmm(Ls, Rs, Gs)
    return worst_relative_error([x[[0, -1]] for x in results], truth)


def work(given: Inputs) -> roofline.Work:
    return sum((roofline.factors(*G.shape[1:]) * G.shape[0] for G in given[2]), roofline.NOTHING)


def case(name: str, stacks: list[tuple[int, int, int]], batched: bool) -> Case:
    ways = {"baddbmm_": Way(by_baddbmm)}
    if not batched:
        ways["addmm_"] = Way(by_addmm)
    return Case(
        "factors",
        name,
        lambda device: make(stacks, device),
        by_kronla_batched if batched else by_kronla,
        {"best of torch": Goal(ways, TARGET)},
        error,
        work,
    )


def cases(tiny: bool) -> list[Case]:
    ragged = [case(name, stacked(inputs.ragged(name, tiny)), False) for name in ("vit-s16", "gpt2")]
    uniform = [case(f"{batch}x{n}x{n}", [(batch, n, n)], True) for n, batch in inputs.uniform(tiny).items() if n != 32]
    return ragged + uniform
