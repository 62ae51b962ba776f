"""eigenbasis: one step, steps until a ratio of 0.01, the criterion, and decompositions from nothing."""

from functools import partial

import pytest
import torch
from torch import Tensor

import kronla
from bench import cases, shapes

# float32 orthogonality that counts as equal, ‖QᵀQ - I‖_F/√n.
ORTHOGONAL = 5e-6
# How far a ratio or an eigenvalue that is returned may be from the truth for the Q returned, relative to ‖A‖_F.
FIGURES = 1e-5
TOLERANCE, MOST_STEPS = 0.01, 16
BETAS = (0.95, 0.99, 0.999)
# n³ operations of a step: half of QᵀAQ, QT (both by bfloat16 where there is that, at twice the rate), half a Gram
# matrix, Cholesky, a triangular solve; and of the figures before and after: AQ.
STEP, CRITERION = 1 + 2 + 1 + 1 / 3 + 1, 2

# ---- one step, with ratio and eigenvalues ----


def drifted_and_counted(workload: str) -> cases.Inputs:
    """A, Q, and how many QR steps bring Q's ratio to where one step of kronla's brings it (at most MOST_STEPS)."""
    As, Qs = shapes.drifted_bases(workload)
    counts = {As[i].shape: _steps_as_good(As[i], Qs[i]) for i in cases.first_of_each_shape(As)}
    return As, Qs, [torch.tensor(counts[A.shape]) for A in As]


def _steps_as_good(A: Tensor, Q: Tensor) -> int:
    """For the first matrix of a batch: the drift of the others is the same."""
    A, Q = (x.flatten(0, -3)[0] if x.ndim > 2 else x for x in (A, Q))
    goal = kronla.update_eigenbasis(A, Q).ratio
    for count in range(1, MOST_STEPS):
        Q = torch.linalg.qr(A @ Q)[0]
        if kronla.off_diagonal_ratio(A, Q) <= goal:
            return count
    return MOST_STEPS


def step_by_kronla(As: list[Tensor], Qs: list[Tensor]) -> list[Tensor]:
    return _flat(kronla.foreach_update_eigenbasis(As, Qs))


def _flat(bases: list[kronla.Eigenbasis]) -> list[Tensor]:
    """All Q, then all eigenvalues, then all ratios, then all steps."""
    return [field for fields in list(zip(*bases, strict=True))[:4] for field in fields]


def step_by_qr(As: list[Tensor], Qs: list[Tensor], counts: list[Tensor] | None = None) -> list[Tensor]:
    """Steps of warm-started QR, one or so many, and what kronla returns of the new basis: quotients and ratio."""
    bases, eigenvalues, ratios = [], [], []
    for A, Q, count in zip(As, Qs, counts or [1] * len(As), strict=True):
        for _ in range(int(count)):
            Q = torch.linalg.qr(A @ Q)[0]
        B = Q.mT @ A @ Q
        bases.append(Q)
        eigenvalues.append(B.diagonal(dim1=-2, dim2=-1).clone())
        ratios.append(_ratio(A, B))
    return bases + eigenvalues + ratios


def step_by_sorted_qr(As: list[Tensor], Qs: list[Tensor]) -> list[Tensor]:
    """As SOAP does (Vyas et al. 2024, algorithm 4): columns sorted by Rayleigh quotient, one power step, qr."""
    bases = []
    for A, Q in zip(As, Qs, strict=True):
        S = A @ Q
        order = (Q * S).sum(-2).argsort(-1, descending=True)
        bases.append(torch.linalg.qr(S.gather(-1, order.unsqueeze(-2).expand_as(S)))[0])
    return bases


def _ratio(A: Tensor, B: Tensor) -> Tensor:
    """‖offdiag B‖_F/‖A‖_F; zeroes the diagonal of B."""
    B.diagonal(dim1=-2, dim2=-1).zero_()
    return B.flatten(-2).norm(dim=-1) / A.flatten(-2).norm(dim=-1)


def judge_bases(inputs: cases.Inputs) -> cases.Judge:
    """How much of A is still off the diagonal, ‖offdiag(QᵀAQ)‖_F/‖A‖_F, of one matrix or batch of each shape.

    Infinite for a Q that is not orthogonal, and where eigenvalues or ratio are returned and are not those of Q.
    """
    As = inputs[0]
    chosen = cases.first_of_each_shape(As)
    wide = {i: As[i].double() for i in chosen}

    def error(results: list[Tensor]) -> float:
        return max(_basis_error(wide[i], [x.double() for x in results[i :: len(As)]]) for i in chosen)

    return error


def _basis_error(A: Tensor, results: list[Tensor]) -> float:
    Q, figures = results[0], results[1:3]
    n = A.shape[-1]
    gap = (Q.mT @ Q - torch.eye(n, dtype=Q.dtype)).flatten(-2).norm(dim=-1).max()
    B = Q.mT @ A @ Q
    eigenvalues = B.diagonal(dim1=-2, dim2=-1).clone()
    norm = A.flatten(-2).norm(dim=-1)
    ratio = _ratio(A, B)
    wrong = max(
        [float(((eigenvalues - x).norm(dim=-1) / norm).max()) for x in figures[:1]]
        + [float((ratio - x).abs().max()) for x in figures[1:]],
        default=0.0,
    )
    return float(ratio.max()) if gap <= ORTHOGONAL * n**0.5 and wrong <= FIGURES else float("inf")


def step_case(workload: str) -> cases.Case:
    return cases.Case(
        "eigenbasis step",
        workload,
        lambda: drifted_and_counted(workload),
        lambda As, Qs, counts: step_by_kronla(As, Qs),
        {
            "eigenbasis step": {"qr": lambda As, Qs, counts: step_by_qr(As, Qs)},
            "eigenbasis step / as good": {"qr, several": step_by_qr},
            "eigenbasis step / SOAP": {"sorted qr": lambda As, Qs, counts: step_by_sorted_qr(As, Qs)},
        },
        judge_bases,
        # The figures of the old basis say what step to take, those of the new one are returned.
        lambda inputs, results: cases.Work(cases.cubes(inputs[0]) * (STEP + 2 * CRITERION)),
    )


# ---- from ten steps of a moving average until the ratio is small: none is needed where it is already ----


def until_by_kronla(As: list[Tensor], Qs: list[Tensor]) -> list[Tensor]:
    return _flat(kronla.foreach_update_eigenbasis(As, Qs, tol=TOLERANCE, max_steps=MOST_STEPS))


def until_by_eigh(As: list[Tensor], Qs: list[Tensor]) -> list[Tensor]:
    return eigh_by_torch(As)


def until_by_criterion_and_eigh(As: list[Tensor], Qs: list[Tensor]) -> list[Tensor]:
    """What a careful user would write: a basis that is good enough stays, the others are computed anew."""
    bases, eigenvalues = [], []
    for A, Q in zip(As, Qs, strict=True):
        B = Q.mT @ A @ Q
        quotients = B.diagonal(dim1=-2, dim2=-1).clone()
        old = _ratio(A, B) > TOLERANCE
        if old.any():
            Q = Q.clone()
            quotients[old], Q[old] = torch.linalg.eigh(A[old])
        bases.append(Q)
        eigenvalues.append(quotients)
    return bases + eigenvalues


def until_work(inputs: cases.Inputs, results: list[Tensor]) -> cases.Work:
    """The criterion, then for each step that was taken it and the criterion; a decomposition costs about a step."""
    As = inputs[0]
    taken = zip(As, results[3 * len(As) :], strict=True)
    return cases.Work(
        sum(A.shape[-1] ** 3 * float((CRITERION + steps * (STEP + CRITERION)).sum()) for A, steps in taken)
    )


def until_case(workload: str, beta: float) -> cases.Case:
    family = f"eigenbasis to {TOLERANCE}, β={beta}"
    return cases.Case(
        family,
        workload,
        lambda: shapes.drifted_bases(workload, beta),
        until_by_kronla,
        {
            family: {"eigh": until_by_eigh},
            f"eigenbasis to {TOLERANCE} / criterion": {"criterion, eigh": until_by_criterion_and_eigh},
        },
        judge_bases,
        until_work,
        enough=TOLERANCE + FIGURES,
    )


# ---- the criterion ----


def ratio_by_kronla(As: list[Tensor], Qs: list[Tensor]) -> list[Tensor]:
    return [kronla.off_diagonal_ratio(A, Q) for A, Q in zip(As, Qs, strict=True)]


def ratio_by_matmul(As: list[Tensor], Qs: list[Tensor]) -> list[Tensor]:
    return [_ratio(A, Q.mT @ A @ Q) for A, Q in zip(As, Qs, strict=True)]


def judge_ratios(inputs: cases.Inputs) -> cases.Judge:
    """Absolute: a ratio is relative to ‖A‖_F already."""
    As, Qs = inputs
    chosen = cases.first_of_each_shape(As)
    truth = ratio_by_matmul(*([tensors[i].double() for i in chosen] for tensors in (As, Qs)))
    return lambda results: max(float((results[i] - x).abs().max()) for i, x in zip(chosen, truth, strict=True))


def ratio_case(workload: str) -> cases.Case:
    return cases.Case(
        "off_diagonal_ratio",
        workload,
        lambda: shapes.drifted_bases(workload),
        ratio_by_kronla,
        {"off_diagonal_ratio": {"matmul": ratio_by_matmul}},
        judge_ratios,
        lambda inputs, results: cases.Work(cases.cubes(inputs[0]) * CRITERION),
    )


# ---- eigh ----


def eigh_by_kronla(As: list[Tensor]) -> list[Tensor]:
    return _flat(kronla.foreach_eigh(As))


def eigh_by_torch(As: list[Tensor]) -> list[Tensor]:
    eigenvalues, bases = zip(*(torch.linalg.eigh(A) for A in As), strict=True)
    return [*bases, *eigenvalues]


def eigh_case(workload: str) -> cases.Case:
    family = "eigh, one matrix" if workload in shapes.SINGLE else "eigh"
    return cases.Case(
        family,
        workload,
        lambda: (shapes.factors(workload),),
        eigh_by_kronla,
        {family: {"eigh": eigh_by_torch}},
        judge_bases,
        lambda inputs, results: cases.Work(cases.cubes(inputs[0]) * (cases.EIGH + CRITERION)),
    )


# ---- orthonormalize ----


def power_step(workload: str) -> cases.Inputs:
    """S = AQ, of an old basis Q: what a step of orthogonal iteration orthonormalizes."""
    return ([A @ Q for A, Q in zip(*shapes.drifted_bases(workload), strict=True)],)


def orthonormal_by_kronla(Ss: list[Tensor]) -> list[Tensor]:
    return [kronla.orthonormalize(S).Q for S in Ss]


def orthonormal_by_qr(Ss: list[Tensor]) -> list[Tensor]:
    return [torch.linalg.qr(S)[0] for S in Ss]


def judge_orthonormal(inputs: cases.Inputs) -> cases.Judge:
    """The worse of ‖QᵀQ - I‖_F/√n and of what QᵀS has below its diagonal, its columns scaled by those of S, over √n."""
    (Ss,) = inputs
    chosen = {i: Ss[i].double() for i in cases.first_of_each_shape(Ss)}

    def one(S: Tensor, Q: Tensor) -> float:
        n = S.shape[-1]
        gap = Q.mT @ Q - torch.eye(n, dtype=Q.dtype)
        below = (Q.mT @ (S / S.norm(dim=-2, keepdim=True))).tril(-1)
        return float(torch.maximum(gap.flatten(-2).norm(dim=-1), below.flatten(-2).norm(dim=-1)).max()) / n**0.5

    return lambda results: max(one(S, results[i].double()) for i, S in chosen.items())


def orthonormalize_case(workload: str) -> cases.Case:
    return cases.Case(
        "orthonormalize",
        workload,
        lambda: power_step(workload),
        orthonormal_by_kronla,
        {"orthonormalize": {"qr": orthonormal_by_qr}},
        judge_orthonormal,
        lambda inputs, results: cases.Work(cases.cubes(inputs[0]) * (2 + 1 / 3)),  # Gram, Cholesky, solve
    )


MAKERS = [
    step_case,
    *(partial(until_case, beta=beta) for beta in BETAS),
    ratio_case,
    eigh_case,
    orthonormalize_case,
]
CASES = [make(workload) for make in MAKERS for workload in shapes.WORKLOADS]
CASES += [eigh_case(workload) for workload in shapes.SINGLE]


@pytest.mark.parametrize(("case", "side"), cases.sides(CASES), ids=str)
def test_eigenbasis(benchmark, case, side):
    cases.run_with(benchmark, case, side)
