"""Shampoo², whose Kronecker product estimates the gradients' covariance itself and not its square root."""

from fractions import Fraction

from torch.optim.optimizer import ParamsT

from kronla.optim.roots import traces
from kronla.optim.settings import given
from kronla.optim.shampoo import Shampoo


class Shampoo2(Shampoo):
    r"""Shampoo with the exponent −1/2 and the scale that makes its preconditioner the covariance's inverse root.

    As :class:`Shampoo`, but for each block G of order k::

        H = F_1 ⊗ ⋯ ⊗ F_k / (Tr F_1)^(k−1)  ≈  E[vec(G) vec(G)ᵀ],    for a matrix  L ⊗ R / Tr L
        P = H^e M̂,  e = −1/2

    which is exact where the covariance is a Kronecker product, and one power step from the identity towards the
    nearest one else. In exact arithmetic all F_i have the same trace; each is divided by its own Tr^((k−1)/k), so that
    a factor that fails stays in scale with the others. Since P is as long as Adam's step would be, nothing is grafted
    by default. Then nothing bounds a step along directions that the roots have not seen, either: with the roots of
    step 1 alone, and no more damping than rounding asks for, a small network reached a loss of 1e15 within 100 steps.
    Hence the defaults of ``early_steps`` and ``relative_damping``.

    Source: Morwani et al. 2024, "A New Perspective on Shampoo's Preconditioner" (arXiv 2406.17748), section 3 and
    Corollary 2.

    Args:
        exponent: e of every side; None means −1/2. With e = −1/4 the direction is Shampoo's, up to its length.
        damping, relative_damping: of the scaled factors; ``relative_damping`` is 1e-4 by default.
        early_steps: 20, while factors are young.
        Everything else: as in :class:`Shampoo`; ``grafting`` is None by default.

    Example:
        >>> import torch
        >>> p = torch.nn.Parameter(torch.zeros(2, 2))
        >>> p.grad = torch.diag(torch.tensor([1e-3, 5.0]))
        >>> Shampoo2([p], lr=0.5, relative_damping=0.0).step()  # Newton-like: both directions are as long
        >>> bool((p.diagonal() < -0.4).all())
        True
    """

    exponent_of = staticmethod(lambda k: -0.5)
    sizes_of = staticmethod(traces)

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        factor_beta: float | None = None,
        damping: float = 1e-12,
        relative_damping: float = 1e-4,
        exponent: float | Fraction | None = None,
        update_every: int = 10,
        grafting: str | None = None,
        max_dim: int = 1024,
        early_steps: int = 20,
        merge_dims: bool = True,
        large: str = "blocks",
        vectors: str = "identity",
        max_failures: int = 10,
        maximize: bool = False,
        foreach: bool | None = None,
    ) -> None:
        super().__init__(params, **given(locals()))
