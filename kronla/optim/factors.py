"""The factors of each block, ``F_i ← βF_i + (1−β) G₍ᵢ₎G₍ᵢ₎ᵀ`` along mode i: what is kept of past gradients."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

import kronla
from kronla.optim.health import record_overflows_
from kronla.optim.tensors import Block, Side, alike


def factor_beta(block: Block) -> float:
    """β of the factors: ``factor_beta``, or the second moment's β where that is None."""
    beta = block.group["factor_beta"]
    return float(block.group["betas"][1] if beta is None else beta)


def start_factor(kind: str, size: int, **like: Any) -> Tensor:
    """A zero factor: a matrix, or for ``"diagonal"`` a vector."""
    return torch.zeros((size, size) if kind == "full" else (size,), **like)


def update_factors_(blocks: Iterable[Block]) -> None:
    """Take each block's gradient into its factors: one native call for all blocks of equal β.

    For a matrix ``L ← βL + (1−β)GGᵀ`` and ``R ← βR + (1−β)GᵀG``. β = 1 sums (``L ← L + GGᵀ``), as in the first
    Shampoo (Gupta, Koren and Singer 2018, Algorithms 1 and 2).
    """
    for beta, members in alike(blocks, factor_beta):
        alpha = 1.0 if beta == 1.0 else 1.0 - beta
        before = _before_a_sum(beta, members)
        kronla.foreach_update_mode_factors_(
            [[F if F is not None and F.ndim == 2 else None for F in block.modes("factor")] for block in members],
            [block.grad for block in members],
            beta=beta,
            alpha=alpha,
        )
        for side in (side for block in members for side in block.sides if side["factor"].ndim == 1):
            grad = side.block.grad
            others = [mode for mode in range(grad.ndim) if mode != side.mode]
            squares = grad.square().sum(others) if others else grad.square()
            side["factor"].mul_(beta).add_(squares, alpha=alpha)
        _undo_overflows_(before)


def update_weighted_factors_(blocks: Iterable[Block]) -> None:
    """Weighted by the other factor: ``L ← βL + (1−β)GR̃Gᵀ`` and ``R ← βR + (1−β)GᵀL̃G``, in one native call.

    ``L̃ = L/‖L‖_F`` and ``R̃ = R/‖R‖_F`` are those of the last step, at first I/√m and I/√n: a power step
    (:func:`kronla.kron_power_step`) towards the nearest Kronecker product to E[vec(G)vec(G)ᵀ], begun where the last
    one ended, with the mean taken over time (Morwani et al. 2024, arXiv 2406.17748, section 3).
    """
    for beta, members in alike(blocks, factor_beta):
        before = _before_a_sum(beta, members)
        weights = iter(directions_of([side["factor"] for block in members for side in block.sides]))
        lefts, rights = zip(*(block.modes("factor") for block in members), strict=True)
        kronla.foreach_update_factors_(
            list(lefts),
            list(rights),
            [block.grad for block in members],
            beta=beta,
            alpha=1.0 if beta == 1.0 else None,
            weights=[(next(weights), next(weights)) for _ in members],
        )
        _undo_overflows_(before)


def _before_a_sum(beta: float, blocks: Sequence[Block]) -> list[tuple[Side, Tensor]]:
    """Copies of the factors, for β = 1 alone: an average never leaves the range of the squares that it has seen."""
    return [(side, side["factor"].clone()) for block in blocks for side in block.sides] if beta == 1.0 else []


def _undo_overflows_(before: Sequence[tuple[Side, Tensor]]) -> None:
    """Where a sum has left the range of its dtype, which would be for good, the last factor stays, and is counted.

    ``√n‖F‖_F``, which bounds every entry and the trace, is to stay in range.
    """
    if not before:
        return
    factors = [side["factor"] for side, _ in before]
    found = torch._foreach_norm(factors, 2, dtype=torch.float64)
    bounds = torch.stack(torch._foreach_mul(found, [math.sqrt(len(F)) for F in factors]))
    fits = list((bounds <= torch.finfo(factors[0].dtype).max).unbind())
    kept = [torch.where(fit, F, old) for fit, F, (_, old) in zip(fits, factors, before, strict=True)]
    torch._foreach_copy_(factors, kept)
    record_overflows_([side for side, _ in before], fits)


def directions_of(factors: Sequence[Tensor]) -> list[Tensor]:
    """``F/‖F‖_F``; for F = 0, or a factor that is not finite, the direction of the identity."""
    lengths = norms(factors)
    known = [norm > 0 for norm in lengths]  # False for NaN, the norm of a factor that is not finite
    eyes = {F.shape: torch.eye(len(F), dtype=F.dtype, device=F.device) for F in factors}
    filled = [torch.where(one, F, eyes[F.shape]) for one, F in zip(known, factors, strict=True)]
    divisors = [torch.where(o, norm, len(F) ** 0.5) for o, norm, F in zip(known, lengths, factors, strict=True)]
    return list(torch._foreach_div(filled, divisors))


def norms(factors: Sequence[Tensor]) -> list[Tensor]:
    """``‖F‖_F`` of each, accumulated in float64; that of F/max|F|, so that no square leaves the range of float64."""
    if not factors:
        return []
    largest = torch._foreach_norm(list(factors), math.inf)
    units = [torch.where(size > 0, size, 1.0) for size in largest]
    scaled = torch._foreach_norm(torch._foreach_div(list(factors), units), 2, dtype=torch.float64)
    return [(norm * unit).to(F.dtype) for norm, unit, F in zip(scaled, units, factors, strict=True)]


def unbiased_factors(sides: Sequence[Side]) -> list[Tensor]:
    """``F/(1−βᵗ)`` of each side: the zeros they started from taken out."""
    betas = [factor_beta(side.block) for side in sides]
    weights = [1.0 if b == 1.0 else 1.0 - b**side.block.step for side, b in zip(sides, betas, strict=True)]
    return list(torch._foreach_div([side["factor"] for side in sides], weights))
