"""eigenbasis: one step from a basis ten steps of a moving average old, and eigh from nothing."""

import pytest
import torch
from torch import Tensor

import kronla
from bench import cases, shapes

# float32 orthogonality that counts as equal, ‖QᵀQ - I‖_F/√n.
ORTHOGONAL = 5e-6


def step_by_kronla(As: list[Tensor], Qs: list[Tensor]) -> list[Tensor]:
    return [basis.Q for basis in kronla.foreach_update_eigenbasis(As, Qs)]


def step_by_qr(As: list[Tensor], Qs: list[Tensor]) -> list[Tensor]:
    """One step of warm-started QR in descending order, without the criterion that kronla also returns."""
    results = []
    for A, Q in zip(As, Qs, strict=True):
        S = A @ Q
        order = (Q * S).sum(-2).argsort(-1, descending=True)
        results.append(torch.linalg.qr(S.gather(-1, order.unsqueeze(-2).expand_as(S)))[0])
    return results


def step_error(inputs: cases.Inputs, results: list[Tensor]) -> float:
    """How much of A is still off the diagonal, ‖offdiag(QᵀAQ)‖_F/‖A‖_F; infinite for a Q that is not orthogonal."""
    As, _ = inputs
    return max(_off_diagonal(As[i].double(), results[i].double()) for i in cases.first_of_each_shape(As))


def _off_diagonal(A: Tensor, Q: Tensor) -> float:
    n = A.shape[-1]
    gap = (Q.mT @ Q - torch.eye(n, dtype=Q.dtype)).flatten(-2).norm(dim=-1).max()
    B = Q.mT @ A @ Q
    off = (B - B.diagonal(dim1=-2, dim2=-1).diag_embed()).flatten(-2).norm(dim=-1) / A.flatten(-2).norm(dim=-1)
    return float(off.max()) if gap <= ORTHOGONAL * n**0.5 else float("inf")


def eigh_by_kronla(As: list[Tensor]) -> list[Tensor]:
    return [basis.Q for basis in kronla.foreach_eigh(As)]


def eigh_by_torch(As: list[Tensor]) -> list[Tensor]:
    return [torch.linalg.eigh(A)[1] for A in As]


def eigh_error(inputs: cases.Inputs, results: list[Tensor]) -> float:
    return step_error((inputs[0], []), results)


def step_case(workload: str) -> cases.Case:
    ways = {"A@Q, qr": step_by_qr}
    return cases.Case("eigenbasis", workload, lambda: shapes.drifted_bases(workload), step_by_kronla, ways, step_error)


def eigh_case(workload: str) -> cases.Case:
    ways = {"eigh": eigh_by_torch}
    return cases.Case("eigh", workload, lambda: (shapes.factors(workload),), eigh_by_kronla, ways, eigh_error)


CASES = [step_case(workload) for workload in shapes.WORKLOADS] + [eigh_case(workload) for workload in shapes.WORKLOADS]


@pytest.mark.parametrize(("case", "side"), cases.sides(CASES), ids=str)
def test_eigenbasis(benchmark, case, side):
    cases.run_with(benchmark, case, side)
