"""The demo's second part: each op family beside the best that torch has, on equal inputs: accuracy, and times."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from rich.progress import Progress
from torch import Tensor

import kronla
from kronla.commands.demo_baseline import warm_qr
from kronla.testing import matrices, reference

# Gradient shapes of a character transformer, 128 wide with 4 layers.
_TRANSFORMER = [(384, 128), (128, 128), (512, 128), (128, 512)] * 4
_BETA = 0.95
_STEPS, _AGE = 40, 10
_RELATIVE_DAMPING = 1e-6
_SECONDS = 4.0  # after which a contest takes no further turns, if it had three
_SIDE = 32  # of the Kronecker factors in the rearrangement: H is 1024 × 1024


@dataclass
class Inputs:
    """Gradients G, their factors A (all L, then all R), and for each factor a basis that is some steps old."""

    name: str
    Gs: list[Tensor]
    As: list[Tensor]
    Qs: list[Tensor]

    @property
    def Ls(self) -> list[Tensor]:
        return self.As[: len(self.Gs)]

    @property
    def Rs(self) -> list[Tensor]:
        return self.As[len(self.Gs) :]


@dataclass
class Contest:
    """The same computation three times, and which tensors of what it returns are compared."""

    family: str
    workload: str
    kronla: Callable[[], Any]
    torch: Callable[[], Any]
    truth: Callable[[], Any]
    compared: Callable[[Any], list[Tensor]] = list


@dataclass
class Comparison:
    """One row of the table: relative errors against float64, milliseconds, and the median of torch's over kronla's."""

    family: str
    workload: str
    kronla_error: float
    torch_error: float
    kronla_ms: float
    torch_ms: float
    ratio: float


def compare(workloads: Sequence[Inputs], repeats: int, progress: Progress) -> list[Comparison]:
    """All families on all workloads, and the rearrangement on one of its own."""
    contests = [make(inputs) for make in (_factors, _inverse_root, _eigenbasis, _apply) for inputs in workloads]
    contests.append(_rearrangement())
    bar = progress.add_task(f"{'op families':<21}", total=len(contests), note="")
    rows = []
    for contest in contests:
        progress.update(bar, note=f"{contest.family}, {contest.workload}")
        rows.append(_run(contest, repeats))
        progress.advance(bar)
    progress.update(bar, note="")
    return rows


def from_training(optimizer: torch.optim.Optimizer, name: str) -> Inputs:
    """What an optimizer of kronla holds after training: the last gradients, and real factors and bases."""
    params = [p for group in optimizer.param_groups for p in group["params"] if p.dim() == 2 and p.grad is not None]
    states = [optimizer.state[p] for p in params]
    factors, bases = ([s[f"{kind}.0.{mode}"] for mode in (0, 1) for s in states] for kind in ("factor", "basis"))
    return Inputs(name, [p.grad.clone() for p in params if p.grad is not None], factors, bases)


def transformer() -> Inputs:
    """Gradients of decaying spectra in the shapes of a small transformer, averaged; bases 10 steps old."""
    shapes = _TRANSFORMER
    every = [matrices.gradients(_STEPS, *shape, seed=i) for i, shape in enumerate(shapes)]
    sizes = [m for m, _ in shapes] + [n for _, n in shapes]
    As = [torch.zeros(size, size) for size in sizes]
    Qs: list[Tensor] = []
    for step in range(_STEPS):
        if step == _STEPS - _AGE:
            Qs = [found.Q for found in kronla.foreach_eigh(As)]
        kronla.foreach_update_factors_(As[: len(shapes)], As[len(shapes) :], [each[step] for each in every], beta=_BETA)
    return Inputs("transformer", [each[-1].clone() for each in every], As, Qs)


def _run(contest: Contest, repeats: int) -> Comparison:
    """Errors from the first calls; then times, by turns and with the order of the two changing."""
    truth = contest.compared(contest.truth())
    ours, theirs = (_error(contest.compared(way()), truth) for way in (contest.kronla, contest.torch))
    ms: tuple[list[float], list[float]] = ([], [])
    for repeat in range(repeats):
        if repeat >= 3 and sum(map(sum, ms)) > 1e3 * _SECONDS:
            break
        for i in (0, 1) if repeat % 2 else (1, 0):
            start = time.perf_counter()
            (contest.kronla, contest.torch)[i]()
            ms[i].append(1e3 * (time.perf_counter() - start))
    ratio = median(slow / fast for fast, slow in zip(*ms, strict=True))
    return Comparison(contest.family, contest.workload, ours, theirs, median(ms[0]), median(ms[1]), ratio)


def _error(found: list[Tensor], truth: list[Tensor]) -> float:
    """The largest relative error in the Frobenius norm."""
    return max(((x.double() - y.double()).norm() / y.double().norm()).item() for x, y in zip(found, truth, strict=True))


def _factors(inputs: Inputs) -> Contest:
    def copies(dtype: torch.dtype) -> tuple[list[Tensor], list[Tensor]]:
        return [L.to(dtype, copy=True) for L in inputs.Ls], [R.to(dtype, copy=True) for R in inputs.Rs]

    ours, theirs, truth = copies(torch.float32), copies(torch.float32), copies(torch.float64)

    def by_kronla() -> list[Tensor]:
        kronla.foreach_update_factors_(*ours, inputs.Gs, beta=_BETA)
        return ours[0] + ours[1]

    def by_torch() -> list[Tensor]:
        for L, R, G in zip(*theirs, inputs.Gs, strict=True):
            L.mul_(_BETA).addmm_(G, G.mT, alpha=1 - _BETA)
            R.mul_(_BETA).addmm_(G.mT, G, alpha=1 - _BETA)
        return theirs[0] + theirs[1]

    def by_reference() -> list[Tensor]:
        reference.foreach_update_factors_(*truth, inputs.Gs, beta=_BETA)
        return truth[0] + truth[1]

    return Contest("factors", inputs.name, by_kronla, by_torch, by_reference)


def _inverse_root(inputs: Inputs) -> Contest:
    def by_torch() -> list[Tensor]:
        roots = []
        for A in inputs.As:
            eigenvalues, Q = torch.linalg.eigh(A)
            roots.append((Q * (eigenvalues + _RELATIVE_DAMPING * A.norm()).clamp_min(1e-30).pow(-0.25)) @ Q.mT)
        return roots

    def found(module: Any) -> Callable[[], list[Tensor]]:
        return lambda: [
            root.X for root in module.foreach_inverse_root(inputs.As, 4, relative_damping=_RELATIVE_DAMPING)
        ]

    return Contest("inverse root, p = 4", inputs.name, found(kronla), by_torch, found(reference))


def _eigenbasis(inputs: Inputs) -> Contest:
    """One warm QR step. Compared is QᵀQ: single columns in a null space are free, orthogonality is not."""

    def found(module: Any) -> Callable[[], list[Tensor]]:
        return lambda: [each.Q for each in module.foreach_update_eigenbasis(inputs.As, inputs.Qs, method="qr")]

    def by_torch() -> list[Tensor]:
        return [warm_qr(A, Q) for A, Q in zip(inputs.As, inputs.Qs, strict=True)]

    def grams(bases: list[Tensor]) -> list[Tensor]:
        return [Q.double().mT @ Q.double() for Q in bases]

    return Contest("eigenbasis, QR step", inputs.name, found(kronla), by_torch, found(reference), grams)


def ratios_after_a_step(inputs: Inputs) -> dict[str, float]:
    """The mean off-diagonal ratio of the old bases, and after one warm QR step by kronla, torch and in float64."""
    contest = _eigenbasis(inputs)

    def mean_ratio(bases: list[Tensor]) -> float:
        ratios = [reference.off_diagonal_ratio(A, Q).item() for A, Q in zip(inputs.As, bases, strict=True)]
        return sum(ratios) / len(ratios)

    ways = {"kronla": contest.kronla, "torch": contest.torch, "float64": contest.truth}
    return {"before": mean_ratio(inputs.Qs), **{name: mean_ratio(way()) for name, way in ways.items()}}


def _apply(inputs: Inputs) -> Contest:
    lefts, rights = inputs.Qs[: len(inputs.Gs)], inputs.Qs[len(inputs.Gs) :]

    def by_torch() -> list[Tensor]:
        return [L @ G @ R for L, G, R in zip(lefts, inputs.Gs, rights, strict=True)]

    return Contest(
        "apply",
        inputs.name,
        lambda: kronla.foreach_kron_apply(lefts, inputs.Gs, rights),
        by_torch,
        lambda: reference.foreach_kron_apply(lefts, inputs.Gs, rights),
    )


def _rearrangement() -> Contest:
    """The nearest ``kron(L, R)`` to covariances of gradients; torch rearranges once and iterates on that."""
    m = n = _SIDE
    g = matrices.gradients(4, 256, m, n, seed=1).flatten(-2)
    H = g.mT @ g / 256

    def by_torch() -> list[Tensor]:
        M = H.unflatten(-1, (m, n)).unflatten(-3, (m, n)).transpose(-3, -2).reshape(-1, m * m, n * n)
        L, R = torch.eye(m).expand(len(H), m, m).flatten(-2), torch.eye(n).expand(len(H), n, n).flatten(-2)
        for _ in range(5):
            L, R = (M @ R.unsqueeze(-1)).squeeze(-1), (M.mT @ L.unsqueeze(-1)).squeeze(-1)
            L, R = L / L.norm(dim=-1, keepdim=True), R / R.norm(dim=-1, keepdim=True)
        sigma = (L * (M @ R.unsqueeze(-1)).squeeze(-1)).sum(-1)
        return [L.unflatten(-1, (m, m)), R.unflatten(-1, (n, n)), sigma]

    def found(module: Any) -> Callable[[], list[Tensor]]:
        return lambda: list(module.nearest_kronecker(H, m, n, steps=5)[:3])

    return Contest("rearrangement", f"4 of {m * n}×{m * n}", found(kronla), by_torch, found(reference))
