"""Why one power step from the identity is nearly enough: the ratios of Morwani et al. 2024, section 3 and Figure 2."""

from dataclasses import dataclass

from kronla.diagnostics.approximations import Kronecker
from kronla.diagnostics.curvature import Curvature, identities
from kronla.diagnostics.methods import optimal_kronecker


@dataclass(frozen=True)
class IdentityRatios:
    r"""What of the rearrangement lies in its first singular pair, as it stands and as the identity sees it.

    .. math:: \hat H = \sum_i \sigma_i\, \mathrm{vec}(U_i)\mathrm{vec}(V_i)^T: \qquad
        \frac{\sigma_1}{\sqrt{\sum_i \sigma_i^2}}, \qquad
        \frac{\alpha_1\sigma_1}{\sqrt{\sum_i \alpha_i^2\sigma_i^2}},
        \quad \alpha_i = \mathrm{Tr} V_i \text{ (left) or } \mathrm{Tr}\, U_i \text{ (right)}
    """

    sigma: float
    """σ₁, the norm of the optimal Kronecker product."""
    kronecker: float
    """σ₁/√Σσᵢ²: the cosine of H and its optimal Kronecker product."""
    left: float
    """The cosine of U₁ and Ĥ(I) = E[GGᵀ], Shampoo's left factor."""
    right: float
    """The same of V₁ and Ĥᵀ(I) = E[GᵀG], its right one."""

    @property
    def energy_beyond(self) -> float:
        """``1 − σ₁²/Σσᵢ²``: the part of ‖H‖_F² that no single Kronecker product holds."""
        return 1.0 - self.kronecker**2


def identity_ratios(H: Curvature, best: Kronecker | None = None) -> IdentityRatios:
    r"""The ratios of Figure 2, with no singular value but the first.

    ``Σσᵢ² = ‖H‖_F²``, and ``Ĥ(I) = Σ σᵢ αᵢ U_i`` has the norm ``√Σαᵢ²σᵢ²`` and the part ``α₁σ₁`` along U₁. So left
    and right are cosines of the optimal factors and of Shampoo's.

    Args:
        H: the curvature.
        best: its optimal Kronecker product, where it is known; None finds it, to convergence.

    Raises:
        RuntimeError: as :func:`optimal_kronecker`, where ``best`` is None.
    """
    if best is None:
        best = optimal_kronecker(H, None)
    sigma = best.norm()
    left, right = H.power_step(*identities(H))
    return IdentityRatios(
        sigma,
        sigma / H.norm(),
        ((best.L * left).sum() / (best.L.norm() * left.norm())).item(),
        ((best.R * right).sum() / (best.R.norm() * right.norm())).item(),
    )
