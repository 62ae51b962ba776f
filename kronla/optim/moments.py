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


def unbiased_momenta(blocks: Sequence[Block]) -> list[Tensor]:
    """``M̂ = M/(1−β₁ᵗ)``: the zero that the average started from taken out."""
    if not blocks:
        return []
    weights = [1.0 - float(block.group["betas"][0]) ** block.step for block in blocks]
    return list(torch._foreach_div([block.part("momentum") for block in blocks], weights))


def adam_directions(
    blocks: Sequence[Block],
    momenta: Sequence[Tensor],
    second_moments: Sequence[Tensor],
    steps: Sequence[int],
    biases: Sequence[float],
) -> list[Tensor]:
    """``M̂ / (√(V/bias) + ε)`` with ``M̂ = M/(1−β₁ᵗ)``; bias is ``1−β₂ᵗ`` for Adam (Kingma and Ba 2015, Algorithm 1).

    Taken as ``M / (c√V/√bias + cε)`` with ``c = 1−β₁ᵗ``, which passes over the tensors once less. Where that divisor
    is 0 (ε = 0, and no gradient yet or one whose square is 0 in its dtype) the direction is 0.
    """
    if not blocks:
        return []
    unbias = [1.0 - float(block.group["betas"][0]) ** t for block, t in zip(blocks, steps, strict=True)]
    divisors = list(torch._foreach_sqrt(list(second_moments)))
    torch._foreach_mul_(divisors, [c / math.sqrt(bias) for c, bias in zip(unbias, biases, strict=True)])
    torch._foreach_add_(divisors, [c * float(block.group["eps"]) for c, block in zip(unbias, blocks, strict=True)])
    for divisor, block in zip(divisors, blocks, strict=True):
        if block.group["eps"] < torch.finfo(divisor.dtype).tiny:
            divisor.masked_fill_(divisor == 0, math.inf)
    return list(torch._foreach_div(list(momenta), divisors))
