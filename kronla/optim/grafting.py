"""Grafting: a direction from one optimizer, its length from another (Agarwal et al. 2020, arXiv 2002.11803)."""

from collections.abc import Sequence

import torch
from torch import Tensor

# A second optimizer to take the length from; None keeps the direction's own.
METHODS = ("adam", None)


def graft_(directions: Sequence[Tensor], lengths_of: Sequence[Tensor]) -> None:
    """``P ← P · ‖A‖_F / ‖P‖_F`` for each pair, in place; P = 0 stays 0. Norms are accumulated in float64."""
    if not directions:
        return
    wanted = torch._foreach_norm(list(lengths_of), 2, dtype=torch.float64)
    own = torch._foreach_norm(list(directions), 2, dtype=torch.float64)
    tiny = torch.finfo(torch.float64).tiny
    scales = [(a / p.clamp_min(tiny)).to(d.dtype) for a, p, d in zip(wanted, own, directions, strict=True)]
    torch._foreach_mul_(list(directions), scales)
