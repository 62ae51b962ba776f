"""Adam in the eigenbasis of the factors: what EShampoo and SOAP share."""

from collections.abc import Sequence

from torch import Tensor

from kronla.optim.bases import into_bases, out_of_bases
from kronla.optim.moments import adam_directions, average_, average_squares_, beta2
from kronla.optim.tensors import Block


def rotated_adam_directions(blocks: Sequence[Block], steps: Sequence[int]) -> list[Tensor]:
    """Take in this step's gradients; give ``Q_L (M̂̃ / (√D̂ + ε)) Q_Rᵀ`` for each block.

    ``G̃ = Q_LᵀGQ_R``, ``M̃ ← β₁M̃ + (1−β₁)G̃``, ``D ← β₂D + (1−β₂)G̃²``: both moments are held in the basis, so that a
    gradient passes into it once, and the direction back: two native calls. A block without factors has Q = I: Adam's
    own direction. ``steps`` count the gradients that M̃ and D have seen, this one included.
    """
    momenta = [block.part("momentum") for block in blocks]
    second_moments = [block.part("second_moment") for block in blocks]
    grads = into_bases(blocks, [block.grad for block in blocks])
    average_(momenta, grads, blocks)
    average_squares_(second_moments, grads, beta2(blocks))
    biases = [1.0 - beta**t for beta, t in zip(beta2(blocks), steps, strict=True)]
    return out_of_bases(blocks, adam_directions(blocks, momenta, second_moments, steps, biases))
