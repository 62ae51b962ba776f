"""EShampoo: Adam in the eigenbasis of Shampoo's factors, with a basis that is refreshed when it has to be."""

from typing import Any

from torch.optim.optimizer import ParamsT

from kronla.optim.bases import Refresh, refresh_bases_, start_basis
from kronla.optim.factors import update_factors_
from kronla.optim.optimizer import KroneckerOptimizer, descend_, is_due
from kronla.optim.rotated import rotated_adam_directions
from kronla.optim.settings import given
from kronla.optim.tensors import Block, Side


class EShampoo(KroneckerOptimizer):
    r"""Eigenvalue-corrected Shampoo, whose bases follow their factors to a tolerance.

    For each block G (m×n) of a parameter W at step t::

        M ← β₁M + (1−β₁)G,  M̃ = Q_Lᵀ M Q_R
        D ← β₂D + (1−β₂)(Q_LᵀGQ_R)²
        W ← (1 − lr · weight_decay) W − lr · Q_L (M̂̃ / (√D̂ + ε)) Q_Rᵀ      (M̂̃ and D̂ are without bias)
        L ← β_f L + (1−β_f) GGᵀ,  R ← β_f R + (1−β_f) GᵀG
        every update_every steps, for each factor by itself:
            while ‖offdiag(QᵀLQ)‖_F > tol · ‖L‖_F, at most max_steps times: a step of Q towards L's eigenbasis

    Step 1 moves no parameter with factors: it makes the first bases (eigenvectors of L and R, by eigh).

    Source: Eschenhagen et al. 2025, "Purifying Shampoo" (arXiv 2506.03595): the corrected eigenvalues D, which make
    grafting needless, and the criterion of the refresh. Columns of Q keep their order and signs in a refresh, so D
    stays valid. Parameters without factors (vectors, scalars) take the same step with Q = I, which is Adam's, from
    t = 1 on.

    As in SOAP, every step uses bases that have not seen its gradient. While a factor lacks rank (batch times steps
    below its size), most of Q_LᵀGQ_R is rounding noise in a basis made from the same gradient: D would begin with
    it, and Adam scale it up to full steps (single entries of M̂̃/√D̂ of 10³ to 10⁵ at a batch of 4, by measurement).

    Args:
        params: parameters, named parameters, or groups of them with settings of their own.
        lr: learning rate η.
        betas: β₁ of the momentum M, β₂ of the corrected eigenvalues D.
        eps: ε, added to √D̂; with 0, entries without a gradient so far rest, but rounding noise in a
            basis is scaled up to full steps.
        weight_decay: decoupled (AdamW's), times lr.
        factor_beta: β_f of the factors; None means ``betas[1]``.
        update_every: steps between looks at the criterion.
        tol: τ in [0, 1], the off-diagonal ratio that is good enough; 0 always takes ``max_steps`` steps.
        max_steps: the most steps of one refresh (I in the paper); 0 keeps the first basis.
        method: ``"auto"``, ``"rotation"``, ``"qr"`` or ``"eigh"``, as in :func:`kronla.update_eigenbasis`.
        early_steps: so many first steps all refresh, whatever ``update_every``.
        max_dim: the largest side of a block; larger parameters are cut.
        merge_dims: see a tensor of more than two dimensions as a matrix, all but the first merged; False gives each
            dimension (those of size 1 apart) a factor of its own.
        large: for a dimension beyond ``max_dim`` ``"blocks"``, or ``"identity"`` for no factor, and no cut.
        vectors: ``"identity"`` treats parameters of one dimension elementwise, ``"full"`` gives them a factor.
        max_failures: so many bad gradients, or failed refreshes of a factor, in a row raise RuntimeError.
        maximize: climb instead of descend.
        foreach: False gives each parameter calls of its own, with the same bits; None and True share them.

    State of a parameter: ``step`` (int), ``momentum`` M̃ and ``second_moment`` D (its shape, in the basis),
    ``bad_gradients``, and of block b and mode i (0 rows, 1 columns) ``factor.b.i``, ``basis.b.i`` and ``health.b.i``;
    float64 beside float64 parameters, else float32.

    A basis whose refresh fails (``info`` ≥ 2) is kept. A gradient that is not finite counts as zero. A step makes
    one ``foreach_update_mode_factors_`` and two ``foreach_mode_apply``, a refresh one ``foreach_update_eigenbasis`` and
    two ``foreach_mode_apply``, for the whole model; groups that differ in the settings of an op add one call each.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(8, 3)
        >>> optimizer = EShampoo(model.parameters(), lr=0.01, tol=0.05)
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
        update_every: int = 1,
        tol: float = 0.1,
        max_steps: int = 1,
        method: str = "auto",
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

    beside = "basis"

    def start_side(self, side: Side, kind: str, size: int, **like: Any) -> None:
        """A basis, at first the identity."""
        side["basis"] = start_basis(kind, size, **like)

    def advance(self, blocks: list[Block]) -> None:
        """One step of the formula above."""
        moving = [block for block in blocks if block.step > 1 or not block.sides]
        descend_(moving, rotated_adam_directions(moving, [b.step - 1 if b.sides else b.step for b in moving]))
        update_factors_(blocks)
        refresh_bases_([block for block in blocks if is_due(block)], _refresh)


def _refresh(group: dict[str, Any]) -> Refresh:
    return Refresh(float(group["tol"]), int(group["max_steps"]), group["method"])
