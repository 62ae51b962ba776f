"""Grafting: a direction from one optimizer, its length from another (Agarwal et al. 2020, arXiv 2002.11803)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from kronla.optim.moments import adam_directions, average_squares_, beta2
from kronla.optim.tensors import Block

# The optimizer to take the length from; None keeps the direction's own.
METHODS = ("adam", "rmsprop", "adagrad", "sgd", None)


def grafting_directions(blocks: Sequence[Block], unbiased: Sequence[Tensor]) -> list[Tensor]:
    """The step of the optimizer that each block's group grafts; V takes in this step's gradient, M has done so.

    ``M̂/(√V̂ + ε)`` for ``"adam"`` (and None, for blocks without factors), ``M̂/(√V + ε)`` for ``"rmsprop"`` and
    ``"adagrad"``, where V is a sum, ``M̂``, given as ``unbiased``, for ``"sgd"``: the momentum in place of the
    gradient, as Shi et al. 2023 (arXiv 2309.06497, section 3.2) do.
    """
    momenta = [block.part("momentum") for block in blocks]
    second_moments = [block.part("second_moment") for block in blocks]
    methods, steps = [block.group["grafting"] for block in blocks], [block.step for block in blocks]
    betas = [1.0 if method == "adagrad" else beta for method, beta in zip(methods, beta2(blocks), strict=True)]
    average_squares_(second_moments, [block.grad for block in blocks], betas)
    sums = [V for method, V in zip(methods, second_moments, strict=True) if method == "adagrad"]
    if sums:
        torch._foreach_clamp_max_(sums, torch.finfo(sums[0].dtype).max)
    biases = [1.0 - b**t if g in ("adam", None) else 1.0 for g, b, t in zip(methods, betas, steps, strict=True)]
    directions = adam_directions(blocks, momenta, second_moments, steps, biases)
    return [M if g == "sgd" else A for g, M, A in zip(methods, unbiased, directions, strict=True)]


def graft_(directions: Sequence[Tensor], lengths_of: Sequence[Tensor]) -> None:
    """``P ← P · ‖A‖_F / ‖P‖_F`` for each pair, in place; P = 0 stays 0. Norms are accumulated in float64."""
    if not directions:
        return
    wanted = torch._foreach_norm(list(lengths_of), 2, dtype=torch.float64)
    own = torch._foreach_norm(list(directions), 2, dtype=torch.float64)
    tiny = torch.finfo(torch.float64).tiny
    scales = [(a / p.clamp_min(tiny)).to(d.dtype) for a, p, d in zip(wanted, own, directions, strict=True)]
    torch._foreach_mul_(list(directions), scales)
