"""Every public op in dense float64 torch, under the same name: the truth that tests compare with.

The signatures and the fields returned are those of :mod:`kronla`; whatever the input dtype, the work is done in float64
and float64 comes back. In-place ops round their result into the tensors given. Nothing here is fast or checks anything.
"""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

import torch
from torch import Tensor

from kronla.ops.eigenbasis import Eigenbasis
from kronla.ops.inverse_root import InverseRoot
from kronla.ops.rearrangement import NearestKronecker

_Pair = tuple[Tensor | None, Tensor | None]
_Start = tuple[Tensor, Tensor] | None
_Map = Callable[[Tensor], Tensor]


def _wide(x: Tensor) -> Tensor:
    return x.detach().to(torch.float64)


def _symmetric(A: Tensor) -> Tensor:
    A = _wide(A)
    return (A + A.mT) / 2


def _norm(A: Tensor) -> Tensor:
    return A.flatten(-2).norm(dim=-1)


def _identity(A: Tensor) -> Tensor:
    return torch.eye(A.shape[-1], dtype=torch.float64, device=A.device).expand_as(A)


def _finite(*tensors: Tensor) -> Tensor:
    """Where every entry of every matrix is finite, by batch."""
    return torch.stack([x.isfinite().flatten(-2).all(-1) for x in tensors]).all(0)


def _per_matrix(x: Tensor) -> Tensor:
    return x[..., None, None]


def _keep(mask: Tensor, x: Tensor, instead: Tensor | float = float("nan")) -> Tensor:
    """x where the mask, by batch, holds."""
    return torch.where(mask[(...,) + (None,) * (x.dim() - mask.dim())], x, instead)


# factors


def update_factors_(
    L: Tensor | None,
    R: Tensor | None,
    G: Tensor,
    *,
    beta: float,
    alpha: float | None = None,
    weights: _Pair | None = None,
) -> None:
    """L ← βL + αG·WR·Gᵀ and R ← βR + αGᵀ·WL·G."""
    g, (WL, WR) = _wide(G), weights or (None, None)
    _moving_average_(L, g @ (g.mT if WR is None else _symmetric(WR) @ g.mT), beta, alpha)
    _moving_average_(R, g.mT @ (g if WL is None else _symmetric(WL) @ g), beta, alpha)


def _moving_average_(F: Tensor | None, new: Tensor, beta: float, alpha: float | None) -> None:
    new = (1 - beta if alpha is None else alpha) * (new + new.mT) / 2
    if F is not None:
        F.detach().copy_(new if beta == 0 else beta * _symmetric(F) + new)  # beta=0 reads no NaN


def foreach_update_factors_(Ls, Rs, Gs, *, beta, alpha=None, weights=None) -> None:
    """:func:`update_factors_` for each."""
    for L, R, G, W in zip(Ls, Rs, Gs, weights or [None] * len(Gs), strict=True):
        update_factors_(L, R, G, beta=beta, alpha=alpha, weights=W)


def update_mode_factors_(
    factors: Sequence[Tensor | None], G: Tensor, *, beta: float, alpha: float | None = None
) -> None:
    """F_i ← βF_i + α G₍ᵢ₎G₍ᵢ₎ᵀ, G₍ᵢ₎ [d_i, the rest] the unfolding along dimension i."""
    for i, F in enumerate(factors):
        slices = _slices(_wide(G), i, len(factors))
        _moving_average_(F, (slices @ slices.mT).sum(-3), beta, alpha)


def _slices(G: Tensor, i: int, order: int) -> Tensor:
    """G as [..., before, d_i, after], about dimension i of the last ``order``."""
    axis = G.dim() - order + i
    batch, before, after = G.shape[: G.dim() - order], G.shape[G.dim() - order : axis], G.shape[axis + 1 :]
    return G.reshape(*batch, math.prod(before), G.shape[axis], math.prod(after))


def foreach_update_mode_factors_(factor_lists, Gs, *, beta, alpha=None) -> None:
    """:func:`update_mode_factors_` for each."""
    for factors, G in zip(factor_lists, Gs, strict=True):
        update_mode_factors_(factors, G, beta=beta, alpha=alpha)


def kron_power_step(G: Tensor, L: Tensor, R: Tensor) -> tuple[Tensor, Tensor]:
    """The means over N of G R Gᵀ and Gᵀ L G, for G [..., N, m, n]."""
    g, wide_l, wide_r = _wide(G), _symmetric(L).unsqueeze(-3), _symmetric(R).unsqueeze(-3)
    return _symmetric((g @ wide_r @ g.mT).mean(-3)), _symmetric((g.mT @ wide_l @ g).mean(-3))


# inverse_root


def inverse_root(
    A: Tensor,
    p: int | float | Fraction,
    *,
    damping: float = 0.0,
    relative_damping: float = 0.0,
    method: str = "auto",
    rtol: float | None = None,
    max_steps: int | None = None,
    fallback: Tensor | None = None,
) -> InverseRoot:
    """D^(-1/p) by eigh, D = A + (damping + relative_damping·‖A‖_F) I.

    ``method`` and ``max_steps`` change nothing here; ``steps`` is 1 where there is a root.
    """
    A = _symmetric(A)
    finite = _finite(A)
    identity = _identity(A)
    A = _keep(finite, A, identity)
    D = A + _per_matrix(damping + relative_damping * _norm(A)) * identity
    definite = torch.linalg.cholesky_ex(D).info == 0
    eigenvalues, V = torch.linalg.eigh(D)
    eigenvalues = eigenvalues.clamp_min(torch.finfo(torch.float64).tiny).unsqueeze(-2)
    p = Fraction(p) if isinstance(p, int) or float(p).is_integer() else p

    def root(exponent: float) -> Tensor:
        return (V * eigenvalues**exponent) @ V.mT

    X = root(-1 / float(p))
    if isinstance(p, Fraction):  # on Y = D^(-1/r), X = Yˢ
        r = p.numerator
        Y = root(-1 / r)
        E = torch.linalg.matrix_power(Y, r // 2) @ D @ torch.linalg.matrix_power(Y, r - r // 2)
    else:
        E = (V.mT @ D @ V) / (eigenvalues * eigenvalues.mT).sqrt()
    residual = _norm(E - identity) / max(A.shape[-1], 1) ** 0.5
    good = finite & definite
    unconverged = ~(residual <= (0.1 if rtol is None else rtol))
    info = unconverged.int().masked_fill(~definite, 2).masked_fill(~finite, 3)
    X = _keep(good, (X + X.mT) / 2, float("nan") if fallback is None else _wide(fallback))
    return InverseRoot(X, _keep(good, residual), good.int(), info)


def foreach_inverse_root(As, p, *, fallbacks=None, **options) -> list[InverseRoot]:
    """:func:`inverse_root` for each."""
    fallbacks = [None] * len(As) if fallbacks is None else fallbacks
    return [inverse_root(A, p, fallback=X, **options) for A, X in zip(As, fallbacks, strict=True)]


# eigenbasis


def off_diagonal_ratio(A: Tensor, Q: Tensor) -> Tensor:
    """‖offdiag(QᵀAQ)‖_F / ‖A‖_F, and 0 for A = 0."""
    return _evaluate(_symmetric(A), _wide(Q))[1]


def _evaluate(A: Tensor, Q: Tensor) -> tuple[Tensor, Tensor]:
    """diag(QᵀAQ) and the off-diagonal ratio, the diagonal zeroed and not subtracted."""
    B = Q.mT @ A @ Q
    diagonal = B.diagonal(dim1=-2, dim2=-1)
    norm = _norm(A)
    return diagonal, torch.where(norm == 0, 0.0, _norm(B - diagonal.diag_embed()) / norm)


def update_eigenbasis(
    A: Tensor, Q: Tensor, *, tol: float = 0.0, max_steps: int = 1, method: str = "auto"
) -> Eigenbasis:
    """Up to ``max_steps`` steps on each matrix whose ratio is above ``tol``."""
    step = {"auto": _auto_step, "qr": _qr_step, "rotation": _rotation_step, "eigh": _eigh_step}
    A, old = _symmetric(A), _wide(Q)
    finite = _finite(A, old)
    A, P = _keep(finite, A, 0.0), _keep(finite, old, _identity(A))
    eigenvalues, ratio = _evaluate(A, P)
    steps = torch.zeros_like(ratio, dtype=torch.int32)
    for _ in range(max_steps):
        moving = finite & ((ratio > tol) | (tol == 0)) & (_norm(A) > 0)
        P = _keep(moving, step[method](A, P), P)
        steps = steps + moving.int()
        eigenvalues, ratio = _evaluate(A, P)
    info = ((ratio > tol) & (tol > 0)).int().masked_fill(~finite, 3)
    return Eigenbasis(_keep(finite, P, old), _keep(finite, eigenvalues), _keep(finite, ratio), steps, info)


def _auto_step(A: Tensor, Q: Tensor) -> Tensor:
    """QR from far, where the first-order rotation is not valid, and the rotation from near."""
    far = _evaluate(A, Q)[1] > 0.3
    return _keep(far, _qr_step(A, Q), _rotation_step(A, Q))


def _descending(A: Tensor, Q: Tensor) -> Tensor:
    """The order [..., 1, n] of the columns by falling Rayleigh quotient, ties by index."""
    order = _evaluate(A, Q)[0].argsort(dim=-1, descending=True, stable=True)
    return order.unsqueeze(-2).expand_as(Q)


def _continue(P: Tensor, Q: Tensor) -> Tensor:
    """P with the signs that make diag(PᵀQ) ≥ 0."""
    return P * torch.where((P * Q).sum(-2, keepdim=True) < 0, -1.0, 1.0)


def _qr_step(A: Tensor, Q: Tensor) -> Tensor:
    """The Q of AQ + μQ, descending, since unshifted QR converges to descending order.

    μ = n·u·‖A‖_F holds null directions in place.
    """
    order = _descending(A, Q)
    sorted_q = Q.gather(-1, order)
    shift = _per_matrix(A.shape[-1] * 2.0**-53 * _norm(A))
    P = _positive_qr(A @ sorted_q + shift * sorted_q)[0]
    return _continue(torch.empty_like(P).scatter_(-1, order, P), Q)


def _rotation_step(A: Tensor, Q: Tensor) -> Tensor:
    """The Q of Q + QT, T skew: T_ij = s·o·√x/(x + o² + e² + f⁴/(x - f²/9)), x = d² + o², d = λ_j - λ_i, o = B_ij.

    Pairs whose o and d are rounding errors, x ≤ f²/9, stay.
    """
    B = Q.mT @ A @ Q
    diagonal = B.diagonal(dim1=-2, dim2=-1)
    o = (B - diagonal.diag_embed()).triu(1)
    e = _per_matrix(_norm(B - diagonal.diag_embed()) / max(A.shape[-1], 1))
    d = diagonal.unsqueeze(-2) - diagonal.unsqueeze(-1)
    s = torch.where(d >= 0, 1.0, -1.0)  # sign(0) = 1: equal diagonals must rotate too
    x = d**2 + o**2
    f = _per_matrix(2 * 2.0**-53 * _norm(A))
    T = s * o * x.sqrt() / (x + o**2 + e**2 + f**4 / (x - f**2 / 9))
    T = torch.where(x <= f**2 / 9, 0.0, T)
    return _continue(_positive_qr(Q + Q @ (T - T.mT))[0], Q)


def _eigh_step(A: Tensor, Q: Tensor) -> Tensor:
    """Eigenvectors: the k-th largest goes where the k-th largest Rayleigh quotient was."""
    V = torch.linalg.eigh(A)[1].flip(-1)
    return _continue(torch.empty_like(V).scatter_(-1, _descending(A, Q), V), Q)


def _positive_qr(S: Tensor) -> tuple[Tensor, Tensor]:
    """Q and the diagonal of R, made positive."""
    Q, R = torch.linalg.qr(S)
    diagonal = R.diagonal(dim1=-2, dim2=-1)
    return Q * torch.where(diagonal < 0, -1.0, 1.0).unsqueeze(-2), diagonal.abs()


def foreach_update_eigenbasis(As, Qs, *, tol=0.0, max_steps=1, method="auto") -> list[Eigenbasis]:
    """:func:`update_eigenbasis` for each."""
    options = {"tol": tol, "max_steps": max_steps, "method": method}
    return [update_eigenbasis(A, Q, **options) for A, Q in zip(As, Qs, strict=True)]


def eigh(A: Tensor) -> Eigenbasis:
    """Eigenvectors and eigenvalues, ascending."""
    A = _symmetric(A)
    finite = _finite(A)
    A = _keep(finite, A, 0.0)
    eigenvalues, Q = torch.linalg.eigh(A)
    Q, eigenvalues, ratio = [_keep(finite, x) for x in (Q, eigenvalues, _evaluate(A, Q)[1])]
    return Eigenbasis(Q, eigenvalues, ratio, torch.zeros_like(finite).int(), 3 * (~finite).int())


def foreach_eigh(As) -> list[Eigenbasis]:
    """:func:`eigh` for each."""
    return [eigh(A) for A in As]


def orthonormalize(S: Tensor) -> tuple[Tensor, Tensor]:
    """The Q of S = QR with a positive diagonal; info 2 where a column depends on those before.

    That is: |R_jj| at most m·u·‖S_j‖, u the rounding of the dtype S came in.
    """
    rounding = torch.finfo(S.dtype).eps / 2
    wide = _wide(S)
    finite = _finite(wide)
    wide = _keep(finite, wide, 0.0)
    Q, diagonal = _positive_qr(wide)
    dependent = (diagonal <= S.shape[-2] * rounding * wide.norm(dim=-2)).any(-1)
    return _keep(finite, Q), (2 * dependent.int()).masked_fill(~finite, 3)


# rearrangement


def rearrange(H: Tensor, m: int, n: int) -> Tensor:
    """Row (i,i'), column (j,j') holds H[(i,j),(i',j')]."""
    blocks = _wide(H).reshape(*H.shape[:-2], m, n, m, n)  # [..., i, j, i', j']
    return blocks.transpose(-3, -2).reshape(*H.shape[:-2], m * m, n * n)


def unrearrange(M: Tensor, m: int, n: int) -> Tensor:
    """The inverse of :func:`rearrange`."""
    blocks = _wide(M).reshape(*M.shape[:-2], m, m, n, n)  # [..., i, i', j, j']
    return blocks.transpose(-3, -2).reshape(*M.shape[:-2], m * n, m * n)


def rearranged_matvec(H: Tensor, R: Tensor) -> Tensor:
    """L_ii' = Σ_jj' H[(i,j),(i',j')] R_jj'."""
    m, n = H.shape[-1] // max(R.shape[-1], 1), R.shape[-1]
    return _matvec(rearrange(H, m, n), R, m)


def _matvec(M: Tensor, R: Tensor, m: int) -> Tensor:
    return (M @ _wide(R).flatten(-2).unsqueeze(-1)).reshape(*M.shape[:-2], m, m)


def rearranged_rmatvec(H: Tensor, L: Tensor) -> Tensor:
    """R_jj' = Σ_ii' H[(i,j),(i',j')] L_ii'."""
    m, n = L.shape[-1], H.shape[-1] // max(L.shape[-1], 1)
    return _matvec(rearrange(H, m, n).mT, L, n)


def nearest_kronecker(H: Tensor, m: int, n: int, *, steps: int = 5, start: _Start = None) -> NearestKronecker:
    """``steps`` power steps on the rearrangement of H, from the start or (I, I)."""
    H = _symmetric(H)
    finite = _finite(H, *(start or ()))
    M = rearrange(_keep(finite, H, 0.0), m, n)
    pair = _first_pair(m, n, start, finite)
    return _power_iteration(lambda R: _matvec(M, R, m), lambda L: _matvec(M.mT, L, n), pair, steps, _norm(M), finite)


def nearest_kronecker_from_gradients(G: Tensor, *, steps: int = 5, start: _Start = None) -> NearestKronecker:
    """:func:`nearest_kronecker` of H = mean vec(G)vec(G)ᵀ, by Ĥ(R) = mean G R Gᵀ and ĤᵀL = mean Gᵀ L G."""
    g = _wide(G)
    finite = _finite(g.flatten(-3, -2), *(start or ()))
    g = _keep(finite, g, 0.0)
    norm = _norm(g.flatten(-2) @ g.flatten(-2).mT) / g.shape[-3]  # ‖H‖² = Σ_st ⟨g_s, g_t⟩² / N²
    pair = _first_pair(g.shape[-2], g.shape[-1], start, finite)

    def forward(R: Tensor) -> Tensor:
        return (g @ R.unsqueeze(-3) @ g.mT).mean(-3)

    def backward(L: Tensor) -> Tensor:
        return (g.mT @ L.unsqueeze(-3) @ g).mean(-3)

    return _power_iteration(forward, backward, pair, steps, norm, finite)


def _unit(A: Tensor, if_zero: Tensor) -> Tensor:
    A, norm = _symmetric(A), _norm(A)
    return _keep(norm > 0, A / _per_matrix(norm), if_zero)


def _first_pair(m: int, n: int, start: _Start, finite: Tensor) -> tuple[Tensor, Tensor]:
    """The start, or the identities, of norm 1."""
    identities = (torch.eye(size, dtype=torch.float64, device=finite.device) / max(size, 1) ** 0.5 for size in (m, n))
    L, R = (identity.expand(*finite.shape, *identity.shape) for identity in identities)
    if start is None:
        return L, R
    return _unit(_keep(finite, _symmetric(start[0]), L), L), _unit(_keep(finite, _symmetric(start[1]), R), R)


def _power_iteration(
    forward: _Map, backward: _Map, pair: tuple[Tensor, Tensor], steps: int, norm: Tensor, finite: Tensor
) -> NearestKronecker:
    """(L, R) ← (Ĥ(R), Ĥᵀ(L)), of norm 1; a step that gives 0 keeps what there was."""
    L, R = pair
    for _ in range(steps):
        L, R = _unit(forward(R), L), _unit(backward(L), R)
    sigma = (L * forward(R)).sum((-2, -1))
    cosine = torch.where(norm > 0, sigma / norm, 0.0)
    L, R, sigma, cosine = (_keep(finite, x) for x in (L, R, sigma, cosine))
    return NearestKronecker(L, R, sigma, cosine, 3 * (~finite).int())


# apply


def kron_apply(L: Tensor, G: Tensor, R: Tensor) -> Tensor:
    """L @ G @ R."""
    return _wide(L) @ _wide(G) @ _wide(R)


def foreach_kron_apply(Ls, Gs, Rs) -> list[Tensor]:
    """:func:`kron_apply` for each."""
    return [kron_apply(L, G, R) for L, G, R in zip(Ls, Gs, Rs, strict=True)]


def mode_apply(matrices: Sequence[Tensor | None], G: Tensor) -> Tensor:
    """The mode products: along dimension i, by matrix i [..., r_i, d_i]."""
    result = _wide(G).clone()
    for i, M in enumerate(matrices):
        if M is not None:
            axis = result.dim() - len(matrices) + i
            product = _wide(M).unsqueeze(-3) @ _slices(result, i, len(matrices))
            result = product.reshape(*result.shape[:axis], M.shape[-2], *result.shape[axis + 1 :])
    return result


def foreach_mode_apply(matrix_lists, Gs) -> list[Tensor]:
    """:func:`mode_apply` for each."""
    return [mode_apply(matrices, G) for matrices, G in zip(matrix_lists, Gs, strict=True)]
