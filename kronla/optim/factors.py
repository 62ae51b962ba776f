"""The factors of each block, ``L ← βL + (1−β)GGᵀ`` and ``R ← βR + (1−β)GᵀG``: what is kept of past gradients."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

import kronla
from kronla.optim.tensors import Block, alike


def factor_beta(group: dict[str, Any]) -> float:
    """β of the factors: ``factor_beta``, or the second moment's β where that is None."""
    beta = group["factor_beta"]
    return float(group["betas"][1] if beta is None else beta)


def start_factors(state: dict[str, Any], index: int, shape: Iterable[int], **like: Any) -> None:
    """Zero factors for one block."""
    for mode, size in enumerate(shape):
        state[f"factor.{index}.{mode}"] = torch.zeros(size, size, **like)


def update_factors_(blocks: Iterable[Block]) -> None:
    """Take each block's gradient into its factors: one native call for all blocks of equal β.

    β = 1 sums (``L ← L + GGᵀ``), as in the first Shampoo (Gupta, Koren and Singer 2018, Algorithm 1).
    """
    for beta, members in alike(blocks, factor_beta):
        lefts, rights = zip(*(block.read("factor") for block in members), strict=True)
        kronla.foreach_update_factors_(
            list(lefts),
            list(rights),
            [block.grad for block in members],
            beta=beta,
            alpha=1.0 if beta == 1.0 else None,
        )


def unbiased_factors(blocks: Iterable[Block]) -> list[Tensor]:
    """``L/(1−βᵗ)`` and ``R/(1−βᵗ)`` of each block, in that order: the zeros they started from taken out."""
    tensors: list[Tensor] = []
    weights: list[float] = []
    for block in blocks:
        beta = factor_beta(block.group)
        tensors += block.read("factor")
        weights += [1.0 if beta == 1.0 else 1.0 - beta**block.step] * 2
    return list(torch._foreach_div(tensors, weights))
