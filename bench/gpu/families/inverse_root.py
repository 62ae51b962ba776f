"""inverse_root: (A + 1e-6·‖A‖_F·I)^(-1/p) for batches that fill the device."""

from __future__ import annotations

import torch
from torch import Tensor

import kronla
from bench.cases import worst_relative_error
from bench.gpu import inputs, roofline
from bench.gpu.arrays import eigh, missing_arrays
from bench.gpu.case import Case, Goal, Way
from bench.gpu.timing import Inputs

DAMPING = 1e-6
TARGET_EIGH, TARGET_NEWTON = 10.0, 3.0
MOST_ITERATIONS = 60
# Matrices of a loop that is too long to be run whole.
LOOPED = 8


def by_kronla(p: int, As: list[Tensor]) -> list[Tensor]:
    roots = kronla.foreach_inverse_root(As, p, relative_damping=DAMPING, method="polynomial")
    return [root.X for root in roots]


def damped(A: Tensor) -> Tensor:
    shift = DAMPING * A.flatten(-2).norm(dim=-1)[..., None, None]
    return A + shift * torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)


def from_eigh(eigenvalues: Tensor, Q: Tensor, p: int) -> Tensor:
    return (Q * eigenvalues.clamp_min(1e-30).pow(-1 / p).unsqueeze(-2)) @ Q.mT


def by_array_eigh(p: int, As: list[Tensor]) -> list[Tensor]:
    """The batched eigh of cuSOLVER, as CuPy reaches it."""
    return [from_eigh(*eigh(damped(A)), p) for A in As]


def by_torch_eigh(p: int, As: list[Tensor]) -> list[Tensor]:
    """Looped above n = 32 in torch 2.11: on the first matrices."""
    return [from_eigh(*torch.linalg.eigh(damped(A[:LOOPED])), p) for A in As]


class CoupledNewton:
    """Guo and Higham's iteration in batched products, X and M together, on A scaled by (p+1)/(2‖A‖_F).

    How many iterations it takes is found once, with a look at max|M - I| after each, and kept: the timed calls have no
    host synchronisation, and their products can be captured in a graph. That is better than one could do in a training.
    """

    def __init__(self, p: int) -> None:
        self.p = p
        self.iterations: int | None = None

    def __call__(self, As: list[Tensor]) -> list[Tensor]:
        return [self.root(A) for A in As]

    def root(self, A: Tensor) -> Tensor:
        p, D = self.p, damped(A)
        eye = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)
        z = (p + 1) / (2 * D.flatten(-2).norm(dim=-1)[..., None, None])
        X, M = (z ** (1 / p) * eye), z * D
        gap, taken = float("inf"), 0
        for _ in range(self.iterations or MOST_ITERATIONS):
            T = ((p + 1) * eye - M) / p
            X, M = X @ T, self.power(T) @ M
            taken += 1
            if self.iterations is None:
                last, gap = gap, float((M - eye).abs().max())
                if gap < 1e-6 or (gap < 1e-2 and gap > 0.8 * last):
                    break
        self.iterations = taken
        return X

    def power(self, T: Tensor) -> Tensor:
        T2 = T @ T
        return T2 if self.p == 2 else T2 @ T2


def error(p: int, given: Inputs, results: list[Tensor]) -> float:
    """Of a few matrices of the batch, against eigh in float64."""
    chosen = inputs.sample(given[0][0].shape[0])
    truth = [from_eigh(*torch.linalg.eigh(damped(A[chosen].double())), p) for A in given[0]]
    return worst_relative_error([X[chosen] for X in results], truth)


def work(p: int, given: Inputs) -> roofline.Work:
    steps = kronla.inverse_root(given[0][0], p, relative_damping=DAMPING, method="polynomial").steps.float().mean()
    batch, n, _ = given[0][0].shape
    return roofline.inverse_root(n, p, float(steps)) * batch


def case(p: int, n: int, batch: int) -> Case:
    part = min(1.0, LOOPED / batch)
    torch_eigh = Way(lambda As: by_torch_eigh(p, As), capturable=False, part=part)
    return Case(
        "inverse_root",
        f"p={p} {batch}x{n}",
        lambda device: ([inputs.factor((batch, n, n), device)],),
        lambda As: by_kronla(p, As),
        {
            "batched eigh": Goal(
                {"cupy eigh": Way(lambda As: by_array_eigh(p, As), capturable=False, missing=missing_arrays())},
                TARGET_EIGH,
            ),
            "coupled Newton": Goal({"bmm": Way(CoupledNewton(p))}, TARGET_NEWTON),
            "torch eigh": Goal({f"linalg.eigh, {LOOPED} of {batch}": torch_eigh}),
        },
        lambda given, results: error(p, given, results),
        lambda given: work(p, given),
    )


def cases(tiny: bool) -> list[Case]:
    return [case(p, n, batch) for p in (4, 2) for n, batch in inputs.uniform(tiny).items()]
