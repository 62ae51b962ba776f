"""SOAP: Adam in the eigenbasis of Shampoo's factors, with one QR step every few steps."""

from typing import Any

from torch.optim.optimizer import ParamsT

from kronla.optim.bases import Refresh, refresh_bases_, start_basis
from kronla.optim.factors import update_factors_
from kronla.optim.optimizer import KroneckerOptimizer, descend_, is_due
from kronla.optim.rotated import rotated_adam_directions
from kronla.optim.settings import given
from kronla.optim.tensors import Block, Side

# One warm QR step from the old basis, whatever its error (Vyas et al. 2024, Algorithm 4).
_QR_STEP = Refresh(method="qr")


class SOAP(KroneckerOptimizer):
    r"""Shampoo with Adam in the preconditioner's eigenbasis.

    For each block G (m×n) of a parameter W at step t > 1::

        M ← β₁M + (1−β₁)G,  M̃ = Q_Lᵀ M Q_R
        V ← β₂V + (1−β₂)(Q_LᵀGQ_R)²
        W ← (1 − lr · weight_decay) W − lr · Q_L (M̂̃ / (√V̂ + ε)) Q_Rᵀ      (M̂̃ and V̂ are without bias)
        L ← β_f L + (1−β_f) GGᵀ,  R ← β_f R + (1−β_f) GᵀG
        every update_every steps:  Q ← the Q of QR(L Q), for both sides

    Step 1 moves no parameter: it takes the gradient into L and R and makes the first bases by eigh, as the authors'
    implementation does. (In a basis made from the same gradient, most of Q_LᵀGQ_R is rounding noise, which Adam
    would scale up to full steps.) So every step uses bases that have not seen its gradient.

    Source: Vyas et al. 2024, "SOAP" (arXiv 2409.11321), Algorithms 3 and 4 and its defaults. The momentum is kept in
    the original space and projected; V is kept in the basis and stays valid, since columns of Q keep their order and
    signs. Parameters without factors (vectors, scalars) take the same step with Q = I, which is Adam's.

    Args:
        params: parameters, named parameters, or groups of them with settings of their own.
        lr: learning rate η.
        betas: β₁ of the momentum M, β₂ of the second moment V.
        eps: ε, added to √V̂; with 0, entries without a gradient so far rest, but rounding noise in a
            basis is scaled up to full steps.
        weight_decay: decoupled (AdamW's), times lr.
        factor_beta: β_f of the factors; None means ``betas[1]``.
        update_every: steps between refreshes of the bases.
        early_steps: so many first steps all refresh, whatever ``update_every``.
        max_dim: the largest side of a block; larger parameters are cut.
        merge_dims: False gives each dimension (those of size 1 apart) of a tensor of more than two a factor of its
            own, as published; True sees it as a matrix, all but the first merged.
        large: for a dimension beyond ``max_dim`` ``"blocks"``, or ``"identity"`` for no factor, and no cut, as
            published.
        vectors: ``"identity"`` treats parameters of one dimension elementwise, ``"full"`` gives them a factor.
        max_failures: so many bad gradients, or failed refreshes of a factor, in a row raise RuntimeError.
        maximize: climb instead of descend.
        foreach: False gives each parameter calls of its own, with the same bits; None and True share them.

    State of a parameter: ``step`` (int, step 1 included), ``momentum`` M̃ and ``second_moment`` V (its shape, in the
    basis), ``bad_gradients``, and of block b and mode i (0 rows, 1 columns) ``factor.b.i``, ``basis.b.i`` and
    ``health.b.i``; float64 beside float64 parameters, else float32.

    A basis whose refresh fails (``info`` ≥ 2) is kept. A gradient that is not finite counts as zero. A step makes
    one ``foreach_update_mode_factors_`` and two ``foreach_mode_apply``, a refresh one ``foreach_update_eigenbasis`` and
    two ``foreach_mode_apply``, for the whole model; groups that differ in the settings of an op add one call each.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(8, 3)
        >>> optimizer = SOAP(model.parameters(), lr=0.01, update_every=5)
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
        lr: float = 3e-3,
        betas: tuple[float, float] = (0.95, 0.95),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        *,
        factor_beta: float | None = None,
        update_every: int = 10,
        max_dim: int = 1024,
        early_steps: int = 1,
        merge_dims: bool = False,
        large: str = "blocks",
        vectors: str = "identity",
        max_failures: int = 10,
        maximize: bool = False,
        foreach: bool | None = None,
    ) -> None:
        super().__init__(params, given(locals()))

    beside = "basis"

    def start_side(self, side: Side, kind: str, size: int, **like: Any) -> None:
        """A basis, at first the identity."""
        side["basis"] = start_basis(kind, size, **like)

    def advance(self, blocks: list[Block]) -> None:
        """One step of the formula above."""
        moving = [block for block in blocks if block.step > 1]
        descend_(moving, rotated_adam_directions(moving, [block.step - 1 for block in moving]))
        update_factors_(blocks)
        refresh_bases_([block for block in blocks if is_due(block)], lambda group: _QR_STEP)
