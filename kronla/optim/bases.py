"""Eigenbases of the factors: how they are refreshed, and the way into them and back."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import kronla
from kronla.optim.apply import apply_modes
from kronla.optim.health import record_refresh_
from kronla.optim.tensors import Block, alike


@dataclass(frozen=True, slots=True)
class Refresh:
    """How a basis follows its factor: the keywords of :func:`kronla.foreach_update_eigenbasis`."""

    tol: float = 0.0
    max_steps: int = 1
    method: str = "auto"


# The first basis is exact: there is no old one to start from.
FIRST = Refresh(method="eigh")


def start_basis(kind: str, size: int, **like: Any) -> Tensor:
    """The identity: the basis that is kept should the first factor fail."""
    return torch.eye(size, **like)


def refresh_bases_(blocks: Iterable[Block], refresh: Callable[[dict[str, Any]], Refresh]) -> None:
    """Move the bases of these blocks after their factors, and the momentum that is held in them along.

    One native call for all blocks of equal ``refresh``, and two to carry the momentum, which is linear, exactly:
    ``M̃ ← Q'ᵀ(Q M̃ Qᵀ)Q'``. Second moments cannot be carried so; they stay valid since
    :func:`kronla.foreach_update_eigenbasis` keeps the order and the signs of the columns that came in. Where a factor
    fails (``info`` ≥ 2) it returns the old basis.
    """
    blocks = [block for block in blocks if block.sides]
    later = [block for block in blocks if block.step > 1]
    momenta = [block.part("momentum") for block in later]
    carried = out_of_bases(later, momenta)
    _refresh_(later, refresh)
    if later:
        torch._foreach_copy_(momenta, into_bases(later, carried))
    _refresh_((block for block in blocks if block.step == 1), lambda group: FIRST)


def _refresh_(blocks: Iterable[Block], refresh: Callable[[dict[str, Any]], Refresh]) -> None:
    for how, members in alike(blocks, lambda block: refresh(block.group)):
        sides = [side for block in members for side in block.sides]
        found = kronla.foreach_update_eigenbasis(
            [side["factor"] for side in sides],
            [side["basis"] for side in sides],
            tol=how.tol,
            max_steps=how.max_steps,
            method=how.method,
        )
        for side, basis in zip(sides, found, strict=True):
            side["basis"] = basis.Q
        record_refresh_(sides, [b.info for b in found], [b.ratio for b in found], [b.steps for b in found])


def into_bases(blocks: Sequence[Block], tensors: Sequence[Tensor]) -> list[Tensor]:
    """``Q_Lᵀ X Q_R`` for each block's X, in one native call; X itself where a block has no factors."""
    return apply_modes([[Q if Q is None else Q.mT for Q in block.modes("basis")] for block in blocks], tensors)


def out_of_bases(blocks: Sequence[Block], tensors: Sequence[Tensor]) -> list[Tensor]:
    """``Q_L X Q_Rᵀ``, the way back."""
    return apply_modes([block.modes("basis") for block in blocks], tensors)
