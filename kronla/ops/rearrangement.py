"""The Van Loan–Pitsianis rearrangement and the Frobenius-nearest Kronecker product."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from kronla import _native  # noqa: F401  (registers torch.ops.kronla)
from kronla.ops import checks

_ops = torch.ops.kronla


class NearestKronecker(NamedTuple):
    """``sigma · torch.kron(L, R)``, the nearest Kronecker product that was found, and how near it is."""

    L: Tensor
    """``[..., m, m]``, of unit Frobenius norm."""
    R: Tensor
    """``[..., n, n]``, of unit Frobenius norm."""
    sigma: Tensor
    """``[...]``: ⟨L, Ĥ(R)⟩, the largest singular value of the rearrangement at convergence."""
    cosine: Tensor
    """``[...]``: sigma / ‖H‖_F; the relative error is sqrt(1 - cosine²)."""
    info: Tensor
    """``[...]``, int32: 0 good, 3 a non-finite input (then everything else is NaN)."""


def rearrange(H: Tensor, m: int, n: int) -> Tensor:
    r"""The rearrangement in which Kronecker products are rank-one matrices.

    .. math:: \hat H_{(i,i'),(j,j')} = H_{(i,j),(i',j')}, \qquad
        \mathrm{rearrange}(L \otimes R) = \mathrm{vec}(L)\,\mathrm{vec}(R)^T

    (Van Loan and Pitsianis 1993, Approximation with Kronecker Products, section 2; row-major vec.)

    Args:
        H: ``[..., m n, m n]``, float32 or float64; nothing is assumed of it.
        m: size of the left factor.
        n: size of the right factor.

    Returns:
        ``[..., m², n²]``, a copy.

    Raises:
        TypeError: not a tensor, a dtype that is not allowed, or a size that is not an int.
        ValueError: a shape that is not ``[..., m n, m n]``.
        NotImplementedError: complex or sparse tensors, or a device without kernels.

    Contract: exact; no synchronisation; not differentiable. Cost: one copy; no workspace.

    Equivalent to::

        H.reshape(*batch, m, n, m, n).transpose(-3, -2).reshape(*batch, m * m, n * n)

    Example:
        >>> rearrange(torch.kron(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.eye(1)), 2, 1).flatten()
        tensor([1., 2., 3., 4.])
    """
    H = checks.accumulator("H", H)
    m, n = checks.integer("m", m, 0), checks.integer("n", n, 0)
    *batch, _, _ = H.shape
    checks.shape("H", H, (*batch, m * n, m * n), ("m", m), ("n", n))
    return _ops.rearrange.default(H, m, n)


def unrearrange(M: Tensor, m: int, n: int) -> Tensor:
    """The inverse of :func:`rearrange`: ``unrearrange(rearrange(H, m, n), m, n)`` is H.

    Args:
        M: ``[..., m², n²]``, float32 or float64.
        m: size of the left factor.
        n: size of the right factor.

    Returns:
        ``[..., m n, m n]``, a copy.

    Raises:
        As :func:`rearrange`.

    Example:
        >>> unrearrange(torch.arange(4.0).reshape(4, 1), 2, 1)
        tensor([[0., 1.],
                [2., 3.]])
    """
    M = checks.accumulator("M", M)
    m, n = checks.integer("m", m, 0), checks.integer("n", n, 0)
    *batch, _, _ = M.shape
    checks.shape("M", M, (*batch, m * m, n * n), ("m", m), ("n", n))
    return _ops.unrearrange.default(M, m, n)


def rearranged_matvec(H: Tensor, R: Tensor) -> Tensor:
    r"""The rearrangement of H times ``vec(R)``, as a matrix, without storing the rearrangement.

    .. math:: L_{ii'} = \sum_{jj'} H_{(i,j),(i',j')} R_{jj'}

    Args:
        H: ``[..., m n, m n]``, float32 or float64; nothing is assumed of it.
        R: ``[..., n, n]``, of H's dtype; nothing is assumed of it.

    Returns:
        ``L [..., m, m]``, of H's dtype, with m = H.shape[-1] / n.

    Raises:
        TypeError, NotImplementedError: as :func:`rearrange`.
        ValueError: shapes, batch dimensions or devices that do not agree; n that does not divide ``m n``.

    Contract: the same bits in any batch and with any number of threads; no synchronisation; not differentiable.
    Accuracy: dot products of n elements in H's dtype, summed in float64 (``tests/ops/test_rearrangement.py``).
    Cost: one pass over H; workspace m doubles per thread.

    Equivalent to::

        (rearrange(H, m, n) @ R.flatten(-2).unsqueeze(-1)).reshape(*batch, m, m)

    Example:
        >>> rearranged_matvec(torch.kron(2 * torch.eye(2), torch.eye(3)), torch.eye(3))
        tensor([[6., 0.],
                [0., 6.]])
    """
    H, R, m = _checked_pair(H, "R", R)
    return _ops.rearranged_matvec.default(H, R, m)


def rearranged_rmatvec(H: Tensor, L: Tensor) -> Tensor:
    r"""The transposed rearrangement of H times ``vec(L)``, as a matrix, without storing the rearrangement.

    .. math:: R_{jj'} = \sum_{ii'} H_{(i,j),(i',j')} L_{ii'}

    Args:
        H: ``[..., m n, m n]``, float32 or float64; nothing is assumed of it.
        L: ``[..., m, m]``, of H's dtype; nothing is assumed of it.

    Returns:
        ``R [..., n, n]``, of H's dtype, with n = H.shape[-1] / m.

    Raises:
        As :func:`rearranged_matvec`.

    Contract, accuracy and cost: as :func:`rearranged_matvec`; workspace 2 n elements per thread.

    Example:
        >>> rearranged_rmatvec(torch.kron(2 * torch.eye(2), torch.eye(3)), torch.eye(2)).diagonal()
        tensor([4., 4., 4.])
    """
    H, L, n = _checked_pair(H, "L", L)
    return _ops.rearranged_rmatvec.default(H, L, n)


def nearest_kronecker(
    H: Tensor, m: int, n: int, *, steps: int = 5, start: tuple[Tensor, Tensor] | None = None
) -> NearestKronecker:
    r"""The Frobenius-nearest Kronecker product to a symmetric matrix, by power steps on its rearrangement.

    .. math:: L \leftarrow \frac{\hat H(R)}{\|\hat H(R)\|_F}, \quad
        R \leftarrow \frac{\hat H^T(L)}{\|\hat H^T(L)\|_F}, \quad
        \sigma = \langle L, \hat H(R)\rangle, \quad \cos = \sigma / \|H\|_F

    A step takes both from the last step's pair. One step from (I, I) is Shampoo² (Morwani et al. 2024, section 3);
    the limit is the best approximation (Van Loan and Pitsianis 1993). L and R are PSD where H is.

    Args:
        H: ``[..., m n, m n]``, float32 or float64, taken as symmetric.
        m: size of the left factor.
        n: size of the right factor.
        steps: power steps; 0 evaluates the start.
        start: ``(L, R)``, symmetric, of any norm; None means (I, I).

    Returns:
        A :class:`NearestKronecker`. For H = 0 sigma and cosine are 0 and L, R are the normalised start.

    Raises:
        TypeError: not a tensor, a dtype that is not allowed or not the same, or ``steps`` that is not an int.
        ValueError: shapes, batch dimensions or devices that do not agree, or negative ``steps``.
        NotImplementedError: complex or sparse tensors, or a device without kernels.

    Contract: L and R are symmetric to the bit; the same bits in any batch and with any number of threads; no
    synchronisation; not differentiable. Accuracy: ``tests/ops/test_rearrangement.py``. Cost: one pass over half of H
    per step, one more for sigma, one over H for its norm; workspace ``m n²`` elements per batch entry.

    Example:
        >>> found = nearest_kronecker(torch.kron(torch.eye(2), 3 * torch.eye(3)), 2, 3)
        >>> round(found.cosine.item(), 6), torch.allclose(found.sigma * torch.kron(found.L, found.R), 3 * torch.eye(6))
        (1.0, True)
    """
    H = checks.accumulator("H", H)
    m, n, steps = checks.integer("m", m, 0), checks.integer("n", n, 0), checks.integer("steps", steps, 0)
    *batch, _, _ = H.shape
    checks.shape("H", H, (*batch, m * n, m * n), ("m", m), ("n", n))
    L, R = _identities(batch, m, n, H, H.dtype) if start is None else _checked_start(start, batch, m, n, [("H", H)])
    return NearestKronecker(*_ops.nearest_kronecker.default(H, L, R, steps))


def nearest_kronecker_from_gradients(
    G: Tensor, *, steps: int = 5, start: tuple[Tensor, Tensor] | None = None
) -> NearestKronecker:
    r"""The nearest Kronecker product to a covariance of gradients, which is never stored.

    :func:`nearest_kronecker` of

    .. math:: H = \frac1N \sum_s \mathrm{vec}(G_s)\,\mathrm{vec}(G_s)^T, \qquad
        \hat H(R) = \frac1N \sum_s G_s R\, G_s^T, \quad \hat H^T(L) = \frac1N \sum_s G_s^T L\, G_s

    with row-major vec (Morwani et al. 2024, section 3).

    Args:
        G: ``[..., N, m, n]``, N ≥ 1; float64, float32, bfloat16 or float16.
        steps: power steps (:func:`kronla.kron_power_step`); 0 evaluates the start.
        start: ``(L [..., m, m], R [..., n, n])``, symmetric, float32 or float64; None means (I, I), in float64 for a
            float64 G and else in float32.

    Returns:
        A :class:`NearestKronecker`, of the start's dtype.

    Raises:
        As :func:`nearest_kronecker`; ValueError for N = 0.

    Contract: as :func:`nearest_kronecker`. G is scaled by a power of two inside, so that only sigma can overflow.
    Cost: 3 products of each sample per step, and half a product of the samples' Gram matrix, the smaller one, for
    ‖H‖_F; workspace that of :func:`kronla.kron_power_step`, and one batch entry of G per thread.

    Example:
        >>> found = nearest_kronecker_from_gradients(torch.ones(4, 2, 3))
        >>> round(found.cosine.item(), 6), round(found.sigma.item(), 4)
        (1.0, 6.0)
    """
    G = checks.gradient("G", G, last=3)
    steps = checks.integer("steps", steps, 0)
    *batch, samples, m, n = G.shape
    if samples == 0:
        raise ValueError(f"G must hold at least one sample (its third dimension from the end), got {tuple(G.shape)}.")
    dtype = torch.float64 if G.dtype == torch.float64 else torch.float32
    L, R = _identities(batch, m, n, G, dtype) if start is None else _checked_start(start, batch, m, n, [], [("G", G)])
    return NearestKronecker(*_ops.nearest_kronecker_from_gradients.default(G, L, R, steps))


def _checked_pair(H: object, name: str, factor: object) -> tuple[Tensor, Tensor, int]:
    """H, one of its factors, and the size of the other."""
    matrix, known = checks.square("H", H), checks.square(name, factor)
    size = known.shape[-1]
    *batch, _, total = matrix.shape
    if (total % size if size else total) != 0:
        raise ValueError(f"{name} must have a size that divides H's, got {size} and {total}.")
    checks.shape(name, known, (*batch, size, size), ("H", matrix))
    checks.together([("H", matrix), (name, known)])
    return matrix, known, total // size if size else 0


def _identities(batch: list[int], m: int, n: int, like: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    L, R = torch.eye(m, dtype=dtype, device=like.device), torch.eye(n, dtype=dtype, device=like.device)
    return (L.expand(*batch, m, m), R.expand(*batch, n, n)) if batch else (L, R)


def _checked_start(
    start: object,
    batch: list[int],
    m: int,
    n: int,
    tensors: list[checks.Named],
    free_dtype: Sequence[checks.Named] = (),
) -> tuple[Tensor, Tensor]:
    """The start that is given, which goes together with the tensors."""
    if not isinstance(start, (tuple, list)) or len(start) != 2:
        raise TypeError(f"start must be a pair (L, R), got {type(start).__name__}.")
    L, R = checks.square("start[0]", start[0]), checks.square("start[1]", start[1])
    checks.shape("start[0]", L, (*batch, m, m), ("m", m))
    checks.shape("start[1]", R, (*batch, n, n), ("n", n))
    checks.together([*tensors, ("start[0]", L), ("start[1]", R)], free_dtype)
    return L.detach(), R.detach()  # they are copied, and would be with their tangents


@torch.library.register_fake("kronla::rearrange")
def _(H, m, n):
    return H.new_empty((*H.shape[:-2], m * m, n * n))


@torch.library.register_fake("kronla::unrearrange")
def _(M, m, n):
    return M.new_empty((*M.shape[:-2], m * n, m * n))


@torch.library.register_fake("kronla::rearranged_matvec")
def _(H, R, m):
    return H.new_empty((*H.shape[:-2], m, m))


@torch.library.register_fake("kronla::rearranged_rmatvec")
def _(H, L, n):
    return H.new_empty((*H.shape[:-2], n, n))


def _nearest(L, R):
    batch = L.shape[:-2]
    figures = L.new_empty(batch), L.new_empty(batch), L.new_empty(batch, dtype=torch.int32)
    return L.new_empty(L.shape), R.new_empty(R.shape), *figures


@torch.library.register_fake("kronla::nearest_kronecker")
def _(H, L, R, steps):
    return _nearest(L, R)


@torch.library.register_fake("kronla::nearest_kronecker_from_gradients")
def _(G, L, R, steps):
    return _nearest(L, R)
