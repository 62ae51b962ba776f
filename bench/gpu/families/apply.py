"""apply: L G R for all gradients of a workload."""

from __future__ import annotations

import torch
from torch import Tensor

import kronla
from bench.cases import worst_relative_error
from bench.gpu import inputs, roofline
from bench.gpu.case import Case, Goal, Way
from bench.gpu.families.factors import matrices, stacked
from bench.gpu.timing import Inputs


def make(stacks: list[tuple[int, int, int]], device: torch.device) -> Inputs:
    Gs = inputs.gradients(list(stacks), device)
    sides = [
        [
            torch.randn(
                G.shape[0], G.shape[dim], G.shape[dim], device=device, generator=inputs.generator(device, dim + 9)
            )
            for G in Gs
        ]
        for dim in (-2, -1)
    ]
    return sides[0], Gs, sides[1]


def by_kronla(Ls: list[Tensor], Gs: list[Tensor], Rs: list[Tensor]) -> list[Tensor]:
    return kronla.foreach_kron_apply(matrices(Ls), matrices(Gs), matrices(Rs))


def by_kronla_batched(Ls: list[Tensor], Gs: list[Tensor], Rs: list[Tensor]) -> list[Tensor]:
    return [x for result in kronla.foreach_kron_apply(Ls, Gs, Rs) for x in result.unbind()]


def by_matmul(Ls: list[Tensor], Gs: list[Tensor], Rs: list[Tensor]) -> list[Tensor]:
    return [L @ G @ R for L, G, R in zip(matrices(Ls), matrices(Gs), matrices(Rs), strict=True)]


def by_bmm(Ls: list[Tensor], Gs: list[Tensor], Rs: list[Tensor]) -> list[Tensor]:
    """With gradients of equal shapes stored side by side."""
    return [x for L, G, R in zip(Ls, Gs, Rs, strict=True) for x in (L @ G @ R).unbind()]


def error(given: Inputs, results: list[Tensor]) -> float:
    """Of the first matrix of each stack."""
    firsts, at = [], 0
    for G in given[1]:
        firsts.append(results[at])
        at += G.shape[0]
    return worst_relative_error(firsts, by_bmm(*([x[:1].double() for x in stacks] for stacks in given)))


def work(given: Inputs) -> roofline.Work:
    return sum((roofline.apply(*G.shape[1:]) * G.shape[0] for G in given[1]), roofline.NOTHING)


def case(name: str, stacks: list[tuple[int, int, int]], batched: bool) -> Case:
    ways = {"bmm": Way(by_bmm)}
    if not batched:
        ways["matmul"] = Way(by_matmul)
    return Case(
        "apply",
        name,
        lambda device: make(stacks, device),
        by_kronla_batched if batched else by_kronla,
        {"best of torch": Goal(ways)},
        error,
        work,
    )


def cases(tiny: bool) -> list[Case]:
    ragged = [case(name, stacked(inputs.ragged(name, tiny)), False) for name in ("vit-s16", "gpt2")]
    chosen = (4,) if tiny else (64, 128, 512)
    uniform = [
        case(f"{batch}x{n}x{n}", [(batch, n, n)], True) for n, batch in inputs.uniform(tiny).items() if n in chosen
    ]
    return ragged + uniform
