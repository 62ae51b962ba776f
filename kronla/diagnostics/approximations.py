"""Structured matrices in the place of a curvature matrix: what they are, act as, and have in common with it."""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from kronla.diagnostics.curvature import Curvature


class Approximation(Protocol):
    """A structured symmetric matrix S of order mn."""

    def matvec(self, V: Tensor) -> Tensor:
        """``mat(S vec(V))`` for V ``[..., m, n]``."""
        ...

    def dense(self) -> Tensor:
        """S itself, ``[mn, mn]``."""
        ...

    def norm(self) -> float:
        """``‖S‖_F``, from the structure."""
        ...

    def inner(self, H: Curvature) -> float:
        """``⟨H, S⟩ = Tr(HᵀS)``, from the structure: no matrix of order mn is made where H makes none."""
        ...


@dataclass(frozen=True)
class Kronecker:
    """``torch.kron(L, R)``: ``mat(S vec(V)) = L V Rᵀ``.

    Args:
        L, R: ``[m, m]`` and ``[n, n]``, of any norm and one dtype, float32 or float64.
    """

    L: Tensor
    R: Tensor

    def matvec(self, V: Tensor) -> Tensor:
        return self.L @ V.to(self.L.dtype) @ self.R.mT

    def dense(self) -> Tensor:
        return torch.kron(self.L, self.R)

    def norm(self) -> float:
        return self.L.norm(dtype=torch.float64).item() * self.R.norm(dtype=torch.float64).item()

    def inner(self, H: Curvature) -> float:
        return (self.L.double() * H.left(self.R).double()).sum().item()

    def scaled(self, factor: float) -> "Kronecker":
        """``factor · torch.kron(L, R)``."""
        return Kronecker(factor * self.L, self.R)


@dataclass(frozen=True)
class KroneckerSum:
    """``Σ_i torch.kron(L_i, R_i)``, of factors ``L [r, m, m]`` and ``R [r, n, n]``; ``sigma [r]``: the terms' norms.

    The terms are orthogonal to each other, as those of a singular value decomposition of the rearrangement are.
    """

    L: Tensor
    R: Tensor
    sigma: Tensor

    def matvec(self, V: Tensor) -> Tensor:
        return (self.L @ V.to(self.L.dtype).unsqueeze(-3) @ self.R.mT).sum(-3)

    def dense(self) -> Tensor:
        return torch.stack([torch.kron(L, R) for L, R in zip(self.L, self.R, strict=True)]).sum(0)

    def norm(self) -> float:
        return self.sigma.norm(dtype=torch.float64).item()

    def inner(self, H: Curvature) -> float:
        return (self.L.double() * H.left(self.R).double()).sum().item()


@dataclass(frozen=True)
class Rotated:
    """``(Q_L⊗Q_R) diag(D) (Q_L⊗Q_R)ᵀ`` with D ``[m, n]``: ``mat(S vec(V)) = Q_L (D ∘ Q_LᵀVQ_R) Q_Rᵀ``.

    Args:
        D: ``[m, n]``, float32 or float64: the eigenvalues.
        QL, QR: orthogonal, ``[m, m]`` and ``[n, n]``, of D's dtype; None means the identity, and both None a diagonal
            matrix.
    """

    D: Tensor
    QL: Tensor | None = None
    QR: Tensor | None = None

    def matvec(self, V: Tensor) -> Tensor:
        V = V.to(self.D.dtype)
        V = V if self.QL is None else self.QL.mT @ V
        V = self.D * (V if self.QR is None else V @ self.QR)
        V = V if self.QL is None else self.QL @ V
        return V if self.QR is None else V @ self.QR.mT

    def dense(self) -> Tensor:
        eyes = torch.eye(self.D.numel(), dtype=self.D.dtype, device=self.D.device)
        return self.matvec(eyes.unflatten(-1, self.D.shape)).flatten(-2)

    def norm(self) -> float:
        return self.D.norm(dtype=torch.float64).item()

    def inner(self, H: Curvature) -> float:
        return (self.D.double() * H.diagonal(self.QL, self.QR).double()).sum().item()


def rescaled(H: Curvature, S: Kronecker) -> Kronecker:
    r"""``cS`` with the c that is nearest to H: ``c = ⟨H, S⟩/‖S‖_F²``; its relative error is ``sqrt(1 − cosine²)``.

    c is 0 where S is 0 or not finite.
    """
    norm = S.norm()
    return S.scaled(S.inner(H) / norm**2 if norm > 0 and math.isfinite(norm) else 0.0)
