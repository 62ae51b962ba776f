"""Inverse roots of the factors, ``F_i^e`` with e < 0: how they are refreshed and applied."""

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

import kronla
from kronla.optim.apply import apply_modes
from kronla.optim.factors import norms, unbiased_factors
from kronla.optim.health import record_refresh_
from kronla.optim.tensors import Block, Side, alike

# Exponents are kept as floats, which a saved state can hold; −1/3 is found again as the rational it was meant to be.
_LARGEST_DENOMINATOR = 64

Exponent = Callable[[int], float]
Sizes = Callable[[Sequence[Tensor]], Sequence[Tensor]]


def start_root(kind: str, size: int, **like: Any) -> Tensor:
    """The identity: the root that is kept should the first factor fail."""
    return torch.eye(size, **like) if kind == "full" else torch.ones(size, **like)


def refresh_roots_(blocks: Iterable[Block], default: Exponent, sizes: Sizes | None = None) -> None:
    """``(F̂ + (λ + λᵣ‖F̂‖_F) I)^e`` of the unbiased factors: one native call for all blocks of equal e, λ and λᵣ.

    ``default(k)`` is e for a block with k factors where the group has none. With ``sizes``, F̂ is first divided by
    ``size^((k−1)/k)``, which makes the product of the roots that of ``⊗F̂_i / ∏size_i^((k−1)/k)``.

    λᵣ is at least the machine epsilon of the factor's dtype. A factor of deficient rank (a batch smaller than the
    layer, inputs that are always zero) is indefinite by rounding, about −1e-8·‖F̂‖_F in float32, and would have no
    root for the whole of a training; below that epsilon a float32 factor says nothing about its eigenvalues anyway.

    A root that fails (``info`` ≥ 2: a factor that is not positive definite in its precision, or not finite) keeps
    the last good one. So does one of a factor that is still 0 (no gradient yet): it would be the damping's alone, and
    1e6 · I for a damping of 1e-12.
    """
    for (exponent, damping, relative_damping), members in alike(blocks, lambda block: _settings(block, default)):
        sides = [side for block in members for side in block.sides]
        factors = unbiased_factors(sides)
        if sizes is not None:
            factors = _divided(sides, factors, sizes(factors))
        relative_damping = max(relative_damping, torch.finfo(factors[0].dtype).eps)
        full = [i for i, factor in enumerate(factors) if factor.ndim == 2]
        found = kronla.foreach_inverse_root(
            [factors[i] for i in full],
            _root(exponent),
            damping=damping,
            relative_damping=relative_damping,
            fallbacks=[sides[i]["root"] for i in full],
        )
        filled = [(factors[i].diagonal() > 0).any() for i in full]
        for i, root, has_any in zip(full, found, filled, strict=True):
            sides[i]["root"] = torch.where(has_any, root.X, sides[i]["root"])
        record_refresh_([sides[i] for i in full], [r.info for r in found], [r.residual for r in found], filled)
        diagonal = [i for i, factor in enumerate(factors) if factor.ndim == 1]
        for i, size in zip(diagonal, norms([factors[i] for i in diagonal]), strict=True):
            damped = factors[i] + (damping + relative_damping * size)
            _refresh_diagonal_(sides[i], damped, exponent, (factors[i] > 0).any())


def _refresh_diagonal_(side: Side, damped: Tensor, exponent: float, filled: Tensor) -> None:
    """The same for a factor that is a diagonal, with the same ``info``: it is its own eigenvalues."""
    info = torch.where(damped.isfinite().all(), 2 * (damped <= 0).any().int(), 3)
    side["root"] = torch.where((info == 0) & filled, damped.pow(exponent), side["root"])
    record_refresh_([side], [info], [torch.zeros_like(damped[0])], [filled])


def apply_roots(blocks: Sequence[Block], tensors: Sequence[Tensor]) -> list[Tensor]:
    """``L^e X R^e`` for each block's X, in one native call; X itself where a block has no factors."""
    return apply_modes([block.modes("root") for block in blocks], tensors)


def traces(factors: Sequence[Tensor]) -> list[Tensor]:
    """``Tr F`` of each: ``Tr E[GGᵀ]``, the scale of Morwani et al. 2024, Corollary 2."""
    return [factor.diagonal().sum() if factor.ndim == 2 else factor.sum() for factor in factors]


def _divided(sides: Sequence[Side], factors: Sequence[Tensor], sizes: Sequence[Tensor]) -> list[Tensor]:
    powers = [1.0 - 1.0 / len(side.block.sides) for side in sides]
    divisors = [torch.where(size > 0, size, 1.0) ** power for size, power in zip(sizes, powers, strict=True)]
    return list(torch._foreach_div(list(factors), divisors))


def _settings(block: Block, default: Exponent) -> tuple[float, float, float]:
    group = block.group
    exponent = default(len(block.sides)) if group["exponent"] is None else group["exponent"]
    return exponent, float(group["damping"]), float(group["relative_damping"])


def _root(exponent: float) -> int | Fraction | float:
    """The p of ``A^(−1/p)``, as the whole number or fraction that it is to rounding."""
    p = -1.0 / exponent
    near = Fraction(p).limit_denominator(_LARGEST_DENOMINATOR)
    if abs(float(near) - p) > 1e-12 * p:
        return p
    return near.numerator if near.denominator == 1 else near
