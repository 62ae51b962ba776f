"""How good a Kronecker preconditioner is for a model's layer: the quantities of two papers, as functions.

Morwani et al. 2024, A New Perspective on Shampoo's Preconditioner (arXiv 2406.17748), and Eschenhagen et al. 2025,
Purifying Shampoo (arXiv 2506.03595). From a model to a figure, and the file of each piece:

1. ``losses``          what a loss gives to curvature: gradients at real or drawn labels, roots of its Hessian;
2. ``layers``          one weight of a model: per-example gradients, activations and what comes back;
3. ``curvature``       Gauss–Newton, Fisher and AdaGrad matrices as operators, and dense ones;
4. ``approximations``  structured matrices: Kronecker products, their sums, diagonals in a basis;
5. ``methods``         which of them optimizers take for a curvature: Shampoo, K-FAC, the optimal one, and others;
6. ``measures``        cosine and relative error, exactly or by probes;
7. ``identity_start``  the ratios that say why Shampoo's start from the identity is good;
8. ``staleness``       how far a running optimizer's bases lag behind its factors;
9. ``full_matrix``     full-matrix Adam, to compare lengths and angles of updates with.

vec is row-major, as everywhere in kronla. Sums are in float64. ``python -m kronla study`` draws the papers' figures.

Example:
    >>> import torch
    >>> layer = Layer(torch.nn.Linear(5, 3), "weight")
    >>> H = gauss_newton(layer, torch.randn(64, 5))
    >>> best, squared = (cosine(H, S) for S in (optimal_kronecker(H), shampoo_squared(H)))
    >>> 0.5 < squared <= best + 1e-9 <= 1 + 1e-8
    True
"""

from kronla.diagnostics.approximations import Approximation, Kronecker, KroneckerSum, Rotated, rescaled
from kronla.diagnostics.curvature import Curvature, Dense, SecondMoment, fisher, gauss_newton, second_moment
from kronla.diagnostics.full_matrix import FullMatrixAdam, update_angle, update_norm
from kronla.diagnostics.identity_start import IdentityRatios, identity_ratios
from kronla.diagnostics.layers import Layer
from kronla.diagnostics.losses import BinaryCrossEntropy, CrossEntropy, Loss, SquaredError
from kronla.diagnostics.measures import (
    Estimate,
    ProbeAccumulator,
    Products,
    cosine,
    estimate_cosine,
    estimate_norm,
    estimate_relative_error,
    probe,
    relative_error,
)
from kronla.diagnostics.methods import (
    diagonal,
    eigenvalue_corrected,
    kfac,
    kronecker_sum,
    optimal_kronecker,
    shampoo,
    shampoo_bases,
    shampoo_squared,
)
from kronla.diagnostics.staleness import BasisTrace, FactorName, factors_of, off_diagonal_ratios

__all__ = [
    "Approximation",
    "BasisTrace",
    "BinaryCrossEntropy",
    "CrossEntropy",
    "Curvature",
    "Dense",
    "Estimate",
    "FactorName",
    "FullMatrixAdam",
    "IdentityRatios",
    "Kronecker",
    "KroneckerSum",
    "Layer",
    "Loss",
    "ProbeAccumulator",
    "Products",
    "Rotated",
    "SecondMoment",
    "SquaredError",
    "cosine",
    "diagonal",
    "eigenvalue_corrected",
    "estimate_cosine",
    "estimate_norm",
    "estimate_relative_error",
    "factors_of",
    "fisher",
    "gauss_newton",
    "identity_ratios",
    "kfac",
    "kronecker_sum",
    "off_diagonal_ratios",
    "optimal_kronecker",
    "probe",
    "relative_error",
    "rescaled",
    "second_moment",
    "shampoo",
    "shampoo_bases",
    "shampoo_squared",
    "update_angle",
    "update_norm",
]
