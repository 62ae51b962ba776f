"""Inverse p-th roots of symmetric positive definite matrices."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import torch
from torch import Tensor

from kronla import _native  # noqa: F401  (registers torch.ops.kronla)
from kronla.ops import checks, policy

_ops = torch.ops.kronla

METHODS = ("auto", "eigh", "polynomial")


class InverseRoot(NamedTuple):
    """The root, and how good it is."""

    X: Tensor
    """``[..., n, n]``: D^(-1/p), symmetric to the bit; the fallback, or NaN, where info is 2 or 3."""
    residual: Tensor
    """``[...]``: the RMS relative error of the eigenvalues λ xᵖ, recomputed from X in float64; NaN for info 2 and 3."""
    steps: Tensor
    """``[...]``, int32: polynomial steps taken; else reductions to tridiagonal form, 1 or 2; 0 without a root."""
    info: Tensor
    """``[...]``, int32: 0 good, 1 not converged (residual > rtol), 2 not positive definite, 3 a non-finite input."""


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
    r"""The inverse p-th root of a damped symmetric matrix, with a status for every matrix.

    .. math:: X \approx D^{-1/p}, \qquad D = A + (\mathrm{damping} + \mathrm{relative\_damping}\,\|A\|_F)\, I

    ``"auto"`` on a CPU, for integer p up to 16: D = QTQᵀ with a tridiagonal T (Householder), X = Q T^(-1/p) Qᵀ, where
    T^(-1/p) = Σ_j w_j (T + s_j I)⁻¹ is Gauss's rule for Stieltjes' integral after the change of variables of Hale,
    Higham and Trefethen (2008): no eigenvector is needed. In float64 but for the reflections Q of float32 roots of
    more than 128 rows that are not too ill conditioned. ``"eigh"``: D = QΛQᵀ in float64 (Cuppen 1981; Gu and
    Eisenstat 1995). ``"polynomial"`` needs products only: X ← X q(M), M ← q(M)ʳ M with polynomials q designed ahead of
    time by linear programs for an interval that holds the spectrum of M (kronla's own;
    ``csrc/kernels/inverse_root_schedules.py``), the first steps in float64.

    Args:
        A: ``[..., n, n]``, float32 or float64, taken as symmetric. float32 factors of deficient rank are indefinite by
            rounding, about -1e-8 ‖A‖_F: use ``relative_damping`` ≥ 1e-6 for them.
        p: int, Fraction or float, finite and > 0.
        damping: ≥ 0, absolute.
        relative_damping: ≥ 0, in units of ‖A‖_F.
        method: "auto" (:mod:`kronla.ops.policy`), "eigh" (any p), or "polynomial" (p = r/s with r in 2, 3, 4, 6, 8;
            e.g. 4/3, and 1 as 2/2).
        rtol: residual above which info is 1; None means 0.1. Where it is given, it is for "auto" also the accuracy that
            is wanted: a float32 A on a CPU is then reduced to T in float32 first, which takes .7 to .95 of the
            time, and as above only where the residual is above rtol. With None, and for "eigh", always as above.
        max_steps: of the polynomials, ≥ 1; None means as many as the spectrum asks for.
        fallback: ``[..., n, n]``, returned for a matrix with info 2 or 3; None means NaN.

    Returns:
        An :class:`InverseRoot`. The residual is ``‖X^⌊p/2⌋ D X^⌈p/2⌉ − I‖_F/√n`` in float64 of the X returned, for
        integer p; for p = r/s by polynomials that of D^(-1/r); through eigh ``‖Λ^(-½) Qᵀ D Q Λ^(-½) − I‖_F/√n``.
        It is unchanged by scaling A; the relative error of X is about residual/p. Above n = 64 it is an estimate by 32
        fixed ±1 vectors, within a factor of 2. info is 3 for a non-finite input; else 2 where the float64 Cholesky
        factorisation of D breaks down, whatever the method; else 1 where residual > rtol, or where
        X left the range of its dtype.

    Raises:
        TypeError: not a tensor, a dtype or number that is not allowed, or a fallback of another dtype.
        ValueError: not square, p ≤ 0 or not finite, negative or NaN damping, a fallback of another shape or device.
        NotImplementedError: a method that does not exist or has no coefficients for p; complex or sparse tensors, or a
            device without kernels.
        RuntimeError: "eigh" of more than 64 rows on CUDA where cuSOLVER is not found (see :func:`kronla.eigh`).

    Contract: a bad matrix never changes another's result; the same bits in any batch and with any number of threads;
    no synchronisation; not differentiable. ("eigh" of more than 64 rows on CUDA: as :func:`kronla.eigh`.) Accuracy:
    at most max(2 × that of a root through float32 eigh, 3e-6) relative in the Frobenius norm
    (``tests/ops/test_inverse_root.py``), unless "auto" has an rtol that asks for less. Cost: 10/3 n³ operations ("auto"
    on a CPU); 4.7 n³ of eigh at most and half a product; or, by polynomials, 5 to 7 half products per step, 6 steps at
    a condition of 1e6. Workspace per thread: 2 n² doubles ("auto" on a CPU), 4 n² (eigh, and "auto" beyond a
    condition of 4e15) or 9 n² (polynomial).

    Equivalent to::

        w, Q = torch.linalg.eigh(D); (Q * w ** (-1 / p)) @ Q.mT

    Example:
        >>> root = inverse_root(torch.diag(torch.tensor([1.0, 16.0])), 4)
        >>> root.X
        tensor([[1.0000, 0.0000],
                [0.0000, 0.5000]])
        >>> root.info
        tensor(0, dtype=torch.int32)
    """
    A = checks.square("A", A)
    arguments = _options(p, damping, relative_damping, method, rtol, max_steps)
    if fallback is not None:
        fallback = _fallback("fallback", fallback, "A", A)
    number = policy.root_method(method, arguments[0], rtol, A)
    return InverseRoot(*_ops.inverse_root.default(A, fallback, number, *arguments))


def foreach_inverse_root(
    As: Sequence[Tensor],
    p: int | float | Fraction,
    *,
    damping: float = 0.0,
    relative_damping: float = 0.0,
    method: str = "auto",
    rtol: float | None = None,
    max_steps: int | None = None,
    fallbacks: Sequence[Tensor | None] | None = None,
) -> list[InverseRoot]:
    """The inverse p-th roots of a list of matrices or batches in one native call.

    Args:
        As: tensors as in :func:`inverse_root`, which may differ in shape.
        p, damping, relative_damping, method, rtol, max_steps: as in :func:`inverse_root`.
        fallbacks: None, or one tensor or None for each of ``As``.

    Returns:
        An :class:`InverseRoot` for each entry.

    Raises:
        As :func:`inverse_root`, and ValueError for lists of different lengths.

    Contract: as :func:`inverse_root`; the bits of each entry are those of a call of its own.

    Example:
        >>> [root.X.item() for root in foreach_inverse_root([torch.tensor([[4.0]]), torch.tensor([[0.25]])], 2)]
        [0.5, 2.0]
    """
    matrices = [checks.square(("As", i), A) for i, A in enumerate(checks.sequence("As", As))]
    arguments = _options(p, damping, relative_damping, method, rtol, max_steps)
    given = [None] * len(matrices) if fallbacks is None else checks.sequence("fallbacks", fallbacks)
    checks.same_length(As=matrices, fallbacks=given)
    given = [
        None if X is None else _fallback(("fallbacks", i), X, ("As", i), A)
        for i, (X, A) in enumerate(zip(given, matrices, strict=True))
    ]
    checks.together([(("As", i), A) for i, A in enumerate(matrices)])
    methods = [policy.root_method(method, arguments[0], rtol, A) for A in matrices]
    if not matrices:
        return []
    fields = _ops.foreach_inverse_root.default(matrices, given, methods, *arguments)
    return list(map(InverseRoot, *fields))


def _options(
    p: object, damping: float, relative_damping: float, method: str, rtol: float | None, max_steps: int | None
) -> tuple[float, int, int, float, float, float, int]:
    """The numbers of the native call, from p on."""
    p = _exponent(p)
    checks.choice("method", method, METHODS)
    r, s = policy.polynomial_fraction(p)
    return (
        p,
        r,
        s,
        checks.at_least("damping", damping, 0.0),
        checks.at_least("relative_damping", relative_damping, 0.0),
        0.1 if rtol is None else checks.at_least("rtol", rtol, 0.0),
        checks.LARGEST_INTEGER if max_steps is None else checks.integer("max_steps", max_steps, 1),
    )


def _exponent(p: object) -> float:
    # A Fraction by its parts: torch.compile traces that, but not float(p).
    if isinstance(p, Fraction):
        value = checks.number("p", p.numerator) / checks.number("p", p.denominator)
    else:
        value = checks.number("p", p)
    if value <= 0.0:
        raise ValueError(f"p must be greater than 0, got {p}.")
    return value


def _fallback(name: checks.Name, value: object, name_A: checks.Name, A: Tensor) -> Tensor:
    fallback = checks.square(name, value)
    checks.shape(name, fallback, A.shape, (name_A, A))
    checks.together([(name_A, A), (name, fallback)])
    return fallback


def _fields(A):
    batch = A.shape[:-2]
    return (
        A.new_empty(A.shape),
        A.new_empty(batch),
        A.new_empty(batch, dtype=torch.int32),
        A.new_empty(batch, dtype=torch.int32),
    )


@torch.library.register_fake("kronla::inverse_root")
def _(A, fallback, method, p, r, s, damping, relative_damping, rtol, max_steps):
    return _fields(A)


@torch.library.register_fake("kronla::foreach_inverse_root")
def _(As, fallbacks, methods, p, r, s, damping, relative_damping, rtol, max_steps):
    return tuple([list(field) for field in zip(*[_fields(A) for A in As], strict=True)])
