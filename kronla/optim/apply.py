"""Multiplying each block's tensor along its modes, all of them in one native call."""

from collections.abc import Sequence

from torch import Tensor

import kronla


def apply_modes(matrices: Sequence[Sequence[Tensor | None]], tensors: Sequence[Tensor]) -> list[Tensor]:
    """``X ×₁ M₁ ×₂ M₂ ⋯``, for a matrix ``M₁ X M₂ᵀ``: None is the identity, a vector the diagonal of a matrix.

    X itself, not a copy, where there is nothing to multiply with: a block that is treated elementwise.
    """
    full = [[M if M is not None and M.ndim == 2 else None for M in each] for each in matrices]
    results = list(tensors)
    places = [i for i, each in enumerate(full) if any(M is not None for M in each)]
    if places:
        products = kronla.foreach_mode_apply([full[i] for i in places], [results[i] for i in places])
        for i, result in zip(places, products, strict=True):
            results[i] = result
    for i, each in enumerate(matrices):
        for mode, M in enumerate(each):
            if M is not None and M.ndim == 1:
                results[i] = results[i] * M.view(-1, *[1] * (results[i].ndim - 1 - mode))
    return results
