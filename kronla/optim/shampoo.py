"""Shampoo: both sides of the gradient multiplied by inverse roots of its factors."""

from fractions import Fraction
from typing import Any

from torch.optim.optimizer import ParamsT

from kronla.optim.factors import update_factors_
from kronla.optim.grafting import graft_
from kronla.optim.moments import adam_directions, average_, average_squares_, betas, unbiased
from kronla.optim.optimizer import KroneckerOptimizer, descend_, is_due
from kronla.optim.roots import apply_roots, refresh_roots_, start_roots
from kronla.optim.tensors import Block


class Shampoo(KroneckerOptimizer):
    r"""Shampoo, with stale roots and the step length of Adam.

    For each block G (m×n) of a parameter W at step t::

        L ← β_f L + (1−β_f) GGᵀ,  R ← β_f R + (1−β_f) GᵀG
        at t = 1 and every update_every steps after it:
            L^e, R^e of the unbiased factors, e = −1/4, damped by damping + relative_damping · ‖·‖_F
        M ← β₁M + (1−β₁)G,  V ← β₂V + (1−β₂)G²
        A = M̂ / (√V̂ + ε)                        (Adam's step; M̂ and V̂ are without bias)
        P = L^e M̂ R^e,  P ← P · ‖A‖_F/‖P‖_F       (grafting="adam")
        W ← (1 − lr · weight_decay) W − lr · P

    Source: Gupta, Koren and Singer 2018 (arXiv 1802.09568), Algorithm 1; running averages, stale roots and grafting:
    Anil et al. 2020 (arXiv 2002.09018). Parameters without factors (vectors, scalars) take A.

    Args:
        params: parameters, named parameters, or groups of them with settings of their own.
        lr: learning rate η.
        betas: β₁ of the momentum M, β₂ of the second moment V.
        eps: ε, added to √V̂.
        weight_decay: decoupled (AdamW's), times lr.
        factor_beta: β_f of the factors; None means ``betas[1]``; 1 sums, as the first Shampoo does.
        damping: λ in ``L̂ + λI``.
        relative_damping: the same times ``‖L̂‖_F``; at least the machine epsilon of the state's dtype (1.2e-7 in
            float32), below which a factor of deficient rank is indefinite by rounding and has no root.
        exponent: e of both sides, a number or Fraction < 0; None means −1/(2k) for order k, here −1/4.
        update_every: steps between refreshes of the roots.
        grafting: ``"adam"``, or None for the length that the roots give.
        max_dim: the largest side of a block; larger parameters are cut.
        maximize: climb instead of descend.
        foreach: False gives each parameter calls of its own, with the same bits; None and True share them.

    State of a parameter: ``step`` (int), ``momentum`` M and ``second_moment`` V (its shape), and of block b and mode
    i (0 rows, 1 columns) ``factor.b.i`` and ``root.b.i``; float64 beside float64 parameters, else float32.

    A root that fails (``info`` ≥ 2) keeps the last good one, at first the identity. A gradient that is not finite
    counts as zero. A step makes one ``foreach_update_factors_`` and one ``foreach_kron_apply``, a refresh one
    ``foreach_inverse_root``, for the whole model; groups that differ in the settings of an op add one call each.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(8, 3)
        >>> optimizer = Shampoo(model.parameters(), lr=0.01, relative_damping=1e-6)
        >>> for _ in range(20):
        ...     optimizer.zero_grad()
        ...     loss = model(torch.eye(8)).square().mean()
        ...     loss.backward()
        ...     optimizer.step()
        >>> bool(model(torch.eye(8)).square().mean() < loss)
        True
    """

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
        relative_damping: float = 0.0,
        exponent: float | Fraction | None = None,
        update_every: int = 10,
        grafting: str | None = "adam",
        max_dim: int = 1024,
        maximize: bool = False,
        foreach: bool | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "factor_beta": factor_beta,
            "damping": damping,
            "relative_damping": relative_damping,
            "exponent": exponent,
            "update_every": update_every,
            "grafting": grafting,
            "max_dim": max_dim,
            "maximize": maximize,
            "foreach": foreach,
        }
        super().__init__(params, defaults)

    def start_block(self, state: dict[str, Any], index: int, shape: tuple[int, int], **like: Any) -> None:
        """Roots, at first the identity."""
        start_roots(state, index, shape, **like)

    def advance(self, blocks: list[Block]) -> None:
        """One step of the formula above."""
        update_factors_(blocks)
        refresh_roots_(block for block in blocks if is_due(block))
        grads = [block.grad for block in blocks]
        momenta = [block.part(block.state["momentum"]) for block in blocks]
        second_moments = [block.part(block.state["second_moment"]) for block in blocks]
        steps = [block.step for block in blocks]
        beta1, beta2 = betas(blocks)
        average_(momenta, grads, beta1)
        average_squares_(second_moments, grads, beta2)

        adam = adam_directions(blocks, momenta, second_moments, steps)
        shampoo = apply_roots(blocks, unbiased(momenta, beta1, steps))
        grafted = [i for i, block in enumerate(blocks) if block.is_matrix and block.group["grafting"] == "adam"]
        graft_([shampoo[i] for i in grafted], [adam[i] for i in grafted])
        descend_(blocks, [p if block.is_matrix else a for block, p, a in zip(blocks, shampoo, adam, strict=True)])
