"""Symmetric matrices by spectrum and by structure, deterministic by seed.

Every function builds on the CPU in float64 and rounds once to the dtype asked for, so the same
arguments give the same matrix whatever the dtype; move the result to a device with ``.to(device)``.
Symmetric results are symmetric to the bit.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

#: The spectra of :func:`spectrum`. All but ``flat`` and ``decaying`` reach the condition asked for.
SPECTRA = (
    "log-uniform",
    "one-large",
    "one-small",
    "clustered",
    "gapped",
    "flat",
    "low-rank",
    "decaying",
    "near-duplicate",
)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _randn(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def _symmetrized(A: Tensor, dtype: torch.dtype) -> Tensor:
    """The upper triangle mirrored, after rounding: equal to its transpose to the bit."""
    upper = A.to(dtype).triu()
    return upper + upper.triu(1).mT


def spectrum(kind: str, n: int, condition: float) -> Tensor:
    """Eigenvalues of a kind, largest first, the largest being 1.

    Args:
        kind: one of :data:`SPECTRA`.

            - ``log-uniform``: evenly spaced logarithms;
            - ``one-large``: one 1, the rest ``1/condition``;
            - ``one-small``: all 1, the last ``1/condition``;
            - ``clustered``: up to eight distinct values, each repeated;
            - ``gapped``: the upper half within [.5, 1], the lower within [1, 2]/condition;
            - ``flat``: all 1 (``condition`` is not used);
            - ``low-rank``: an eighth decays like 1/k, the rest is the floor ``1/condition``;
            - ``decaying``: ``k^-2``, but not below ``1/condition``;
            - ``near-duplicate``: log-uniform pairs that differ by one part in a thousand.
        n: how many.
        condition: the ratio of the largest to the smallest, at least 1.

    Returns:
        A float64 tensor [n] of positive numbers in descending order.
    """
    if kind not in SPECTRA:
        raise ValueError(f"kind is {kind!r}; it must be one of {', '.join(SPECTRA)}")
    if condition < 1:
        raise ValueError(f"condition is {condition}; it must be at least 1")
    smallest = 1 / condition
    index = torch.arange(n, dtype=torch.float64)
    ones = torch.ones(n, dtype=torch.float64)
    floor = ones * smallest
    if kind == "log-uniform":
        return _log_uniform(n, condition)
    if kind == "one-large":
        return torch.where(index == 0, ones, floor)
    if kind == "one-small":
        return torch.where(index == n - 1, floor, ones) if n > 1 else ones
    if kind == "clustered":
        distinct = min(n, 8)
        return _log_uniform(distinct, condition)[(index * distinct / max(n, 1)).long()]
    if kind == "gapped":
        upper = (n + 1) // 2
        low = torch.linspace(smallest, min(2 * smallest, 0.5), n - upper, dtype=torch.float64).flip(0)
        return torch.cat([torch.linspace(1, 0.5, upper, dtype=torch.float64), low])
    if kind == "low-rank":
        return torch.where(index < max(n // 8, 1), 1 / (index + 1), floor).clamp_min(smallest)
    if kind == "decaying":
        return ((index + 1) ** -2).clamp_min(smallest)
    if kind == "near-duplicate":
        pairs = _log_uniform((n + 1) // 2, condition).repeat_interleave(2)[:n]
        pairs = torch.where(index % 2 == 1, pairs * (1 - 1e-3), pairs)
        return torch.where((index == n - 1) & (index > 0), floor, pairs)
    return ones


def _log_uniform(n: int, condition: float) -> Tensor:
    return torch.logspace(0, -math.log10(condition), n, dtype=torch.float64)


def orthogonal(
    n: int,
    batch: Sequence[int] = (),
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
) -> Tensor:
    """Orthogonal matrices [*batch, n, n], uniform in the Haar measure.

    The Q of a Gaussian matrix, with the signs that make R's diagonal positive (Mezzadri 2007).
    """
    Q, R = torch.linalg.qr(_randn(_generator(seed), *batch, n, n))
    signs = torch.where(R.diagonal(dim1=-2, dim2=-1) < 0, -1.0, 1.0)
    return (Q * signs.unsqueeze(-2)).to(dtype)


def with_spectrum(
    eigenvalues: Tensor,
    batch: Sequence[int] = (),
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
) -> Tensor:
    """Symmetric matrices [*batch, n, n] of the given eigenvalues [n], in a Haar basis."""
    Q = orthogonal(eigenvalues.shape[-1], batch, seed=seed)
    return _symmetrized((Q * eigenvalues.double()) @ Q.mT, dtype)


def symmetric(
    kind: str,
    n: int,
    condition: float = 1e3,
    batch: Sequence[int] = (),
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
) -> Tensor:
    """Symmetric positive definite matrices [*batch, n, n] of a :func:`spectrum`, in a Haar basis.

    Rounding to float32 moves eigenvalues by about 6e-8 times the largest: at a condition of 1e7
    the smallest is only roughly what was asked for.
    """
    return with_spectrum(spectrum(kind, n, condition), batch, dtype, seed)


def indefinite(
    n: int,
    smallest: float = -0.1,
    batch: Sequence[int] = (),
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
) -> Tensor:
    """Symmetric matrices [*batch, n, n], eigenvalues in [.1, 1] but for the last, ``smallest``."""
    eigenvalues = spectrum("log-uniform", n, 10)
    eigenvalues[-1:] = smallest
    return with_spectrum(eigenvalues, batch, dtype, seed)


def rank_deficient(
    n: int,
    rank: int,
    batch: Sequence[int] = (),
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
) -> Tensor:
    """Gram matrices GGᵀ/rank [*batch, n, n] of Gaussian G [n, rank].

    Rounded to float32 they are indefinite, by about 1e-8 times the norm.
    """
    G = _randn(_generator(seed), *batch, n, rank)
    return _symmetrized(G @ G.mT / max(rank, 1), dtype)


def toeplitz(
    n: int,
    correlation: float = 0.9,
    batch: Sequence[int] = (),
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """The matrix [*batch, n, n] of entries correlation^|i-j|: a constant diagonal, exactly."""
    index = torch.arange(n, dtype=torch.float64)
    A = correlation ** (index[:, None] - index).abs()
    return A.to(dtype).expand(*batch, n, n).clone()


def equicorrelated(
    n: int,
    correlation: float = 0.5,
    batch: Sequence[int] = (),
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Ones on the diagonal [*batch, n, n] and ``correlation`` beside: n-1 equal eigenvalues."""
    A = torch.full((n, n), correlation, dtype=torch.float64)
    A.fill_diagonal_(1)
    return A.to(dtype).expand(*batch, n, n).clone()


def gradients(
    *shape: int,
    decay: float = 0.5,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
) -> Tensor:
    """Gradients [..., m, n] of decaying row and column spectra, as trained layers have.

    ``U_L diag(i^-decay) Z diag(j^-decay) U_Rᵀ`` with Gaussian Z and Haar U, the same U for all
    leading dimensions; ``decay=0`` gives white gradients. One dimension gives a Gaussian vector.
    """
    Z = _randn(_generator(seed), *shape)
    if Z.dim() < 2:
        return Z.to(dtype)
    m, n = shape[-2:]
    rows = torch.arange(1, m + 1, dtype=torch.float64) ** -decay
    columns = torch.arange(1, n + 1, dtype=torch.float64) ** -decay
    left, right = orthogonal(m, seed=seed + 1), orthogonal(n, seed=seed + 2)
    return ((left * rows) @ Z @ (right * columns).mT).to(dtype)


def ema_drift(
    n: int,
    beta: float,
    steps: int,
    kind: str = "decaying",
    condition: float = 1e4,
    columns: int = 64,
    batch: Sequence[int] = (),
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """A moving average of GGᵀ and an eigenbasis of it that is some steps old.

    Gradients G [n, columns] have the covariance of a :func:`spectrum` in a fixed Haar basis;
    ``A ← beta A + (1-beta) GGᵀ/columns`` runs until it has settled (3/(1-beta) steps), then the
    basis is taken, then it runs ``steps`` more.

    Returns:
        (A, Q), both [*batch, n, n]: the average at the end, symmetric to the bit, and the
        eigenbasis at ``steps`` earlier, its columns in descending order of the eigenvalues.
    """
    generator = _generator(seed)
    root = orthogonal(n, batch, seed=seed + 1) * spectrum(kind, n, condition).sqrt()
    A = torch.zeros(*batch, n, n, dtype=torch.float64)
    settle = math.ceil(3 / (1 - beta))
    Q = A
    for step in range(settle + steps):
        if step == settle:
            Q = torch.linalg.eigh(A)[1].flip(-1)
        G = root @ _randn(generator, *batch, n, columns)
        A = beta * A + (1 - beta) / columns * (G @ G.mT)
    if steps == 0:
        Q = torch.linalg.eigh(A)[1].flip(-1)
    return _symmetrized(A, dtype), Q.to(dtype)
