"""Kronecker-factored matrices applied to gradients."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kronla import _native  # noqa: F401  (registers torch.ops.kronla)
from kronla.ops import checks

_ops = torch.ops.kronla


def kron_apply(L: Tensor, G: Tensor, R: Tensor) -> Tensor:
    r"""Multiplies a gradient from both sides: ``L @ G @ R``.

    In row-major order ``(L @ G @ R.mT).flatten() == torch.kron(L, R) @ G.flatten()``.

    Args:
        L: ``[..., a, m]``, float32 or float64; multiplied as written, no symmetry is assumed.
        G: ``[..., m, n]``; float64, float32, bfloat16 or float16, converted to L's dtype.
        R: ``[..., n, b]``, of L's dtype.

    Returns:
        ``[..., a, b]``, of L's dtype.

    Raises:
        TypeError: not a tensor, or a dtype that is not allowed or not the same.
        ValueError: shapes, batch dimensions or devices that do not agree.
        NotImplementedError: complex or sparse tensors, or a device without kernels.

    Contract: the same bits in any batch and with any number of threads; no synchronisation; not differentiable.
    Accuracy: that of two products in L's dtype (``tests/ops/test_apply.py``). Cost: two products, in the cheaper
    order; workspace an intermediate matrix per thread.

    Equivalent to::

        L @ G.to(L.dtype) @ R

    Example:
        >>> kron_apply(2 * torch.eye(2), torch.ones(2, 3), torch.eye(3))
        tensor([[2., 2., 2.],
                [2., 2., 2.]])
    """
    L, G, R = _checked_pair(("L", "G", "R"), L, G, R)
    checks.together([("L", L), ("R", R)], [("G", G)])
    return _ops.kron_apply.default(L, G, R)


def foreach_kron_apply(Ls: Sequence[Tensor], Gs: Sequence[Tensor], Rs: Sequence[Tensor]) -> list[Tensor]:
    """Multiplies each gradient of a list from both sides in one native call.

    Entries are as in :func:`kron_apply`; they may differ in shape.

    Raises:
        As :func:`kron_apply`, and ValueError for lists of different lengths.

    Contract: as :func:`kron_apply`; the bits of each entry are those of a call of its own.

    Equivalent to::

        [L @ G @ R for L, G, R in zip(Ls, Gs, Rs)]

    Example:
        >>> foreach_kron_apply([torch.eye(1)], [torch.ones(1, 2)], [torch.eye(2)])
        [tensor([[1., 1.]])]
    """
    left, gradients, right = checks.sequence("Ls", Ls), checks.sequence("Gs", Gs), checks.sequence("Rs", Rs)
    checks.same_length(Ls=left, Gs=gradients, Rs=right)
    accumulators: list[checks.Named] = []
    for i, (L, G, R) in enumerate(zip(left, gradients, right, strict=True)):
        names = ("Ls", i), ("Gs", i), ("Rs", i)
        left[i], gradients[i], right[i] = _checked_pair(names, L, G, R)
        accumulators += (("Ls", i), left[i]), (("Rs", i), right[i])
    checks.together(accumulators, [(("Gs", i), G) for i, G in enumerate(gradients)])
    return _ops.foreach_kron_apply.default(left, gradients, right) if gradients else []


def mode_apply(matrices: Sequence[Tensor | None], G: Tensor) -> Tensor:
    r"""Multiplies one matrix onto each dimension of a tensor.

    .. math:: G \times_1 M_1 \times_2 M_2 \cdots \times_k M_k, \quad
        (G \times_i M)_{\ldots r \ldots} = \sum_j M_{rj} G_{\ldots j \ldots}

    (Kolda and Bader 2009, Tensor Decompositions and Applications, section 2.5.) For a matrix this is
    ``M1 @ G @ M2.mT``.

    Args:
        matrices: k matrices ``[..., r_i, d_i]``, float32 or float64, each of which may be None (the identity).
        G: ``[..., d_1, ..., d_k]``; float64, float32, bfloat16 or float16, converted to the matrices' dtype.

    Returns:
        ``[..., r_1, ..., r_k]``, of the matrices' dtype; a copy of G where all matrices are None.

    Raises:
        As :func:`kron_apply`.

    Contract: as :func:`kron_apply`. Cost: one product per matrix, the one that shrinks the tensor most first;
    workspace two intermediate tensors per thread.

    Equivalent to, for each i::

        G = torch.tensordot(M_i, G, dims=([1], [i])).movedim(0, i)

    Example:
        >>> mode_apply([None, torch.ones(1, 3)], torch.ones(2, 3))
        tensor([[3.],
                [3.]])
    """
    modes, named, G = checks.modes("matrices", matrices, "G", G, squares=False)
    checks.together(named, [("G", G)])
    return _ops.mode_apply.default([M for _, M in named], modes, G) if modes else G.detach().clone()


def foreach_mode_apply(matrix_lists: Sequence[Sequence[Tensor | None]], Gs: Sequence[Tensor]) -> list[Tensor]:
    """Multiplies matrices onto the dimensions of each tensor of a list in one native call.

    Args:
        matrix_lists: for each tensor the list that :func:`mode_apply` takes.
        Gs: tensors, of any shapes and orders.

    Raises:
        As :func:`kron_apply`, and ValueError for lists of different lengths.

    Contract: as :func:`kron_apply`; the bits of each entry are those of a call of its own.

    Example:
        >>> foreach_mode_apply([[2 * torch.eye(2), None], [None]], [torch.ones(2, 1), torch.ones(3)])
        [tensor([[2.],
                [2.]]), tensor([1., 1., 1.])]
    """
    lists, tensors = checks.sequence("matrix_lists", matrix_lists), checks.sequence("Gs", Gs)
    checks.same_length(matrix_lists=lists, Gs=tensors)
    named: list[checks.Named] = []
    multiplied: list[int] = []  # which tensors have a matrix
    of_tensor: list[int] = []
    modes: list[int] = []
    for i, (matrices, G) in enumerate(zip(lists, tensors, strict=True)):
        of_entry, given, G = checks.modes(("matrix_lists", i), matrices, ("Gs", i), G, squares=False)
        tensors[i] = G if given else G.detach().clone()
        named += given
        of_tensor += [len(multiplied)] * len(given)
        modes += of_entry
        if given:
            multiplied.append(i)
    checks.together(named, [(("Gs", i), G) for i, G in enumerate(tensors)])
    if multiplied:
        sources = [tensors[i] for i in multiplied]
        products = _ops.foreach_mode_apply.default([M for _, M in named], of_tensor, modes, sources)
        for i, product in zip(multiplied, products, strict=True):
            tensors[i] = product
    return tensors


def _checked_pair(
    names: tuple[checks.Name, checks.Name, checks.Name], L: object, G: object, R: object
) -> tuple[Tensor, Tensor, Tensor]:
    name_L, name_G, name_R = names
    left, right, gradient = checks.accumulator(name_L, L), checks.accumulator(name_R, R), checks.gradient(name_G, G)
    *batch, m, n = gradient.shape
    checks.shape(name_L, left, (*batch, left.shape[-2], m), (name_G, gradient))
    checks.shape(name_R, right, (*batch, n, right.shape[-1]), (name_G, gradient))
    return left, gradient, right


@torch.library.register_fake("kronla::kron_apply")
def _(L, G, R):
    return L.new_empty((*L.shape[:-1], R.shape[-1]))


@torch.library.register_fake("kronla::foreach_kron_apply")
def _(Ls, Gs, Rs):
    return [L.new_empty((*L.shape[:-1], R.shape[-1])) for L, R in zip(Ls, Rs, strict=True)]


def _mode_result(matrices, modes, G):
    batch = matrices[0].ndim - 2
    shape = list(G.shape)
    for M, mode in zip(matrices, modes, strict=True):
        shape[batch + mode] = M.shape[-2]
    return matrices[0].new_empty(shape)


@torch.library.register_fake("kronla::mode_apply")
def _(matrices, modes, G):
    return _mode_result(matrices, modes, G)


@torch.library.register_fake("kronla::foreach_mode_apply")
def _(matrices, tensors, modes, Gs):
    results = []
    for i, G in enumerate(Gs):
        mine = [k for k, tensor in enumerate(tensors) if tensor == i]
        results.append(_mode_result([matrices[k] for k in mine], [modes[k] for k in mine], G))
    return results
