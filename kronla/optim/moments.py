"""Running averages over lists of tensors, and Adam's direction out of two of them."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from kronla.optim.tensors import Block


def betas(blocks: Sequence[Block]) -> tuple[list[float], list[float]]:
    """β₁ and β₂ of each block."""
    return [float(b.group["betas"][0]) for b in blocks], [float(b.group["betas"][1]) for b in blocks]


def average_(averages: Sequence[Tensor], values: Sequence[Tensor], betas: Sequence[float]) -> None:
    """``a ← βa + (1−β)v``."""
    if averages:
        torch._foreach_lerp_(list(averages), list(values), [1.0 - beta for beta in betas])


def average_squares_(averages: Sequence[Tensor], values: Sequence[Tensor], betas: Sequence[float]) -> None:
    """``a ← βa + (1−β)v²``."""
    if averages:
        torch._foreach_mul_(list(averages), list(betas))
        torch._foreach_addcmul_(list(averages), list(values), list(values), [1.0 - beta for beta in betas])


def unbiased(averages: Sequence[Tensor], betas: Sequence[float], steps: Sequence[int]) -> list[Tensor]:
    """``a/(1−βᵗ)``: the zero that an average started from taken out."""
    if not averages:
        return []
    return list(torch._foreach_div(list(averages), [1.0 - b**t for b, t in zip(betas, steps, strict=True)]))


def adam_directions(
    blocks: Sequence[Block], momenta: Sequence[Tensor], second_moments: Sequence[Tensor], steps: Sequence[int]
) -> list[Tensor]:
    """``M̂ / (√V̂ + ε)`` with ``M̂ = M/(1−β₁ᵗ)`` and ``V̂ = V/(1−β₂ᵗ)`` (Kingma and Ba 2015, Algorithm 1)."""
    if not blocks:
        return []
    beta1, beta2 = betas(blocks)
    divisors = list(torch._foreach_sqrt(list(second_moments)))
    torch._foreach_div_(divisors, [math.sqrt(1.0 - b**t) for b, t in zip(beta2, steps, strict=True)])
    torch._foreach_add_(divisors, [float(block.group["eps"]) for block in blocks])
    return list(torch._foreach_div(unbiased(momenta, beta1, steps), divisors))
