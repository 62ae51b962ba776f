"""The only place that chooses a method.

A choice depends on one matrix's size, dtype and device and on the arguments: never on the batch or the number of
threads, or the bits would.

=============  ======  ==============================================  =============================================
operation      device  "auto" means                                    because
=============  ======  ==============================================  =============================================
inverse_root   cpu     "eigh" (in float64)                             good at every condition and for every p; no
                                                                       slower than products from n = 128 on, at most
                                                                       1.8 times at n = 16
eigenbasis     cpu     per matrix and step: QR where the ratio is      cold bases need QR steps, warm ones converge
                       above 0.3, else a rotation; alternately where   in 1 to 3 rotations; from n = 512 on two
                       the ratio stays above 0.3. "eigh" for n ≥ 512   steps cost more than a decomposition
                       where more than one step is allowed
=============  ======  ==============================================  =============================================
"""

from __future__ import annotations

POLYNOMIAL_ROOTS = (2, 3, 4, 6, 8)
LARGEST_POWER = 16  # s of p = r/s: the error of D^(-1/r) grows s times
ROOT_METHODS = {"eigh": 0, "polynomial": 1}
BASIS_METHODS = {"auto": 0, "rotation": 1, "qr": 2, "eigh": 3}
EIGH_FROM = 512  # rows from which two steps on a basis cost more than a decomposition


def polynomial_fraction(p: float) -> tuple[int, int]:
    """``p = r/s`` with polynomials for r, the smallest such r: 4/3 is (4, 3), 1 is (2, 2); (0, 0) if there is none."""
    for r in POLYNOMIAL_ROOTS:
        s = r / p
        if s <= LARGEST_POWER and s == int(s) and r / s == p:
            return r, int(s)
    return 0, 0


def root_method(method: str, p: float) -> int:
    """The kernel's number of a method of ``inverse_root``."""
    if method == "polynomial" and polynomial_fraction(p) == (0, 0):
        raise NotImplementedError(
            f"method='polynomial' has coefficients for p = r/s with r in {POLYNOMIAL_ROOTS}, got p = {p};"
            " use method='eigh'."
        )
    return ROOT_METHODS["eigh" if method == "auto" else method]


def basis_method(method: str, n: int, max_steps: int) -> int:
    """The kernel's number of a method of ``update_eigenbasis``."""
    if method == "auto" and n >= EIGH_FROM and max_steps > 1:
        return BASIS_METHODS["eigh"]
    return BASIS_METHODS[method]
