"""The optimal Kronecker approximation of the gradients' covariance, by power steps taken over training."""

from fractions import Fraction
from typing import Any

from torch.optim.optimizer import ParamsT

from kronla.optim.factors import norms, update_weighted_factors_
from kronla.optim.settings import given
from kronla.optim.shampoo import Shampoo


class OptimalKronecker(Shampoo):
    r"""Shampoo with the factors of the Frobenius-nearest Kronecker product to the gradients' covariance.

    As :class:`Shampoo`, but each factor is weighted by the other one of the last step::

        L ← β_f L + (1−β_f) G R̃ Gᵀ,  R ← β_f R + (1−β_f) Gᵀ L̃ G,    L̃ = L/‖L‖_F, R̃ = R/‖R‖_F
        H = L ⊗ R / √(‖L‖_F ‖R‖_F)  ≈  E[vec(G) vec(G)ᵀ]
        P = H^e M̂,  e = −1/2

    Where the gradients' distribution stands still, L = σL̃ and R = σR̃ with the largest singular value σ of the
    rearranged covariance: the fixed point of the power iteration, of which each step is one, begun where the last one
    ended. The first, from the identity, is Shampoo²'s. Every tensor is seen as a matrix.

    Source: Morwani et al. 2024, "A New Perspective on Shampoo's Preconditioner" (arXiv 2406.17748), section 3; the mean
    over time in place of one over a batch of gradients is kronla's.

    Args:
        factor_beta: β_f; near 1, the mean is over about 1/(1−β_f) steps, all of which see other weights.
        exponent: e of both sides; None means −1/2.
        damping: of the scaled factors.
        relative_damping, early_steps: 1e-4 and 20 by default, as in :class:`kronla.optim.Shampoo2`.
        Everything else: as in :class:`Shampoo`, which also has ``merge_dims``, ``large`` and ``vectors``; ``grafting``
            is None by default.

    A step makes one ``foreach_update_factors_`` and one ``foreach_mode_apply``, a refresh one ``foreach_inverse_root``.

    Example:
        >>> import torch
        >>> p = torch.nn.Parameter(torch.zeros(2, 2))
        >>> optimizer = OptimalKronecker([p], lr=0.1)
        >>> for _ in range(3):
        ...     p.grad = torch.randn(2, 2)
        ...     optimizer.step()
        >>> optimizer.state[p]["factor.0.0"].shape
        torch.Size([2, 2])
    """

    take_in = staticmethod(update_weighted_factors_)
    exponent_of = staticmethod(lambda k: -0.5)
    sizes_of = staticmethod(norms)

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
        max_failures: int = 10,
        maximize: bool = False,
        foreach: bool | None = None,
    ) -> None:
        super().__init__(params, **given(locals()))

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As in :class:`Shampoo`, but how a tensor is seen cannot be set."""
        for name in ("merge_dims", "large", "vectors"):
            if name in param_group:
                raise ValueError(f"{name} is no setting of OptimalKronecker, which sees every tensor as a matrix.")
        super().add_param_group(param_group)
