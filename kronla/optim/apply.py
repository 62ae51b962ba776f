"""Multiplying each block's tensor from both sides, all of them in one native call."""

from collections.abc import Sequence

from torch import Tensor

import kronla


def apply_sides(tensors: Sequence[Tensor], sides: Sequence[tuple[Tensor, Tensor] | None]) -> list[Tensor]:
    """``L X R`` for each X and its pair (L, R); X itself where there is none, for a block without factors."""
    results = list(tensors)
    places = [i for i, pair in enumerate(sides) if pair is not None]
    if places:
        lefts, rights = zip(*(pair for pair in sides if pair is not None), strict=True)
        products = kronla.foreach_kron_apply(list(lefts), [results[i] for i in places], list(rights))
        for i, product in zip(places, products, strict=True):
            results[i] = product
    return results
