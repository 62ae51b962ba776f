"""How near an approximation is to a curvature matrix: exactly, or by random probes with the error of the estimate."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from kronla.diagnostics.approximations import Approximation
from kronla.diagnostics.curvature import Curvature


def cosine(H: Curvature, S: Approximation) -> float:
    """``⟨H, S⟩ / (‖H‖_F ‖S‖_F)``, exactly; 0 where either is 0 (the measure of Morwani et al. 2024, Figures 1 to 4).

    Args:
        H: the curvature, of order mn.
        S: what stands for it, of the same m and n. No scale of either matters.

    Returns:
        A float, of float64 sums.

    Cost: what ``S.inner(H)`` and ``H.norm()`` cost; nothing of order mn is made unless H holds it.
    """
    norms = H.norm() * S.norm()
    return S.inner(H) / norms if norms > 0 else 0.0


def relative_error(H: Curvature, S: Approximation) -> float:
    """``‖H − S‖_F / ‖H‖_F``, exactly and without cancellation, from the dense matrices: for small layers.

    Of S as it stands; that of its best multiple (:func:`rescaled`) is ``sqrt(1 − cosine²)``. NaN for H = 0.
    """
    dense = H.dense()
    return ((dense - S.dense()).norm() / dense.norm()).item()


@dataclass(frozen=True)
class Estimate:
    """A figure from random probes."""

    value: float
    standard_error: float
    """Of the value, by the jackknife over probes."""


@dataclass(frozen=True)
class Products:
    """Standard normal probes ``V [k, m, n]`` and what H makes of them, so that one pass serves many questions.

    H may be gone: AdaGrad's matrix of a training needs one accumulator a probe, ``HV ← HV + ⟨G_t, V⟩ G_t``
    (:class:`ProbeAccumulator`).
    """

    V: Tensor
    HV: Tensor


def probe(H: Curvature, count: int, generator: torch.Generator | None = None) -> Products:
    """``count`` standard normal probes of an operator, and its products with them, in one pass.

    Args:
        H: the curvature.
        count: at least two, for the standard error.
        generator: on the CPU; None takes torch's own.

    Raises:
        ValueError: a smaller count.
    """
    V = _normal(count, H.shape, generator).to(H.like)
    return Products(V, H.matvec(V))


class ProbeAccumulator:
    """``H v = Σ_t ⟨G_t, v⟩ G_t`` for fixed probes v while a training runs: AdaGrad's matrix, never stored.

    Args:
        count: number of probes, at least two.
        shape: m and n.
        generator: for the probes.

    Raises:
        ValueError: a smaller count.
    """

    def __init__(self, count: int, shape: tuple[int, int], generator: torch.Generator | None = None) -> None:
        V = _normal(count, shape, generator)
        self.products = Products(V, torch.zeros_like(V))

    def add(self, G: Tensor) -> None:
        """Take in one step's gradient ``[m, n]``."""
        V = self.products.V
        g = G.detach().to(V)
        self.products.HV.add_((V * g).sum((-2, -1)).reshape(-1, 1, 1) * g)


def estimate_norm(products: Products) -> Estimate:
    """``‖H‖_F = sqrt(E‖Hv‖²)``."""
    a = _squares(products.HV)
    return _jackknife(lambda mean: math.sqrt(mean[0]), torch.stack([a], -1))


def estimate_cosine(products: Products, S: Approximation) -> Estimate:
    r"""The cosine of H and S from probes.

    .. math:: \cos = 1 - \tfrac12 \mathbb E\,\Bigl\|\frac{Hv}{\|H\|_F} - \frac{Sv}{\|S\|_F}\Bigr\|^2

    with ‖S‖_F exact and ``‖H‖_F² = E‖Hv‖²`` from the same probes: near 1 the two sides vary together, and the estimate
    is sharper than that of ``⟨Hv, Sv⟩``. The bias is of the order of the squared standard error.
    """
    s = S.norm()
    SV = S.matvec(products.V)
    columns = torch.stack([_squares(products.HV), (products.HV * SV).sum((-2, -1)), _squares(SV)], -1)

    def value(mean: list[float]) -> float:
        hh, hs, ss = mean
        h = math.sqrt(hh)
        return hs / (h * s) + (1 - ss / s**2) / 2 if h > 0 and s > 0 else 0.0

    return _jackknife(value, columns)


def estimate_relative_error(products: Products, S: Approximation) -> Estimate:
    """``‖H − S‖_F / ‖H‖_F = sqrt(E‖(H − S)v‖² / E‖Hv‖²)``."""
    columns = torch.stack([_squares(products.HV - S.matvec(products.V)), _squares(products.HV)], -1)
    return _jackknife(lambda mean: math.sqrt(mean[0] / mean[1]), columns)


def _normal(count: int, shape: tuple[int, int], generator: torch.Generator | None) -> Tensor:
    if count < 2:
        raise ValueError(f"count must be a whole number ≥ 2, but is {count}.")
    return torch.randn(count, *shape, generator=generator, dtype=torch.float64)


def _squares(A: Tensor) -> Tensor:
    return A.double().square().sum((-2, -1))


def _jackknife(value: Callable[[list[float]], float], columns: Tensor) -> Estimate:
    """The value at the columns' means, and its standard error from leaving out one row at a time (Tukey 1958)."""
    count = len(columns)
    total = columns.sum(0)
    left_out = torch.tensor([value(((total - row) / (count - 1)).tolist()) for row in columns], dtype=torch.float64)
    error = math.sqrt((count - 1) * (left_out - left_out.mean()).square().mean().item())
    return Estimate(value((total / count).tolist()), error)
