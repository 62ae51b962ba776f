"""The least time that a computation can take on a device: its bytes at the copy bandwidth, its operations at the peak.

The larger of the two. Bytes: each input read once, each output written once. Rates are those that one H200 (SXM) was
seen to reach or its data sheet gives; on other devices they say how far a time is from an H200's floor.
"""

from __future__ import annotations

from dataclasses import dataclass, field

BYTES_PER_SECOND = 4.3e12  # a large copy, counting bytes read and written
# Of dense products, by arithmetic. A float32 product on the tensor cores is three of TF32.
FLOPS_PER_SECOND = {"fp32": 67e12, "tf32x3": 494e12 / 3, "fp64": 67e12, "bf16": 790e12}


@dataclass(frozen=True)
class Work:
    """Bytes to move, and operations by arithmetic."""

    bytes: float
    flops: dict[str, float] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        arithmetic = sum(count / FLOPS_PER_SECOND[unit] for unit, count in self.flops.items())
        return max(self.bytes / BYTES_PER_SECOND, arithmetic)

    @property
    def bound(self) -> str:
        return "bytes" if self.seconds == self.bytes / BYTES_PER_SECOND else "flops"

    def __mul__(self, count: float) -> Work:
        return Work(self.bytes * count, {unit: flops * count for unit, flops in self.flops.items()})

    def __add__(self, other: Work) -> Work:
        units = {*self.flops, *other.flops}
        flops = {unit: self.flops.get(unit, 0) + other.flops.get(unit, 0) for unit in sorted(units)}
        return Work(self.bytes + other.bytes, flops)


NOTHING = Work(0)


def factors(m: int, n: int) -> Work:
    """Both factors of G[m, n]: G once; a triangle of each factor read, all of it written; half of each product."""
    elements = m * n + sum(size * (size + 1) / 2 + size * size for size in (m, n))
    return Work(4 * elements, {"tf32x3": m * (m + 1) * n + n * (n + 1) * m})


def inverse_root(n: int, p: int, steps: float) -> Work:
    """A read and X written; the Cholesky factor and the symmetric products of the steps, half of each computed.

    A step of degree 4 takes two products for q, X q, and M qᵖ by squaring. All are counted at the rate of three TF32
    products though the first run in float64, so the floor is a lower bound.
    """
    products = 2 + 1 + {2: 2, 3: 3, 4: 3, 6: 4, 8: 4}[p]
    return Work(8 * n * n, {"tf32x3": steps * products * n**3, "fp64": n**3 / 3})


def basis_step(n: int) -> Work:
    """A and Q read, Q written; AQ, QᵀAQ and QT, and AQ and QᵀAQ of the result; Gram, Cholesky, inverse in float64."""
    return Work(12 * n * n, {"tf32x3": (2 + 1 + 2 + 2 + 1) * n**3, "fp64": (1 + 1 / 3 + 1) * n**3})


def rearranged_pass(m: int, n: int, passes: float, symmetric: bool) -> Work:
    """H[mn, mn] read `passes` times, all of it or the blocks on and below the diagonal."""
    elements = (m * (m + 1) / 2 if symmetric else m * m) * n * n
    return Work(4 * passes * elements, {"fp32": (4 if symmetric else 2) * passes * elements})


def apply(m: int, n: int) -> Work:
    """L[m, m] G[m, n] R[n, n]: everything once."""
    return Work(4 * (m * m + 2 * m * n + n * n), {"tf32x3": 2 * m * n * (m + n)})
