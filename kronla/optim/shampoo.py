"""Shampoo: the gradient multiplied along each mode by an inverse root of its factor."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from torch.optim.optimizer import ParamsT

from kronla.optim.factors import update_factors_
from kronla.optim.grafting import graft_, grafting_directions
from kronla.optim.moments import average_, unbiased_momenta
from kronla.optim.optimizer import KroneckerOptimizer, descend_, is_due
from kronla.optim.roots import Exponent, Sizes, apply_roots, refresh_roots_, start_root
from kronla.optim.settings import given
from kronla.optim.tensors import Block, Side


class Shampoo(KroneckerOptimizer):
    r"""Shampoo, with stale roots and the step length of another optimizer.

    For each block G (m×n) of a parameter W at step t::

        L ← β_f L + (1−β_f) GGᵀ,  R ← β_f R + (1−β_f) GᵀG
        at t ≤ early_steps, and at t = 1 and every update_every steps after it:
            L^e, R^e of the unbiased factors, e = −1/4, damped by damping + relative_damping · ‖·‖_F
        M ← β₁M + (1−β₁)G,  V ← β₂V + (1−β₂)G²
        A = M̂ / (√V̂ + ε)                        (Adam's step; M̂ and V̂ are without bias)
        P = L^e M̂ R^e,  P ← P · ‖A‖_F/‖P‖_F       (grafting="adam")
        W ← (1 − lr · weight_decay) W − lr · P

    A block of order k has a factor ``F_i ← β_f F_i + (1−β_f) G₍ᵢ₎G₍ᵢ₎ᵀ`` for each mode, and e = −1/(2k).

    Source: Gupta, Koren and Singer 2018 (arXiv 1802.09568), Algorithms 1 and 2; running averages, stale roots and
    grafting: Anil et al. 2020 (arXiv 2002.09018), Shi et al. 2023 (arXiv 2309.06497). Parameters without factors
    (vectors, scalars) take A.

    Args:
        params: parameters, named parameters, or groups of them with settings of their own.
        lr: learning rate η.
        betas: β₁ of the momentum M, β₂ of the second moment V.
        eps: ε, added to √V̂; with 0, entries that have had no gradient rest.
        weight_decay: decoupled (AdamW's), times lr.
        factor_beta: β_f of the factors; None means ``betas[1]``; 1 sums, as the first Shampoo does.
        damping: λ in ``L̂ + λI``.
        relative_damping: the same times ``‖L̂‖_F``; at least the machine epsilon of the state's dtype (1.2e-7 in
            float32), below which a factor of deficient rank is indefinite by rounding and has no root.
        exponent: e of every side, a number or Fraction < 0; None means −1/(2k) for a block with k factors.
        update_every: steps between refreshes of the roots.
        grafting: whose length a step has: ``"adam"``; ``"rmsprop"``, A with V in place of V̂; ``"adagrad"``, the same
            with a sum V ← V + G²; ``"sgd"``, A = M̂; or None for the length that the roots give.
        max_dim: the largest side of a block; larger parameters are cut.
        early_steps: so many first steps all refresh, whatever ``update_every``.
        merge_dims: see a tensor of more than two dimensions as a matrix, all but the first merged; False gives each
            dimension (those of size 1 apart) a factor of its own.
        large: for a dimension beyond ``max_dim`` ``"blocks"``; or, without a cut, ``"diagonal"`` for the diagonal of
            its factor, or ``"identity"`` for none.
        vectors: ``"identity"`` treats parameters of one dimension elementwise; ``"diagonal"`` and ``"full"`` give
            them such a factor.
        max_failures: so many bad gradients, or failed refreshes of a factor, in a row raise RuntimeError.
        maximize: climb instead of descend.
        foreach: False gives each parameter calls of its own, with the same bits; None and True share them.

    State of a parameter: ``step`` (int), ``momentum`` M and ``second_moment`` V (its shape), ``bad_gradients``, and of
    block b and mode i (0 rows, 1 columns) ``factor.b.i``, ``root.b.i`` and ``health.b.i``; float64 beside float64
    parameters, else float32.

    A root that fails (``info`` ≥ 2) keeps the last good one, at first the identity. A gradient that is not finite
    counts as zero. A step makes one ``foreach_update_mode_factors_`` and one ``foreach_mode_apply``, a refresh one
    ``foreach_inverse_root``, for the whole model; groups that differ in the settings of an op, and blocks of other
    orders where ``exponent`` is None, add one call each.

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

    takes_diagonals = True
    # The strategies: how factors take in gradients, e for a block with k factors, what factors are scaled by.
    take_in: Callable[[list[Block]], None] = staticmethod(update_factors_)
    exponent_of: Exponent = staticmethod(lambda k: -1.0 / (2 * k))
    sizes_of: Sizes | None = None

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
        early_steps: int = 1,
        merge_dims: bool = True,
        large: str = "blocks",
        vectors: str = "identity",
        max_failures: int = 10,
        maximize: bool = False,
        foreach: bool | None = None,
    ) -> None:
        super().__init__(params, given(locals()))

    beside = "root"

    def start_side(self, side: Side, kind: str, size: int, **like: Any) -> None:
        """A root, at first the identity."""
        side["root"] = start_root(kind, size, **like)

    def advance(self, blocks: list[Block]) -> None:
        """One step of the formula above."""
        self.take_in(blocks)
        refresh_roots_([block for block in blocks if is_due(block)], self.exponent_of, self.sizes_of)
        average_([block.part("momentum") for block in blocks], [block.grad for block in blocks], blocks)
        momenta = unbiased_momenta(blocks)
        grafts = grafting_directions(blocks, momenta)
        directions = apply_roots(blocks, momenta)
        grafted = [i for i, block in enumerate(blocks) if block.sides and block.group["grafting"] is not None]
        graft_([directions[i] for i in grafted], [grafts[i] for i in grafted])
        descend_(blocks, [p if block.sides else a for block, p, a in zip(blocks, directions, grafts, strict=True)])
