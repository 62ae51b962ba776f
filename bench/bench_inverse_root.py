"""inverse_root: (A + 1e-6·‖A‖_F·I)^(-1/p) for all factors of a workload, p = 4 and 2."""

from collections import defaultdict
from functools import partial

import pytest
import torch
from torch import Tensor

import kronla
from bench import cases, shapes

DAMPING = 1e-6
ROOTS = (4, 2)
# The residual that counts as good by default. Given, it lets kronla work in float32 throughout, as torch does.
RTOL = 0.1
# Half a minute each: at p = 4 alone.
LONG_BY_NEWTON = ("vit-s16", "gpt2")


def by_kronla(As: list[Tensor], *, p: int, rtol: float | None = None) -> list[Tensor]:
    return [result.X for result in kronla.foreach_inverse_root(As, p, relative_damping=DAMPING, rtol=rtol)]


def by_eigh(As: list[Tensor], *, p: int) -> list[Tensor]:
    """A decomposition, the powers, one product."""
    return [_root(A, p) for A in As]


def by_float64_eigh(As: list[Tensor], *, p: int) -> list[Tensor]:
    """The same in float64 but for the product, which float32 is good enough for."""
    roots = []
    for A in As:
        eigenvalues, Q = torch.linalg.eigh(A.double())
        scaled = Q * _powers(eigenvalues, A.double(), p).unsqueeze(-2)
        roots.append(scaled.float() @ Q.float().mT)
    return roots


def _root(A: Tensor, p: int) -> Tensor:
    eigenvalues, Q = torch.linalg.eigh(A)
    return (Q * _powers(eigenvalues, A, p).unsqueeze(-2)) @ Q.mT


def _powers(eigenvalues: Tensor, A: Tensor, p: int) -> Tensor:
    damping = DAMPING * A.flatten(-2).norm(dim=-1, keepdim=True)
    return (eigenvalues + damping).clamp_min(1e-30).pow(-1 / p)


def by_newton(As: list[Tensor], *, p: int) -> list[Tensor]:
    """Coupled Newton iterations, the matrices of a size in one batch."""
    members: dict[int, list[int]] = defaultdict(list)
    for index, A in enumerate(As):
        members[A.shape[-1]].append(index)
    roots = list(As)
    for n, indices in members.items():
        if len(indices) == 1:
            roots[indices[0]] = newton(As[indices[0]].reshape(-1, n, n), p).view_as(As[indices[0]])
        else:
            for index, X in zip(indices, newton(torch.stack([As[i] for i in indices]), p), strict=True):
                roots[index] = X
    return roots


def newton(A: Tensor, p: int, tolerance: float = 1e-6, most_steps: int = 100) -> Tensor:
    """D^(-1/p), p = 2 or 4, of D = A + DAMPING·‖A‖_F·I [B, n, n] by the coupled Newton iteration.

    With z = (p+1)/(2‖D‖_F), X = z^(1/p) I and M = zD: T = ((p+1)I - M)/p, X ← XT, M ← TᵖM (Guo and Higham 2006,
    eq. 3.10; the method of Shampoo's authors). It ends where ‖M - I‖_F is below the tolerance, or no longer halves
    although it is small: there it converges quadratically until rounding stops it. (The largest entry of M - I is small
    as well where one eigenvalue is far from 1 and its vector is spread.)
    """
    D = A.clone()
    D.diagonal(dim1=-2, dim2=-1).add_(DAMPING * A.flatten(-2).norm(dim=-1, keepdim=True))
    z = (p + 1) / (2 * D.flatten(-2).norm(dim=-1))[:, None, None]
    M, gap = z * D, float("inf")
    X = None
    for _ in range(most_steps):
        T = M.mul(-1 / p)
        T.diagonal(dim1=-2, dim2=-1).add_((p + 1) / p)
        X = z ** (1 / p) * T if X is None else X @ T  # the first X is a multiple of I
        power = T @ T
        M = (power @ power if p == 4 else power) @ M
        E = M.clone()
        E.diagonal(dim1=-2, dim2=-1).sub_(1)
        before, gap = gap, float(E.flatten(-2).norm(dim=-1).max())
        if gap <= tolerance or (gap < 0.1 and gap > before / 2):
            break
    assert X is not None
    return X


def judge(inputs: cases.Inputs, p: int) -> cases.Judge:
    (As,) = inputs
    chosen = cases.first_of_each_shape(As)
    truth = by_eigh([As[i].double() for i in chosen], p=p)
    return lambda results: cases.worst_relative_error([results[i] for i in chosen], truth)


def flops(As: list[Tensor]) -> float:
    """To tridiagonal form (4/3 n³), and the reflections back from both sides (2 n³)."""
    return cases.cubes(As) * (4 / 3 + 2)


def rtol_case(workload: str, p: int) -> cases.Case:
    """No more accurate than float32 eigh is."""
    return cases.Case(
        f"inverse_root rtol={RTOL} p={p}",
        workload,
        lambda: (shapes.factors(workload),),
        partial(by_kronla, p=p, rtol=RTOL),
        {f"inverse_root rtol={RTOL} / eigh": {"eigh": partial(by_eigh, p=p)}},
        partial(judge, p=p),
        lambda inputs, results: cases.Work(flops(inputs[0])),
    )


def case(workload: str, p: int) -> cases.Case:
    """In kronla's default accuracy, which is nearer to that of float64 eigh."""
    family = "inverse_root"
    groups = {
        "inverse_root / eigh": {"eigh": partial(by_eigh, p=p)},
        "inverse_root / float64 eigh": {"float64 eigh": partial(by_float64_eigh, p=p)},
        "inverse_root / Newton": {"coupled Newton": partial(by_newton, p=p)},
    }
    if workload in LONG_BY_NEWTON and p == 2:
        del groups["inverse_root / Newton"]
    if workload in shapes.SINGLE:
        family = "inverse_root, one matrix,"
        groups = {"inverse_root, one matrix": groups["inverse_root / eigh"]}
    return cases.Case(
        f"{family} p={p}",
        workload,
        lambda: (shapes.factors(workload),),
        partial(by_kronla, p=p),
        groups,
        partial(judge, p=p),
        lambda inputs, results: cases.Work(flops(inputs[0])),
    )


CASES = [make(workload, p) for make in (case, rtol_case) for p in ROOTS for workload in shapes.WORKLOADS]
CASES += [case(workload, p) for p in ROOTS for workload in shapes.SINGLE]


@pytest.mark.parametrize(("case", "side"), cases.sides(CASES), ids=str)
def test_inverse_root(benchmark, case, side):
    cases.run_with(benchmark, case, side)
