"""The only place that chooses a method by what is known before a kernel runs.

A choice depends on one matrix's size, dtype and device and on the arguments: never on the batch or the number of
threads, or the bits would. ``python -m bench.crossovers`` measures the CPU's choices again. What depends on a matrix's
values (a condition, a residual, a ratio) its kernel decides, as the table says.

=============  ======  ==============================================  =============================================
operation      device  "auto" means                                    because
=============  ======  ==============================================  =============================================
inverse_root   cpu     integer p up to 16: a quadrature of inverses    10/3 n³ operations where eigenvectors take 5.7
                       of the tridiagonal form, in float64 (float32    n³: 0.8 of the time of "eigh" for n ≤ 128, 0.6
                       matrices with n > 128: reflections in           at 512; 0.85 of that of products at 16, 0.3 at
                       float32); with an rtol given all in float32     128. An rtol says that the accuracy of float32
                       where the residual that it reaches is at most   may be enough
                       rtol; any other p, and a condition above
                       4e15: "eigh" in float64
inverse_root   cuda    "polynomial" for the p that have coefficients,  products run at full speed there; chosen by
                       else "eigh"                                     reasoning, not yet measured
eigenbasis     both    per matrix and step: QR where the ratio is      cold bases need QR steps, warm ones converge
                       above 0.3, else a rotation; alternately where   in 1 to 3 rotations; QR steps do not tell
                       the ratio stays above 0.3, after two of each    eigenvalues λ and -λ apart. From n = 128 on two
                       "eigh" (cpu). For n ≥ 128 where more than       steps cost more than a decomposition, which
                       one step is allowed (cpu): one rotation if      however turns nearly equal eigenvectors at
                       the ratio is at most 10 tol, then "eigh"        random, where a rotation keeps them
=============  ======  ==============================================  =============================================
"""

from __future__ import annotations

import torch
from torch import Tensor

POLYNOMIAL_ROOTS = (2, 3, 4, 6, 8)
LARGEST_POWER = 16  # s of p = r/s: the error of D^(-1/r) grows s times
ROOT_METHODS = {"eigh": 0, "polynomial": 1, "quadrature": 2, "quadrature to tolerance": 3}
LARGEST_QUADRATURE = 16  # p
BASIS_METHODS = {"auto": 0, "rotation": 1, "qr": 2, "eigh": 3, "near eigh": 4}
EIGH_FROM = 128  # rows from which two steps on a basis cost more than a decomposition


def polynomial_fraction(p: float) -> tuple[int, int]:
    """``p = r/s`` with polynomials for r, the smallest such r: 4/3 is (4, 3), 1 is (2, 2); (0, 0) if there is none."""
    for r in POLYNOMIAL_ROOTS:
        s = r / p
        if s <= LARGEST_POWER and s == int(s) and r / s == p:
            return r, int(s)
    return 0, 0


def root_method(method: str, p: float, rtol: float | None, A: Tensor) -> int:
    """The kernel's number of a method of ``inverse_root`` for A."""
    if method == "polynomial" and polynomial_fraction(p) == (0, 0):
        raise NotImplementedError(
            f"method='polynomial' has coefficients for p = r/s with r in {POLYNOMIAL_ROOTS}, got p = {p};"
            " use method='eigh'."
        )
    if method == "auto":
        if A.is_cuda:
            method = "polynomial" if polynomial_fraction(p) != (0, 0) else "eigh"
        elif p > LARGEST_QUADRATURE or p != int(p):
            method = "eigh"
        else:
            method = "quadrature" if rtol is None or A.dtype != torch.float32 else "quadrature to tolerance"
    return ROOT_METHODS[method]


def basis_method(method: str, A: Tensor, max_steps: int) -> int:
    """The kernel's number of a method of ``update_eigenbasis`` for A."""
    if method == "auto" and max_steps > 1 and A.shape[-1] >= EIGH_FROM and not A.is_cuda:
        return BASIS_METHODS["near eigh"]
    return BASIS_METHODS[method]
