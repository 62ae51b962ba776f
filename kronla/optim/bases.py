"""Eigenbases of the factors: how they are refreshed, and the way into them and back."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import kronla
from kronla.optim.apply import apply_sides
from kronla.optim.tensors import Block, alike


@dataclass(frozen=True, slots=True)
class Refresh:
    """How a basis follows its factor: the keywords of :func:`kronla.foreach_update_eigenbasis`."""

    tol: float = 0.0
    max_steps: int = 1
    method: str = "auto"


# The first basis is exact: there is no old one to start from.
FIRST = Refresh(method="eigh")


def start_bases(state: dict[str, Any], index: int, shape: Iterable[int], **like: Any) -> None:
    """The identity for one block: the basis that is kept should the first factor fail."""
    for mode, size in enumerate(shape):
        state[f"basis.{index}.{mode}"] = torch.eye(size, **like)


def refresh_bases_(blocks: Iterable[Block], refresh: Callable[[dict[str, Any]], Refresh]) -> None:
    """Move the bases of these blocks after their factors: one native call for all blocks of equal ``refresh``.

    :func:`kronla.foreach_update_eigenbasis` keeps the order and the signs of the columns that came in, so second
    moments that are held in the basis stay valid; where a factor fails (``info`` ≥ 2) it returns the old basis.
    """
    blocks = list(blocks)
    _refresh_((block for block in blocks if block.step > 1), refresh)
    _refresh_((block for block in blocks if block.step == 1), lambda group: FIRST)


def _refresh_(blocks: Iterable[Block], refresh: Callable[[dict[str, Any]], Refresh]) -> None:
    for how, members in alike(blocks, refresh):
        factors = [factor for block in members for factor in block.read("factor")]
        bases = [basis for block in members for basis in block.read("basis")]
        found = kronla.foreach_update_eigenbasis(
            factors, bases, tol=how.tol, max_steps=how.max_steps, method=how.method
        )
        for i, block in enumerate(members):
            block.write("basis", (found[2 * i].Q, found[2 * i + 1].Q))


def into_basis(blocks: Sequence[Block], tensors: Sequence[Tensor]) -> list[Tensor]:
    """``Q_Lᵀ X Q_R`` for each block's X, in one native call; X itself where a block has no factors."""
    pairs = [block.pair("basis") for block in blocks]
    return apply_sides(tensors, [pair and (pair[0].mT, pair[1]) for pair in pairs])


def out_of_basis(blocks: Sequence[Block], tensors: Sequence[Tensor]) -> list[Tensor]:
    """``Q_L X Q_Rᵀ``, the way back."""
    pairs = [block.pair("basis") for block in blocks]
    return apply_sides(tensors, [pair and (pair[0], pair[1].mT) for pair in pairs])
