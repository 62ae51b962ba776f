"""eigenbasis: one step from a basis ten steps of a moving average old."""

from __future__ import annotations

import torch
from torch import Tensor

import kronla
from bench.bench_eigenbasis import step_by_sorted_qr
from bench.gpu import inputs, roofline
from bench.gpu.arrays import eigh, missing_arrays
from bench.gpu.case import Case, Goal, Way
from bench.gpu.timing import Inputs

# Float32 orthogonality that counts as equal, ‖QᵀQ - I‖_F/√n.
ORTHOGONAL = 5e-6
TARGET_SMALL, TARGET_LARGE, SMALL = 20.0, 5.0, 256


def by_kronla(As: list[Tensor], Qs: list[Tensor]) -> list[Tensor]:
    return [basis.Q for basis in kronla.foreach_update_eigenbasis(As, Qs)]


def by_array_eigh(As: list[Tensor], Qs: list[Tensor]) -> list[Tensor]:
    """Decomposed anew: more than a step gives, and it forgets the order of the columns."""
    return [eigh(A)[1].contiguous() for A in As]


def off_diagonal(A: Tensor, Q: Tensor) -> float:
    """‖offdiag(QᵀAQ)‖_F/‖A‖_F, the largest of a batch in float64; infinite where a Q is not orthogonal."""
    A, Q, n = A.double(), Q.double(), A.shape[-1]
    gap = (Q.mT @ Q - torch.eye(n, dtype=Q.dtype, device=Q.device)).flatten(-2).norm(dim=-1).max()
    B = Q.mT @ A @ Q
    off = (B - B.diagonal(dim1=-2, dim2=-1).diag_embed()).flatten(-2).norm(dim=-1) / A.flatten(-2).norm(dim=-1)
    return float(off.max()) if gap <= ORTHOGONAL * n**0.5 else float("inf")


def error(given: Inputs, results: list[Tensor]) -> float:
    chosen = inputs.sample(given[0][0].shape[0])
    return max(off_diagonal(A[chosen], Q[chosen]) for A, Q in zip(given[0], results, strict=True))


def make(batch: int, n: int, device: torch.device) -> Inputs:
    A, Q = inputs.drifted(batch, n, device)
    return [A], [Q]


def case(n: int, batch: int) -> Case:
    return Case(
        "eigenbasis",
        f"{batch}x{n}",
        lambda device: make(batch, n, device),
        by_kronla,
        {
            "A@Q, qr": Goal(
                {"torch": Way(step_by_sorted_qr, capturable=False)}, TARGET_SMALL if n <= SMALL else TARGET_LARGE
            ),
            "anew": Goal({"cupy eigh": Way(by_array_eigh, capturable=False, missing=missing_arrays())}),
        },
        error,
        lambda given: roofline.basis_step(n) * batch,
    )


def cases(tiny: bool) -> list[Case]:
    return [case(n, batch) for n, batch in inputs.uniform(tiny).items()]
