"""Kronecker factors: exponential averages of the Gram matrices of gradients, and the sampled power step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kronla import _native  # noqa: F401  (registers torch.ops.kronla)
from kronla.ops import checks

_ops = torch.ops.kronla

Weights = tuple[Tensor | None, Tensor | None]


def update_factors_(
    L: Tensor | None,
    R: Tensor | None,
    G: Tensor,
    *,
    beta: float,
    alpha: float | None = None,
    weights: Weights | None = None,
) -> None:
    r"""Updates the left and right Kronecker factors of a gradient in place.

    .. math:: L \leftarrow \beta L + \alpha\, G W_R G^T, \qquad R \leftarrow \beta R + \alpha\, G^T W_L G

    with identities for weights that are not given (Gupta, Koren and Singer 2018, Shampoo, algorithm 1).

    Args:
        L: left factor ``[..., m, m]``, float32 or float64, or None. Taken as symmetric.
        R: right factor ``[..., n, n]``, of L's dtype, or None. Taken as symmetric.
        G: gradient ``[..., m, n]``; float64, float32, bfloat16 or float16. Sums are taken in the factors' dtype.
        beta: decay. With 0 the factors are not read.
        alpha: weight of the new term; None means ``1 - beta``.
        weights: ``(WL [..., m, m], WR [..., n, n])``, each symmetric or None: L is weighted by WR, R by WL.

    Raises:
        TypeError: not a tensor, or a dtype that is not allowed or not the same.
        ValueError: shapes or devices that do not agree; a number that is not finite; beta = 1 without alpha (G would
            be ignored); a factor that overlaps itself, the other one, G or a weight.
        NotImplementedError: complex or sparse tensors, or a device without kernels.

    Contract: symmetric to the bit; the same bits alone, in a batch, and with any number of threads; no
    synchronisation; not differentiable. Accuracy: that of one product in the factors' dtype
    (``tests/ops/test_factors.py``). Cost: half a product per factor; workspace ``m·n`` elements per thread where G is
    converted, twice that where weighted.

    Equivalent to::

        L.mul_(beta).add_(alpha * (G @ G.mT)); R.mul_(beta).add_(alpha * (G.mT @ G))

    Example:
        >>> L, R = torch.zeros(2, 2), torch.zeros(3, 3)
        >>> update_factors_(L, R, torch.tensor([[1.0, 2.0, 0.0], [0.0, 1.0, 0.0]]), beta=0.0)
        >>> L
        tensor([[5., 2.],
                [2., 1.]])
    """
    update = _checked(("L", "R", "G", "weights"), L, R, G, weights)
    beta, alpha = _decay(beta, alpha)
    _together([update])
    _, L, R, G, WL, WR = update
    _ops.update_factors_.default(L, R, G, beta, alpha, WL, WR)


def foreach_update_factors_(
    Ls: Sequence[Tensor | None],
    Rs: Sequence[Tensor | None],
    Gs: Sequence[Tensor],
    *,
    beta: float,
    alpha: float | None = None,
    weights: Sequence[Weights | None] | None = None,
) -> None:
    """Updates the factors of a list of gradients in one native call.

    The lists have one entry per gradient; entries are as in :func:`update_factors_` and may differ in shape.
    ``weights`` is None or a list of pairs, each of which may be None.

    Raises:
        As :func:`update_factors_`, and ValueError for lists of different lengths.

    Contract: as :func:`update_factors_`; the bits of each entry are those of a call of its own.

    Equivalent to::

        for L, R, G in zip(Ls, Rs, Gs): update_factors_(L, R, G, beta=beta, alpha=alpha)

    Example:
        >>> Ls, Gs = [torch.zeros(1, 1), torch.zeros(2, 2)], [torch.ones(1, 3), torch.ones(2, 5)]
        >>> foreach_update_factors_(Ls, [None, None], Gs, beta=0.0)
        >>> Ls[1]
        tensor([[5., 5.],
                [5., 5.]])
    """
    left, right = checks.sequence("Ls", Ls), checks.sequence("Rs", Rs)
    gradients = checks.sequence("Gs", Gs)
    pairs = [None] * len(gradients) if weights is None else checks.sequence("weights", weights)
    checks.same_length(Ls=left, Rs=right, Gs=gradients, weights=pairs)
    beta, alpha = _decay(beta, alpha)
    updates = [
        _checked((("Ls", i), ("Rs", i), ("Gs", i), ("weights", i)), *entry)
        for i, entry in enumerate(zip(left, right, gradients, pairs, strict=True))
    ]
    _together(updates)
    factors, sources, modes, given, weight_of = [], [], [], [], []
    for i, (_, L, R, _, WL, WR) in enumerate(updates):
        for mode, factor, weight in ((0, L, WR), (1, R, WL)):
            if factor is None:
                continue
            factors.append(factor)
            sources.append(i)
            modes.append(mode)
            weight_of.append(-1 if weight is None else len(given))
            if weight is not None:
                given.append(weight)
    if factors:
        _ops.foreach_update_factors_.default(
            factors, [G for _, _, _, G, _, _ in updates], sources, modes, given, weight_of, beta, alpha
        )


def update_mode_factors_(
    factors: Sequence[Tensor | None], G: Tensor, *, beta: float, alpha: float | None = None
) -> None:
    r"""Updates one factor per dimension of an order-k gradient in place.

    .. math:: F_i \leftarrow \beta F_i + \alpha\, G_{(i)} G_{(i)}^T

    with :math:`G_{(i)}` the mode-i unfolding, which is never stored (Gupta, Koren and Singer 2018, algorithm 2).

    Args:
        factors: k factors ``[..., d_i, d_i]``, float32 or float64, each of which may be None.
        G: gradient ``[..., d_1, ..., d_k]``; float64, float32, bfloat16 or float16.
        beta: decay. With 0 the factors are not read.
        alpha: weight of the new term; None means ``1 - beta``.

    Raises:
        As :func:`update_factors_`.

    Contract: as :func:`update_factors_`. Cost: half a product per factor; workspace ``256 d_i`` elements per thread
    for dimensions that are neither first nor last.

    Equivalent to, for each i::

        U = G.movedim(i, 0).flatten(1); factors[i].mul_(beta).add_(alpha * (U @ U.T))

    Example:
        >>> F = torch.zeros(2, 2)
        >>> update_mode_factors_([None, F, None], torch.ones(3, 2, 4), beta=0.0)
        >>> F
        tensor([[12., 12.],
                [12., 12.]])
    """
    modes, outputs, G = checks.modes("factors", factors, "G", G, squares=True)
    beta, alpha = _decay(beta, alpha)
    checks.together(outputs, [("G", G)])
    checks.writable(outputs, [("G", G)])
    if outputs:
        _ops.update_mode_factors_.default([F for _, F in outputs], G, modes, beta, alpha)


def foreach_update_mode_factors_(
    factor_lists: Sequence[Sequence[Tensor | None]],
    Gs: Sequence[Tensor],
    *,
    beta: float,
    alpha: float | None = None,
) -> None:
    """Updates the factors of every dimension of a list of gradients in one native call.

    Args:
        factor_lists: for each gradient the list that :func:`update_mode_factors_` takes.
        Gs: gradients, of any shapes and orders.
        beta: decay.
        alpha: weight of the new term; None means ``1 - beta``.

    Raises:
        As :func:`update_factors_`, and ValueError for lists of different lengths.

    Contract: as :func:`update_factors_`; the bits of each entry are those of a call of its own.

    Example:
        >>> F = torch.zeros(2, 2)
        >>> foreach_update_mode_factors_([[F, None]], [torch.ones(2, 4)], beta=0.0)
        >>> F
        tensor([[4., 4.],
                [4., 4.]])
    """
    lists, gradients = checks.sequence("factor_lists", factor_lists), checks.sequence("Gs", Gs)
    checks.same_length(factor_lists=lists, Gs=gradients)
    beta, alpha = _decay(beta, alpha)
    outputs: list[checks.Named] = []
    inputs: list[checks.Named] = []
    sources: list[int] = []
    modes: list[int] = []
    for i, (factors, G) in enumerate(zip(lists, gradients, strict=True)):
        of_entry, named, G = checks.modes(("factor_lists", i), factors, ("Gs", i), G, squares=True)
        outputs += named
        inputs.append((("Gs", i), G))
        sources += [i] * len(named)
        modes += of_entry
    checks.together(outputs, inputs)
    checks.writable(outputs, inputs)
    if outputs:
        _ops.foreach_update_mode_factors_.default(
            [F for _, F in outputs], [G for _, G in inputs], sources, modes, beta, alpha
        )


def kron_power_step(G: Tensor, L: Tensor, R: Tensor) -> tuple[Tensor, Tensor]:
    r"""One power step towards the nearest Kronecker product to a covariance of gradients.

    .. math:: L' = \frac1N \sum_s G_s R\, G_s^T, \qquad R' = \frac1N \sum_s G_s^T L\, G_s

    Both come from the old pair; from (I, I) it gives Shampoo's factors (Morwani et al. 2024, A New Perspective on
    Shampoo's Preconditioner, section 3).

    Args:
        G: gradients ``[..., N, m, n]``, N ≥ 1; float64, float32, bfloat16 or float16.
        L: ``[..., m, m]``, float32 or float64, taken as symmetric.
        R: ``[..., n, n]``, of L's dtype, taken as symmetric.

    Returns:
        ``(L', R')``, new tensors of the shapes and dtype of L and R.

    Raises:
        TypeError, ValueError, NotImplementedError: as :func:`update_factors_`; ValueError for N = 0.

    Contract: symmetric to the bit; the same bits in any batch and with any number of threads; no synchronisation;
    not differentiable. Cost: 1.5 products of each sample per factor; workspace at most ``16 (m² + n²)`` elements per
    batch entry and ``2 m n`` per thread.

    Equivalent to::

        (G @ R.unsqueeze(-3) @ G.mT).mean(-3), (G.mT @ L.unsqueeze(-3) @ G).mean(-3)

    Example:
        >>> L, R = kron_power_step(torch.ones(4, 2, 3), torch.eye(2), torch.eye(3))
        >>> L
        tensor([[3., 3.],
                [3., 3.]])
    """
    G = checks.gradient("G", G, last=3)
    L, R = checks.square("L", L), checks.square("R", R)
    *batch, samples, m, n = G.shape
    if samples == 0:
        raise ValueError(f"G must hold at least one sample (its third dimension from the end), got {tuple(G.shape)}.")
    checks.shape("L", L, (*batch, m, m), ("G", G))
    checks.shape("R", R, (*batch, n, n), ("G", G))
    checks.together([("L", L), ("R", R)], [("G", G)])
    return _ops.kron_power_step.default(G, L, R)


# The names of L, R, G and the weights, then L, R, G, WL, WR.
_Names = tuple[checks.Name, checks.Name, checks.Name, checks.Name]
_Update = tuple[_Names, Tensor | None, Tensor | None, Tensor, Tensor | None, Tensor | None]


def _decay(beta: float, alpha: float | None) -> tuple[float, float]:
    beta = checks.number("beta", beta)
    if alpha is not None:
        return beta, checks.number("alpha", alpha)
    if beta == 1.0:
        raise ValueError("alpha must be given for beta = 1: its default, 1 - beta, would ignore G.")
    return beta, 1.0 - beta


def _checked(names: _Names, L: object, R: object, G: object, weights: object) -> _Update:
    """The tensors of one entry, which agree in shape."""
    name_L, name_R, name_G, name_weights = names
    gradient = checks.gradient(name_G, G)
    *batch, m, n = gradient.shape
    rows, columns = (*batch, m, m), (*batch, n, n)
    left, right = _matrix(name_L, L, rows, (name_G, gradient)), _matrix(name_R, R, columns, (name_G, gradient))
    if weights is None:
        return names, left, right, gradient, None, None
    if not isinstance(weights, (tuple, list)) or len(weights) != 2:
        raise TypeError(f"{checks.text(name_weights)} must be a pair (WL, WR), got {type(weights).__name__}.")
    WL = _matrix((name_weights, 0), weights[0], rows, (name_G, gradient))
    WR = _matrix((name_weights, 1), weights[1], columns, (name_G, gradient))
    return names, left, right, gradient, WL, WR


def _matrix(name: checks.Name, value: object, expected: tuple[int, ...], gradient: checks.Named) -> Tensor | None:
    if value is None:
        return None
    tensor = checks.square(name, value)
    checks.shape(name, tensor, expected, gradient)
    return tensor


def _together(updates: Sequence[_Update]) -> None:
    """One device and one accumulator dtype over the whole call; no output overlaps anything."""
    outputs, inputs, weights = [], [], []
    for (name_L, name_R, name_G, name_weights), L, R, G, WL, WR in updates:
        if L is not None:
            outputs.append((name_L, L))
        if R is not None:
            outputs.append((name_R, R))
        if WL is not None:
            weights.append(((name_weights, 0), WL))
        if WR is not None:
            weights.append(((name_weights, 1), WR))
        inputs.append((name_G, G))
    checks.together(outputs + weights, inputs)
    checks.writable(outputs, weights + inputs)


@torch.library.register_fake("kronla::update_factors_")
def _(L, R, G, beta, alpha, WL, WR):
    return None


@torch.library.register_fake("kronla::foreach_update_factors_")
def _(factors, Gs, gradients, modes, weights, weights_of, beta, alpha):
    return None


@torch.library.register_fake("kronla::update_mode_factors_")
def _(factors, G, modes, beta, alpha):
    return None


@torch.library.register_fake("kronla::foreach_update_mode_factors_")
def _(factors, Gs, gradients, modes, beta, alpha):
    return None


@torch.library.register_fake("kronla::kron_power_step")
def _(G, L, R):
    return L.new_empty(L.shape), R.new_empty(R.shape)
