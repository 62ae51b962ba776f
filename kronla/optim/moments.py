"""Running averages over lists of tensors, and Adam's direction out of two of them."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from kronla.optim.tensors import Block


def average_(averages: Sequence[Tensor], values: Sequence[Tensor], blocks: Sequence[Block]) -> None:
    """``a ← β₁a + (1−β₁)v``."""
    if averages:
        torch._foreach_lerp_(list(averages), list(values), [1.0 - float(block.group["betas"][0]) for block in blocks])


def average_squares_(averages: Sequence[Tensor], values: Sequence[Tensor], betas: Sequence[float]) -> None:
    """``a ← βa + (1−β)v²``; β = 1 sums, ``a ← a + v²``."""
    if averages:
        torch._foreach_mul_(list(averages), list(betas))
        weights = [1.0 if beta == 1.0 else 1.0 - beta for beta in betas]
        torch._foreach_addcmul_(list(averages), list(values), list(values), weights)


def beta2(blocks: Sequence[Block]) -> list[float]:
    """β₂ of each block."""
    return [float(block.group["betas"][1]) for block in blocks]


def unbiased_momenta(blocks: Sequence[Block], steps: Sequence[int]) -> list[Tensor]:
    """``M/(1−β₁ᵗ)``: the zero that an average started from taken out."""
    if not blocks:
        return []
    weights = [1.0 - float(block.group["betas"][0]) ** t for block, t in zip(blocks, steps, strict=True)]
    return list(torch._foreach_div([block.part("momentum") for block in blocks], weights))


def divided_by_roots_(
    momenta: Sequence[Tensor], blocks: Sequence[Block], second_moments: Sequence[Tensor], biases: Sequence[float]
) -> None:
    """``M̂ ← M̂ / (√(V/bias) + ε)`` in place; with bias ``1−β₂ᵗ`` Adam's direction (Kingma and Ba 2015, Algorithm 1)."""
    if not momenta:
        return
    divisors = list(torch._foreach_sqrt(list(second_moments)))
    torch._foreach_div_(divisors, [math.sqrt(bias) for bias in biases])
    torch._foreach_add_(divisors, [float(block.group["eps"]) for block in blocks])
    torch._foreach_div_(list(momenta), divisors)
