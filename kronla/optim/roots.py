"""Inverse roots of the factors, ``L^e`` and ``R^e`` with e < 0: how they are refreshed and applied."""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

import kronla
from kronla.optim.apply import apply_sides
from kronla.optim.factors import unbiased_factors
from kronla.optim.tensors import Block, alike

# Exponents are kept as floats, which a saved state can hold; −1/3 is found again as the rational it was meant to be.
_LARGEST_DENOMINATOR = 64


def start_roots(state: dict[str, Any], index: int, shape: Iterable[int], **like: Any) -> None:
    """The identity for one block: the root that is kept should the first factor fail."""
    for mode, size in enumerate(shape):
        state[f"root.{index}.{mode}"] = torch.eye(size, **like)


def refresh_roots_(blocks: Iterable[Block]) -> None:
    """``(L̂ + (λ + λᵣ‖L̂‖_F) I)^e`` of the unbiased factors: one native call for all blocks of equal e, λ and λᵣ.

    λᵣ is at least the machine epsilon of the factor's dtype. A factor of deficient rank (a batch smaller than the
    layer, inputs that are always zero) is indefinite by rounding, about −1e-8·‖L̂‖_F in float32, and would have no
    root for the whole of a training; below that epsilon a float32 factor says nothing about its eigenvalues anyway.

    A root that fails (``info`` ≥ 2: a factor that is not positive definite in its precision, or not finite) keeps
    the last good one.
    """
    for (p, damping, relative_damping), members in alike(blocks, _settings):
        factors = unbiased_factors(members)
        found = kronla.foreach_inverse_root(
            factors,
            p,
            damping=damping,
            relative_damping=max(relative_damping, torch.finfo(factors[0].dtype).eps),
            fallbacks=[root for block in members for root in block.read("root")],
        )
        for i, block in enumerate(members):
            block.write("root", (found[2 * i].X, found[2 * i + 1].X))


def apply_roots(blocks: Sequence[Block], tensors: Sequence[Tensor]) -> list[Tensor]:
    """``L^e X R^e`` for each block's X, in one native call; X itself where a block has no factors."""
    return apply_sides(tensors, [block.pair("root") for block in blocks])


def _settings(group: dict[str, Any]) -> tuple[int | Fraction | float, float, float]:
    order = 2  # every tensor with factors is seen as a matrix
    exponent = -1.0 / (2 * order) if group["exponent"] is None else group["exponent"]
    return _root(exponent), float(group["damping"]), float(group["relative_damping"])


def _root(exponent: float) -> int | Fraction | float:
    """The p of ``A^(−1/p)``, as the whole number or fraction that it is to rounding."""
    p = -1.0 / exponent
    near = Fraction(p).limit_denominator(_LARGEST_DENOMINATOR)
    if abs(float(near) - p) > 1e-12 * p:
        return p
    return near.numerator if near.denominator == 1 else near
