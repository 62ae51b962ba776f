"""Adam in the eigenbasis of the factors: what EShampoo and SOAP share."""

from collections.abc import Sequence

from torch import Tensor

from kronla.optim.bases import into_basis, out_of_basis
from kronla.optim.moments import adam_directions, average_, average_squares_, betas
from kronla.optim.tensors import Block


def rotated_adam_directions(blocks: Sequence[Block], steps: Sequence[int]) -> list[Tensor]:
    """Take in this step's gradients; give ``Q_L (M̂̃ / (√D̂ + ε)) Q_Rᵀ`` for each block.

    ``M ← β₁M + (1−β₁)G`` is kept in the original space, ``D ← β₂D + (1−β₂)(Q_LᵀGQ_R)²`` in the basis;
    ``M̃ = Q_Lᵀ M Q_R``. A block without factors has Q = I: Adam's own direction. ``steps`` count the gradients that
    M and D have seen, this one included. Two native calls, one into the bases (G and M together) and one back.
    """
    blocks = list(blocks)
    grads = [block.grad for block in blocks]
    momenta = [block.part(block.state["momentum"]) for block in blocks]
    second_moments = [block.part(block.state["second_moment"]) for block in blocks]
    beta1, beta2 = betas(blocks)
    average_(momenta, grads, beta1)
    rotated = into_basis(blocks + blocks, grads + momenta)
    rotated_grads, rotated_momenta = rotated[: len(blocks)], rotated[len(blocks) :]
    average_squares_(second_moments, rotated_grads, beta2)
    return out_of_basis(blocks, adam_directions(blocks, rotated_momenta, second_moments, steps))
