"""Eigenbases that follow a slowly moving symmetric matrix, eigendecompositions, orthonormal factors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from kronla import _native  # noqa: F401  (registers torch.ops.kronla)
from kronla.ops import checks, policy

_ops = torch.ops.kronla

METHODS = ("auto", "rotation", "qr", "eigh")


class Eigenbasis(NamedTuple):
    """A basis in which A is nearly diagonal, and how nearly."""

    Q: Tensor
    """``[..., n, n]``, orthogonal; column j belongs to eigenvalue j."""
    eigenvalues: Tensor
    """``[..., n]``: diag(QᵀAQ), in the order of Q's columns; ascending for eigh."""
    ratio: Tensor
    """``[...]``: ‖offdiag(QᵀAQ)‖_F / ‖A‖_F of this Q."""
    steps: Tensor
    """``[...]``, int32: steps taken."""
    info: Tensor
    """``[...]``, int32: 0 good, 1 ratio still above tol, 3 a non-finite input (Q is the old basis, figures NaN)."""


class Orthonormal(NamedTuple):
    """The orthonormal factor of a matrix, and whether it had full rank."""

    Q: Tensor
    """``[..., m, n]``, with orthonormal columns."""
    info: Tensor
    """``[...]``, int32: 0 good, 2 rank-deficient (Q is some orthonormal completion), 3 not finite (Q is NaN)."""


def off_diagonal_ratio(A: Tensor, Q: Tensor) -> Tensor:
    r"""How far Q is from an eigenbasis of A.

    .. math:: \|B - \mathrm{diag}(B)\|_F / \|A\|_F, \qquad B = Q^T A Q

    It equals ‖A − Q diag(B) Qᵀ‖_F/‖A‖_F, the criterion of Eschenhagen et al. 2025 (Purifying Shampoo, section 4). The
    diagonal is zeroed, never subtracted as ``‖B‖² − ‖diag B‖²``, which cancels in float32.

    Args:
        A: ``[..., n, n]``, float32 or float64, taken as symmetric.
        Q: ``[..., n, n]``, of A's dtype, orthogonal.

    Returns:
        ``[...]``, of A's dtype; 0 for A = 0; NaN where A or Q is not finite.

    Raises:
        TypeError: not a tensor, or a dtype that is not allowed or not the same.
        ValueError: not square, or shapes or devices that do not agree.
        NotImplementedError: complex or sparse tensors, or a device without kernels.

    Contract: the same bits in any batch and with any number of threads; no synchronisation; not differentiable.
    Accuracy: the rounding of two products, about 1e-7 in float32 (``tests/ops/test_eigenbasis.py``). Cost: 1.5
    products; on the CPU, from n = 96 on, one where fixed probes find Q orthonormal to 24 roundings (then the ratio is
    ‖AQ − Q diag(B)‖_F/‖A‖_F, which differs by as much as Q does from an orthonormal one); workspace 4 n² elements per
    thread.

    Equivalent to::

        B = Q.mT @ A @ Q; (B - torch.diag_embed(B.diagonal(dim1=-2, dim2=-1))).norm(dim=(-2, -1)) / A.norm(dim=(-2, -1))

    Example:
        >>> off_diagonal_ratio(torch.tensor([[3.0, 4.0], [4.0, 3.0]]), torch.eye(2))
        tensor(0.8000)
    """
    A, Q = _checked("A", A, "Q", Q)
    checks.together([("A", A), ("Q", Q)])
    return _ops.off_diagonal_ratio.default(A, Q)


def update_eigenbasis(
    A: Tensor, Q: Tensor, *, tol: float = 0.0, max_steps: int = 1, method: str = "auto"
) -> Eigenbasis:
    r"""Moves an eigenbasis after its matrix, by warm-started steps.

    ``"qr"``: the orthonormal factor of AQ + n u ‖A‖_F Q, with the columns in descending order inside (unshifted QR
    converges to that order). ``"rotation"``: the orthonormalised Q + QT, with

    .. math:: T_{ij} = \frac{s\, o \sqrt{x}}{x + o^2 + e^2 + f^4/(x - f^2/9)}, \quad x = d^2 + o^2,\;
        o = B_{ij},\; d = B_{jj} - B_{ii},\; s = \pm 1 \text{ the sign of } d,\; B = Q^T A Q

    and e the mean size of an off-diagonal element: for small drifts the first-order change of the eigenvectors, bounded
    elsewhere (kronla's own). f = 2 u ‖A‖_F, and T_ij = 0 for x ≤ f²/9: pairs whose o and d are rounding errors stay, so
    that null columns do for any number of steps. Processors with products of bfloat16 take them, for float32, to form B
    off its diagonal, and QT while what rounding Q will leave off the diagonal, estimated from T, is at most 1/128 of
    the ratio: ratios come down to the floor of float32. Q is orthonormalised and the figures are formed in float32.
    ``"eigh"``: that of :func:`eigh`, matched to the columns. ``"auto"``: QR steps where the ratio is above 0.3, else
    rotations, or "eigh" after them: see :mod:`kronla.ops.policy`. QR steps do not tell eigenvalues λ and -λ apart: from
    a cold basis of an indefinite A "qr", and on CUDA "auto", may end with info 1.

    Steps are taken while :func:`off_diagonal_ratio` is above ``tol``, at most ``max_steps``; with tol = 0 all of them,
    save that "eigh" is the last.
    Columns continue: the column with the k-th largest old Rayleigh quotient receives the k-th vector (ties by index;
    for rotations they move continuously), null directions keep their columns, and diag(QᵀQ_old) ≥ 0. So whatever an
    optimizer holds in the basis stays valid.

    Args:
        A: ``[..., n, n]``, float32 or float64, taken as symmetric.
        Q: ``[..., n, n]``, of A's dtype, orthogonal, e.g. the eigenbasis of an earlier A.
        tol: in [0, 1]. Where the ratio is already ≤ tol > 0 Q comes back to the bit, with 0 steps.
        max_steps: ≥ 0; 0 only evaluates.
        method: "auto", "rotation", "qr" or "eigh".

    Returns:
        An :class:`Eigenbasis`, of new tensors; eigenvalues and ratio belong to the Q returned.

    Raises:
        TypeError: not a tensor, a dtype that is not allowed or not the same, or a number of the wrong type.
        ValueError: not square, shapes or devices that do not agree, tol outside [0, 1], negative ``max_steps``.
        NotImplementedError: a method that does not exist; complex or sparse tensors, or a device without kernels.

    Contract: a bad matrix never changes another's result; the same bits in any batch and with any number of threads;
    no synchronisation; not differentiable. (For "eigh" on CUDA see :func:`eigh`.) Accuracy: orthogonal to 5e-6 √n in
    float32 (``tests/ops/test_eigenbasis.py``).
    Cost: a step and its figures take about 4 products; workspace per thread 7 n² elements and 300 n doubles.

    Example:
        >>> basis = update_eigenbasis(torch.tensor([[2.0, 0.1], [0.1, 1.0]]), torch.eye(2), tol=0.01, max_steps=3)
        >>> basis.info, basis.eigenvalues
        (tensor(0, dtype=torch.int32), tensor([2.0099, 0.9901]))
    """
    A, Q = _checked("A", A, "Q", Q)
    checks.together([("A", A), ("Q", Q)])
    tol, max_steps = _options(tol, max_steps, method)
    number = policy.basis_method(method, A, max_steps)
    return Eigenbasis(*_ops.update_eigenbasis.default(A, Q, number, tol, max_steps))


def foreach_update_eigenbasis(
    As: Sequence[Tensor], Qs: Sequence[Tensor], *, tol: float = 0.0, max_steps: int = 1, method: str = "auto"
) -> list[Eigenbasis]:
    """Moves the eigenbases of a list of matrices or batches in one native call.

    Args:
        As, Qs: tensors as in :func:`update_eigenbasis`, which may differ in shape from entry to entry.
        tol, max_steps, method: as in :func:`update_eigenbasis`.

    Returns:
        An :class:`Eigenbasis` for each entry.

    Raises:
        As :func:`update_eigenbasis`, and ValueError for lists of different lengths.

    Contract: as :func:`update_eigenbasis`; the bits of each entry are those of a call of its own.

    Example:
        >>> foreach_update_eigenbasis([torch.eye(2), torch.ones(1, 1)], [torch.eye(2), torch.eye(1)], tol=0.1)[0].steps
        tensor(0, dtype=torch.int32)
    """
    matrices, bases = checks.sequence("As", As), checks.sequence("Qs", Qs)
    checks.same_length(As=matrices, Qs=bases)
    tol, max_steps = _options(tol, max_steps, method)
    tensors: list[checks.Named] = []
    for i, (A, Q) in enumerate(zip(matrices, bases, strict=True)):
        names = ("As", i), ("Qs", i)
        matrices[i], bases[i] = _checked(names[0], A, names[1], Q)
        tensors += (names[0], matrices[i]), (names[1], bases[i])
    checks.together(tensors)
    if not matrices:
        return []
    methods = [policy.basis_method(method, A, max_steps) for A in matrices]
    fields = _ops.foreach_update_eigenbasis.default(matrices, bases, methods, tol, max_steps)
    return list(map(Eigenbasis, *fields))


def eigh(A: Tensor) -> Eigenbasis:
    r"""The eigendecomposition of symmetric matrices, parallel over the batch, with a status for every matrix.

    .. math:: A = Q\, \mathrm{diag}(\lambda)\, Q^T, \qquad \lambda_1 \le \ldots \le \lambda_n

    On CPU by divide and conquer of the tridiagonal form (Cuppen 1981, Gu and Eisenstat 1995) in A's dtype, eigenvalues
    of the tridiagonal form in float64; on CUDA cyclic Jacobi rotations in float64 up to 64 rows (Golub and Van Loan
    2013, section 8.5), one block a matrix, and beyond cuSOLVER's batched routine in A's dtype. Signs of columns are
    free but deterministic.

    Args:
        A: ``[..., n, n]``, float32 or float64, taken as symmetric.

    Returns:
        An :class:`Eigenbasis`; steps is 1, or 0 where nothing was decomposed. info is 3 for a non-finite A and 1 where
        the iteration does not converge; Q and the figures are NaN then.

    Raises:
        TypeError: not a tensor, or a dtype that is not allowed.
        ValueError: not square.
        NotImplementedError: complex or sparse tensors, or a device without kernels.
        RuntimeError: more than 64 rows on CUDA where cuSOLVER of CUDA 12.6.2 or later is not found.

    Contract: a bad matrix never changes another's result; the same bits in any batch and with any number of threads,
    save where it goes to cuSOLVER, on CUDA above 64 rows: which may also wait for the device and cannot be captured in
    a CUDA graph; not differentiable. Accuracy: LAPACK's (``tests/ops/test_eigh.py``). Cost: 4.7 n³ operations at most,
    and a product for the ratio; workspace 4.5 n² elements per thread.

    Equivalent to::

        eigenvalues, Q = torch.linalg.eigh(A)

    Example:
        >>> eigh(torch.diag(torch.tensor([3.0, 1.0]))).eigenvalues
        tensor([1., 3.])
    """
    A = checks.square("A", A)
    return Eigenbasis(*_ops.eigh.default(A))


def foreach_eigh(As: Sequence[Tensor]) -> list[Eigenbasis]:
    """The eigendecompositions of a list of matrices or batches in one native call.

    Args:
        As: tensors as in :func:`eigh`, which may differ in shape.

    Returns:
        An :class:`Eigenbasis` for each entry.

    Raises:
        As :func:`eigh`.

    Contract: as :func:`eigh`; the bits of each entry are those of a call of its own.

    Example:
        >>> [basis.eigenvalues.tolist() for basis in foreach_eigh([torch.eye(2), torch.zeros(1, 1)])]
        [[1.0, 1.0], [0.0]]
    """
    named = [(("As", i), checks.square(("As", i), A)) for i, A in enumerate(checks.sequence("As", As))]
    checks.together(named)
    if not named:
        return []
    return list(map(Eigenbasis, *_ops.foreach_eigh.default([A for _, A in named])))


def orthonormalize(S: Tensor) -> Orthonormal:
    r"""The orthonormal factor of S = QR with a positive diagonal of R.

    On CPU panels of 32 columns, float32 with up to 64 as one, are factored in float64. float32 goes through the
    Cholesky factor of the Gram matrix of a panel, :math:`Q = S L^{-T}`, repeated where neither a bound on
    :math:`\|L^{-1}\|` nor fixed probes find Q orthogonal enough, and through Householder reflections where a pivot of
    unit columns is below 1e-6 (Fukaya et al. 2020, Shifted CholeskyQR, on why the precision of the Gram matrix
    matters); float64 through Householder reflections. Panels are joined as blocks of reflections (Ballard et al. 2014,
    Reconstructing Householder vectors from tall-skinny QR).

    Args:
        S: ``[..., m, n]`` with m ≥ n, float32 or float64.

    Returns:
        ``(Q [..., m, n], info)``. info is 3 for a non-finite S (Q is NaN), 2 where a column lies within
        √m ε of the span of those before it, relative to its norm (Q is some orthonormal completion), else 0.

    Raises:
        TypeError: not a tensor, or a dtype that is not allowed.
        ValueError: fewer rows than columns.
        NotImplementedError: complex or sparse tensors, or a device without kernels.

    Contract: a bad matrix never changes another's result; the same bits in any batch and with any number of threads;
    no synchronisation; not differentiable. Accuracy: orthogonal to 5e-6 √n in float32, on CPU more nearly than LAPACK's
    (``tests/ops/test_eigh.py``).
    Cost: 4 m n² - 4 n³/3 operations; workspace per thread 3 m n elements and 192 m doubles.

    Equivalent to::

        Q, R = torch.linalg.qr(S); Q * R.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)

    Example:
        >>> orthonormalize(torch.tensor([[0.0, 2.0], [-3.0, 0.0]])).Q
        tensor([[ 0.,  1.],
                [-1.,  0.]])
    """
    S = checks.accumulator("S", S)
    if S.shape[-2] < S.shape[-1]:
        raise ValueError(f"S must have at least as many rows as columns, got shape {tuple(S.shape)}.")
    return Orthonormal(*_ops.orthonormalize.default(S))


def _checked(name_A: checks.Name, A: object, name_Q: checks.Name, Q: object) -> tuple[Tensor, Tensor]:
    matrix, basis = checks.square(name_A, A), checks.square(name_Q, Q)
    checks.shape(name_Q, basis, matrix.shape, (name_A, matrix))
    return matrix, basis


def _options(tol: float, max_steps: int, method: str) -> tuple[float, int]:
    checks.choice("method", method, METHODS)
    return checks.within("tol", tol, 0.0, 1.0), checks.integer("max_steps", max_steps, 0)


def _fields(A):
    batch = A.shape[:-2]
    return (
        A.new_empty(A.shape),
        A.new_empty(A.shape[:-1]),
        A.new_empty(batch),
        A.new_empty(batch, dtype=torch.int32),
        A.new_empty(batch, dtype=torch.int32),
    )


def _field_lists(As):
    return tuple([list(field) for field in zip(*[_fields(A) for A in As], strict=True)])


@torch.library.register_fake("kronla::update_eigenbasis")
def _(A, Q, method, tol, max_steps):
    return _fields(A)


@torch.library.register_fake("kronla::foreach_update_eigenbasis")
def _(As, Qs, methods, tol, max_steps):
    return _field_lists(As)


@torch.library.register_fake("kronla::eigh")
def _(A):
    return _fields(A)


@torch.library.register_fake("kronla::foreach_eigh")
def _(As):
    return _field_lists(As)


@torch.library.register_fake("kronla::off_diagonal_ratio")
def _(A, Q):
    return A.new_empty(A.shape[:-2])


@torch.library.register_fake("kronla::orthonormalize")
def _(S):
    return S.new_empty(S.shape), S.new_empty(S.shape[:-2], dtype=torch.int32)
