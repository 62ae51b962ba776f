"""factors: L ← βL + (1-β)GGᵀ and R ← βR + (1-β)GᵀG for all gradients of a workload."""

import pytest
import torch
from torch import Tensor

import kronla
from bench import cases, shapes

BETA = 0.95


def inputs(workload: str) -> cases.Inputs:
    Gs = shapes.gradients(workload)
    eyes = [[torch.eye(G.shape[dim]).expand(*G.shape[:-2], -1, -1).contiguous() for G in Gs] for dim in (-2, -1)]
    return eyes[0], eyes[1], Gs


def by_kronla(Ls: list[Tensor], Rs: list[Tensor], Gs: list[Tensor]) -> list[Tensor]:
    kronla.foreach_update_factors_(Ls, Rs, Gs, beta=BETA)
    return Ls + Rs


def by_addmm(Ls: list[Tensor], Rs: list[Tensor], Gs: list[Tensor]) -> list[Tensor]:
    """One fused call a factor, which is as good as torch gets; baddbmm_ for a batch."""
    for L, R, G in zip(Ls, Rs, Gs, strict=True):
        add = torch.Tensor.addmm_ if G.dim() == 2 else torch.Tensor.baddbmm_
        add(L, G, G.mT, beta=BETA, alpha=1 - BETA)
        add(R, G.mT, G, beta=BETA, alpha=1 - BETA)
    return Ls + Rs


def error(inputs: cases.Inputs, results: list[Tensor]) -> float:
    Ls, Rs, Gs = inputs
    chosen = cases.first_of_each_shape(Gs)
    truth = [BETA * Ls[i].double() + (1 - BETA) * Gs[i].double() @ Gs[i].double().mT for i in chosen]
    truth += [BETA * Rs[i].double() + (1 - BETA) * Gs[i].double().mT @ Gs[i].double() for i in chosen]
    return cases.worst_relative_error([results[i] for i in chosen] + [results[len(Ls) + i] for i in chosen], truth)


def case(workload: str) -> cases.Case:
    return cases.Case("factors", workload, lambda: inputs(workload), by_kronla, {"addmm_": by_addmm}, error)


CASES = [case(workload) for workload in shapes.WORKLOADS]


@pytest.mark.parametrize(("case", "side"), cases.sides(CASES), ids=str)
def test_factors(benchmark, case, side):
    cases.run_with(benchmark, case, side)
