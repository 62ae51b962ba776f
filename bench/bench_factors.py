"""factors: L ← βL + (1-β)GGᵀ and R ← βR + (1-β)GᵀG for all gradients of a workload."""

import pytest
import torch
from torch import Tensor

import kronla
from bench import cases, shapes

BETA = 0.95


def inputs(workload: str, dtype: torch.dtype) -> cases.Inputs:
    Gs = shapes.gradients(workload, dtype)
    eyes = [[torch.eye(G.shape[dim]).expand(*G.shape[:-2], -1, -1).contiguous() for G in Gs] for dim in (-2, -1)]
    return eyes[0], eyes[1], Gs


def by_kronla(Ls: list[Tensor], Rs: list[Tensor], Gs: list[Tensor]) -> list[Tensor]:
    kronla.foreach_update_factors_(Ls, Rs, Gs, beta=BETA)
    return Ls + Rs


def by_addmm(Ls: list[Tensor], Rs: list[Tensor], Gs: list[Tensor]) -> list[Tensor]:
    """One fused call a factor; gradients of lower precision are widened first, for torch has no mixed products on CPU.

    (A product in bfloat16 there returns bfloat16: `out_dtype` exists on CUDA only.)
    """
    for L, R, G in zip(Ls, Rs, Gs, strict=True):
        wide = G.to(L.dtype)
        for left, right, g in zip(*(x.unbind() if x.dim() == 3 else (x,) for x in (L, R, wide)), strict=True):
            left.addmm_(g, g.mT, beta=BETA, alpha=1 - BETA)
            right.addmm_(g.mT, g, beta=BETA, alpha=1 - BETA)
    return Ls + Rs


def by_baddbmm(Ls: list[Tensor], Rs: list[Tensor], Gs: list[Tensor]) -> list[Tensor]:
    """One fused call a factor for a whole batch."""
    for L, R, G in zip(Ls, Rs, Gs, strict=True):
        wide = G.to(L.dtype)
        L.baddbmm_(wide, wide.mT, beta=BETA, alpha=1 - BETA)
        R.baddbmm_(wide.mT, wide, beta=BETA, alpha=1 - BETA)
    return Ls + Rs


def ways(workload: str) -> cases.Ways:
    """The gradients of a model are no batches."""
    return {"addmm_": by_addmm} if workload in shapes.RAGGED else {"addmm_": by_addmm, "baddbmm_": by_baddbmm}


def judge(inputs: cases.Inputs) -> cases.Judge:
    Ls, Rs, Gs = inputs
    chosen = cases.first_of_each_shape(Gs)
    truth = [BETA * Ls[i].double() + (1 - BETA) * Gs[i].double() @ Gs[i].double().mT for i in chosen]
    truth += [BETA * Rs[i].double() + (1 - BETA) * Gs[i].double().mT @ Gs[i].double() for i in chosen]

    def error(results: list[Tensor]) -> float:
        half = len(results) // 2
        return cases.worst_relative_error([results[side + i] for side in (0, half) for i in chosen], truth)

    return error


def work(inputs: cases.Inputs, results: list[Tensor]) -> cases.Work:
    """Half of both products."""
    return cases.Work(float(sum(G.numel() * (G.shape[-2] + G.shape[-1]) for G in inputs[2])))


def case(workload: str, dtype: torch.dtype = torch.float32) -> cases.Case:
    family = "factors" if dtype == torch.float32 else f"factors {str(dtype).removeprefix('torch.')}"
    return cases.Case(
        family, workload, lambda: inputs(workload, dtype), by_kronla, {family: ways(workload)}, judge, work
    )


CASES = [case(workload, dtype) for dtype in (torch.float32, torch.bfloat16) for workload in shapes.WORKLOADS]


@pytest.mark.parametrize(("case", "side"), cases.sides(CASES), ids=str)
def test_factors(benchmark, case, side):
    cases.run_with(benchmark, case, side)
