"""The only place that chooses a method.

A choice depends on one matrix's size, dtype and device and on the arguments: never on the batch or the number of
threads, or the bits would. ``python -m bench.crossovers`` measures the CPU's choices again.

=============  ======  ==============================================  =============================================
operation      device  "auto" means                                    because
=============  ======  ==============================================  =============================================
inverse_root   cpu     "polynomial" for float32, n ≤ 64, a p that has  2.6 times as fast as eigh at n = 16, 1.4 times at
                       coefficients and a relative damping that        64, equal at 128, slower beyond; the damping
                       guarantees a condition below 1e6                says that the products converge
                       else "eigh", in float64; for float32 with an    good at every condition and for every p; float32
                       rtol given and integer p in float32 where the   takes two thirds of the time, and an rtol says
                       residual that it reaches is at most rtol        that its accuracy may be enough
inverse_root   cuda    "polynomial" for the p that have coefficients,  products run at full speed there; chosen by
                       else "eigh"                                     reasoning, not yet measured
eigenbasis     both    per matrix and step: QR where the ratio is      cold bases need QR steps, warm ones converge
                       above 0.3, else a rotation; alternately where   in 1 to 3 rotations; from n = 512 on two
                       the ratio stays above 0.3. For n ≥ 512 where    steps cost more than a decomposition
                       more than one step is allowed (cpu): one
                       rotation if the ratio is at most 10 tol, then
                       "eigh"
=============  ======  ==============================================  =============================================
"""

from __future__ import annotations

import torch
from torch import Tensor

POLYNOMIAL_ROOTS = (2, 3, 4, 6, 8)
LARGEST_POWER = 16  # s of p = r/s: the error of D^(-1/r) grows s times
LARGEST_POLYNOMIAL = 64  # rows up to which products are faster than a decomposition on a CPU
SMALLEST_DAMPING = 1e-6  # relative; the condition is then at most 1 + 1e6, and the polynomials are made for 1e7
ROOT_METHODS = {"eigh": 0, "polynomial": 1, "eigh to tolerance": 2}
BASIS_METHODS = {"auto": 0, "rotation": 1, "qr": 2, "eigh": 3, "near eigh": 4}
EIGH_FROM = 512  # rows from which two steps on a basis cost more than a decomposition


def polynomial_fraction(p: float) -> tuple[int, int]:
    """``p = r/s`` with polynomials for r, the smallest such r: 4/3 is (4, 3), 1 is (2, 2); (0, 0) if there is none."""
    for r in POLYNOMIAL_ROOTS:
        s = r / p
        if s <= LARGEST_POWER and s == int(s) and r / s == p:
            return r, int(s)
    return 0, 0


def root_method(method: str, p: float, relative_damping: float, rtol: float | None, A: Tensor) -> int:
    """The kernel's number of a method of ``inverse_root`` for A."""
    has_polynomials = polynomial_fraction(p) != (0, 0)
    if method == "polynomial" and not has_polynomials:
        raise NotImplementedError(
            f"method='polynomial' has coefficients for p = r/s with r in {POLYNOMIAL_ROOTS}, got p = {p};"
            " use method='eigh'."
        )
    if method == "auto":
        small = A.dtype == torch.float32 and A.shape[-1] <= LARGEST_POLYNOMIAL and relative_damping >= SMALLEST_DAMPING
        method = "polynomial" if has_polynomials and (A.device.type == "cuda" or small) else "eigh"
        if method == "eigh" and A.device.type == "cpu" and A.dtype == torch.float32 and rtol is not None:
            method = "eigh to tolerance"
    return ROOT_METHODS[method]


def basis_method(method: str, n: int, max_steps: int, device: str) -> int:
    """The kernel's number of a method of ``update_eigenbasis`` on a type of device."""
    if method == "auto" and device != "cuda" and n >= EIGH_FROM and max_steps > 1:
        return BASIS_METHODS["near eigh"]
    return BASIS_METHODS[method]
