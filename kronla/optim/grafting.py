"""Grafting: a direction from one optimizer, its length from another (Agarwal et al. 2020, arXiv 2002.11803)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from kronla.optim.moments import average_squares_, beta2, divided_by_roots_, unbiased_momenta
from kronla.optim.tensors import Block

# The optimizer to take the length from; None keeps the direction's own.
METHODS = ("adam", "rmsprop", "adagrad", "sgd", None)


def grafting_directions(blocks: Sequence[Block]) -> list[Tensor]:
    """The step of the optimizer that each block's group grafts, after this step's gradient was taken into V.

    ``M̂/(√V̂ + ε)`` for ``"adam"`` (and None, for blocks without factors), ``M̂/(√V + ε)`` for ``"rmsprop"`` and
    ``"adagrad"``, where V is a sum, ``M̂`` for ``"sgd"``: the momentum in place of the gradient, as Shi et al. 2023
    (arXiv 2309.06497, section 3.2) do.
    """
    grads = [block.grad for block in blocks]
    second_moments = [block.part("second_moment") for block in blocks]
    sums = [block.group["grafting"] == "adagrad" for block in blocks]
    betas = [1.0 if summed else beta for summed, beta in zip(sums, beta2(blocks), strict=True)]
    average_squares_(second_moments, grads, betas)
    directions = unbiased_momenta(blocks, [block.step for block in blocks])
    divided = [i for i, block in enumerate(blocks) if block.group["grafting"] != "sgd"]
    divided_by_roots_(
        [directions[i] for i in divided],
        [blocks[i] for i in divided],
        [second_moments[i] for i in divided],
        [1.0 - betas[i] ** blocks[i].step if blocks[i].group["grafting"] in ("adam", None) else 1.0 for i in divided],
    )
    return directions


def graft_(directions: Sequence[Tensor], lengths_of: Sequence[Tensor]) -> None:
    """``P ← P · ‖A‖_F / ‖P‖_F`` for each pair, in place; P = 0 stays 0. Norms are accumulated in float64."""
    if not directions:
        return
    wanted = torch._foreach_norm(list(lengths_of), 2, dtype=torch.float64)
    own = torch._foreach_norm(list(directions), 2, dtype=torch.float64)
    tiny = torch.finfo(torch.float64).tiny
    scales = [(a / p.clamp_min(tiny)).to(d.dtype) for a, p, d in zip(wanted, own, directions, strict=True)]
    torch._foreach_mul_(list(directions), scales)
