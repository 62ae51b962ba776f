"""Losses, as what curvature needs of them: gradients with respect to a model's outputs, at real or drawn labels.

Each is the loss ℓ of one example, a sum over its outputs; curvature matrices are means over examples. torch's losses
with ``reduction="mean"`` differ by factors, where they divide by the number C of outputs as well or have no ½::

    H_GN of CrossEntropyLoss = 1 ·, of BCEWithLogitsLoss = 1/C ·, of MSELoss = 2/C · H_GN of the losses here
    squared gradients          1 ·,                        1/C ·,            4/C ·

and N C times as much for ``reduction="sum"`` where 1/C stands, N times as much where none does. curvlinops' matrices
are those of torch's losses, and agree with that (``tests/diagnostics/test_curvlinops.py``).
"""

from typing import Protocol

import torch
from torch import Tensor


class Loss(Protocol):
    """A convex loss of outputs f, that is minus the log-likelihood of a label y which the model could draw itself.

    All three give cotangents u of the outputs. A layer's Jacobian J takes each to a gradient ``Jᵀu`` of its weight.
    """

    def gradients(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """``∇_f ℓ(f, y)`` at the labels given: ``[N, C]`` from outputs ``[N, C]``."""
        ...

    def draws(self, outputs: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """``∇_f ℓ(f, y)`` at labels y drawn from the model's own prediction: ``[N, C]``."""
        ...

    def roots(self, outputs: Tensor) -> Tensor:
        """``r_k`` with ``Σ_k r_k r_kᵀ = ∇²_f ℓ``: ``[N, K, C]``, so that draws need not be drawn."""
        ...


class CrossEntropy:
    r"""The softmax's cross-entropy: ``ℓ = −log p_y`` with ``p = softmax(f)``; labels are int64 ``[N]``.

    .. math:: \nabla_f \ell = p - e_y, \qquad \nabla^2_f \ell = \mathrm{diag}(p) - p p^T = \sum_k p_k (p-e_k)(p-e_k)^T
    """

    def gradients(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return outputs.softmax(-1) - _one_hot(labels, outputs)

    def draws(self, outputs: Tensor, generator: torch.Generator | None = None) -> Tensor:
        p = outputs.softmax(-1)
        return p - _one_hot(torch.multinomial(p, 1, generator=generator).squeeze(-1), outputs)

    def roots(self, outputs: Tensor) -> Tensor:
        p = outputs.softmax(-1)
        centred = p.unsqueeze(-2) - torch.eye(p.shape[-1], dtype=p.dtype, device=p.device)
        return p.sqrt().unsqueeze(-1) * centred


class BinaryCrossEntropy:
    r"""Logistic regression's loss on one logit: ``ℓ = −log σ(f)`` for y = 1, ``−log(1 − σ(f))`` for y = 0.

    .. math:: \nabla_f \ell = \sigma(f) - y, \qquad \nabla^2_f \ell = \sigma(f) (1 - \sigma(f))
    """

    def gradients(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return outputs.sigmoid() - labels.to(outputs.dtype).reshape(outputs.shape)

    def draws(self, outputs: Tensor, generator: torch.Generator | None = None) -> Tensor:
        p = outputs.sigmoid()
        return p - torch.bernoulli(p, generator=generator)

    def roots(self, outputs: Tensor) -> Tensor:
        return (outputs.sigmoid() * (-outputs).sigmoid()).sqrt().unsqueeze(-2)


class SquaredError:
    r"""``ℓ = ½‖f − y‖²``, whose labels are f plus standard normal noise: ``∇_f ℓ = f − y``, ``∇²_f ℓ = I``."""

    def gradients(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return outputs - labels

    def draws(self, outputs: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return torch.randn(outputs.shape, generator=generator, dtype=outputs.dtype, device=outputs.device)

    def roots(self, outputs: Tensor) -> Tensor:
        size = outputs.shape[-1]
        eye = torch.eye(size, dtype=outputs.dtype, device=outputs.device)
        return eye.expand(*outputs.shape[:-1], size, size)


def _one_hot(labels: Tensor, outputs: Tensor) -> Tensor:
    return torch.nn.functional.one_hot(labels, outputs.shape[-1]).to(outputs.dtype)
