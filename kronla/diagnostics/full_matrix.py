"""Full-matrix Adam, the yardstick of Purifying Shampoo: dense, for small parameters, and how updates differ from it."""

import math

import torch
from torch import Tensor

import kronla


class FullMatrixAdam:
    r"""Adam with the whole second moment of the gradient in the place of its diagonal.

    .. math:: C \leftarrow \beta_2 C + (1-\beta_2)\, g g^T, \quad m \leftarrow \beta_1 m + (1-\beta_1)\, g, \qquad
        u = (\hat C^{1/2} + \varepsilon I)^{-1}\, \hat m, \quad g = \mathrm{vec}(G)

    with ``m̂ = m/(1−β₁ᵗ)`` and ``Ĉ = C/(1−β₂ᵗ)``, the starts at zero taken out. Directions in which Ĉ is zero but for
    rounding take no part: no gradient has gone there, so that u is short before the gradients span the space.
    (Eschenhagen et al. 2025, Purifying Shampoo.)

    Args:
        shape: of the parameter; C has numel² elements, in float64.
        betas, eps: as Adam's.

    Example:
        >>> full = FullMatrixAdam((2, 2), eps=0.0)
        >>> full.add(torch.tensor([[3.0, 0.0], [0.0, 4.0]]))
        >>> full.direction()  # after one gradient G/‖G‖
        tensor([[0.6000, 0.0000],
                [0.0000, 0.8000]], dtype=torch.float64)
    """

    def __init__(self, shape: tuple[int, ...], betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8) -> None:
        size = math.prod(shape)
        self.betas = betas
        self.eps = eps
        self.steps = 0
        self.momentum = torch.zeros(shape, dtype=torch.float64)
        self.covariance = torch.zeros(size, size, dtype=torch.float64)

    def add(self, G: Tensor) -> None:
        """Take in one gradient, of the parameter's shape and any floating dtype."""
        beta1, beta2 = self.betas
        g = G.detach().to(self.momentum)
        self.steps += 1
        self.momentum.lerp_(g, 1 - beta1)
        self.covariance.mul_(beta2).addr_(g.flatten(), g.flatten(), alpha=1 - beta2)

    def direction(self) -> Tensor:
        """u after the gradients so far, float64, of the parameter's shape: the step that is multiplied by −lr.

        Raises:
            RuntimeError: no gradient has been added.
        """
        if self.steps == 0:
            raise RuntimeError("direction needs a gradient: call add first.")
        beta1, beta2 = self.betas
        basis = kronla.eigh(self.covariance / (1 - beta2**self.steps))
        values = basis.eigenvalues
        noise = len(values) * torch.finfo(values.dtype).eps * values.max().clamp_min(0)
        scale = torch.where(values > noise, 1 / (values.clamp_min(0).sqrt() + self.eps), 0.0)
        m = (self.momentum / (1 - beta1**self.steps)).flatten()
        return (basis.Q @ (scale * (basis.Q.mT @ m))).reshape(self.momentum.shape)


def update_norm(update: Tensor, reference: Tensor) -> float:
    """``‖update‖_F / ‖reference‖_F``: 1 where a preconditioner steps as far as full-matrix Adam.

    Args:
        update, reference: of one shape, any floating dtype; sums are in float64. inf or NaN for a reference of 0.
    """
    return (update.double().norm() / reference.double().norm()).item()


def update_angle(update: Tensor, reference: Tensor) -> float:
    """The angle between two updates in degrees: 0 where they point the same way.

    From ``2 atan2(‖u − v‖, ‖u + v‖)`` of the unit vectors (Kahan), which is accurate at small angles too.

    Args:
        update, reference: as for :func:`update_norm`; NaN where either is 0.
    """
    u, v = (x.double().flatten() / x.double().norm() for x in (update, reference))
    return math.degrees(2 * math.atan2((u - v).norm().item(), (u + v).norm().item()))
