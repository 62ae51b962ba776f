"""The approximations that optimizers make of a layer's curvature: from H to one structured matrix each."""

import torch
from torch import Tensor

import kronla
from kronla.diagnostics.approximations import Kronecker, KroneckerSum, Rotated
from kronla.diagnostics.curvature import Curvature, identities
from kronla.diagnostics.layers import Layer

# Where power steps to convergence end: the change of the normalised pair, and a number of steps that is never reached
# unless the two largest singular values of the rearrangement are equal to some 1e-4.
_SETTLED = 1e-10
_MOST_STEPS = 2000


def optimal_kronecker(H: Curvature, steps: int | None = 5) -> Kronecker:
    r"""The Frobenius-nearest Kronecker product, by power steps on the rearrangement from (I, I).

    .. math:: L \leftarrow \hat H(R)/\|\hat H(R)\|_F, \quad R \leftarrow \hat H^T(L)/\|\hat H^T(L)\|_F, \quad
        S = \langle L, \hat H(R)\rangle\; L \otimes R

    Both from the last pair (Morwani et al. 2024, section 3, whose 'optimal' is five rounds; Van Loan and Pitsianis
    1993). As :func:`kronla.nearest_kronecker`, but of operators too.

    Args:
        H: the curvature.
        steps: power steps; None until neither factor moves by more than 1e-10 (2e-6 in float32).

    Returns:
        float64 factors, or H's dtype where it is dense. L has unit norm, R carries the singular value.

    Raises:
        ValueError: negative ``steps``.
        RuntimeError: ``steps=None`` and 2000 steps were not enough.

    Example:
        >>> from kronla.diagnostics import Dense
        >>> S = optimal_kronecker(Dense(torch.kron(torch.eye(2), torch.eye(3)), 2, 3))
        >>> torch.allclose(S.dense(), torch.eye(6))
        True
    """
    if steps is not None and steps < 0:
        raise ValueError(f"steps must be None or a whole number ≥ 0, but is {steps}.")
    L, R = (_unit(eye) for eye in identities(H))
    settled = max(_SETTLED, 16 * torch.finfo(L.dtype).eps)
    for step in range(_MOST_STEPS if steps is None else steps):
        old_L, old_R = L, R
        L, R = (_unit(factor) for factor in H.power_step(L, R))
        if steps is None:
            moved = max((L - old_L).norm().item(), (R - old_R).norm().item())
            if moved <= settled:
                break
            if step == _MOST_STEPS - 1:
                raise RuntimeError(f"The power steps still moved by {moved:.1e} after {_MOST_STEPS} steps.")
    sigma = (L * H.left(R)).sum()
    return Kronecker(L, sigma * R)


def shampoo_squared(H: Curvature) -> Kronecker:
    r"""Shampoo²: one power step from the identity, with the scale that is exact where the rearrangement has rank 1.

    .. math:: S = \frac{\mathbb E[GG^T] \otimes \mathbb E[G^TG]}{\mathrm{Tr}\, \mathbb E[GG^T]}

    (Morwani et al. 2024, section 3, Proposition 2.) For H = 0 it is NaN.

    Args:
        H: the curvature.

    Returns:
        ``L = E[GGᵀ]/Tr`` and ``R = E[GᵀG]``, float64, or H's dtype where it is dense.
    """
    L, R = H.power_step(*identities(H))
    return Kronecker(L / L.trace(), R)


def shampoo(H: Curvature) -> Kronecker:
    r"""What Shampoo takes for H: ``S = E[GGᵀ]^½ ⊗ E[GᵀG]^½`` (Gupta, Koren and Singer 2018, Algorithm 1).

    Its update ``L^-¼ G R^-¼`` is ``S^-½ vec(G)``. Roots through :func:`kronla.eigh`, negative rounding set to zero.
    It is in the unit of H, √(mn) I for H = I; cosines do not see that (:func:`rescaled` mends it for relative errors).

    Args:
        H: the curvature.

    Returns:
        Factors of the dtypes of :func:`shampoo_squared`.
    """
    L, R = H.power_step(*identities(H))
    return Kronecker(_square_root(L), _square_root(R))


def kfac(layer: Layer, inputs: Tensor, *, mode: str = "expand") -> Kronecker:
    r"""K-FAC's product for the Gauss–Newton matrix of a layer whose weight is shared by T places.

    With activations a and gradients b of the layer's outputs for labels y ~ p(·|x), ``G = Σ_t b_t a_tᵀ``::

        expand   S = E_x Σ_t E_y[b_t b_tᵀ] ⊗ (1/T) E_x Σ_t a_t a_tᵀ
        reduce   S = E_x E_y[b̄ b̄ᵀ] ⊗ E_x[ā āᵀ],   b̄ = Σ_t b_t,  ā = (1/T) Σ_t a_t

    (Eschenhagen et al. 2023, Kronecker-Factored Approximate Curvature for Modern Neural Network Architectures; Martens
    and Grosse 2015 for T = 1, where both are the same.) Labels are summed over, not drawn.

    Args:
        layer: the weight of a Linear or a Conv2d.
        inputs: ``[N, ...]``.
        mode: "expand" or "reduce".

    Returns:
        Factors in float64; as :func:`gauss_newton`, of a mean over examples.

    Raises:
        ValueError: another mode, or a layer without signals (:meth:`Layer.signals`).
    """
    if mode not in ("expand", "reduce"):
        raise ValueError(f'mode must be "expand" or "reduce", but is {mode!r}.')
    a, b = layer.signals(inputs, layer.loss.roots(layer.outputs(inputs)))
    a, b = a.double(), b.double()
    count, places = a.shape[:2]
    if mode == "reduce":
        a, b = a.mean(1, keepdim=True), b.sum(2, keepdim=True)
        places = 1
    a, b = a.flatten(0, -2), b.flatten(0, -2)
    return Kronecker(b.mT @ b / count, a.mT @ a / (count * places))


def diagonal(H: Curvature) -> Rotated:
    """``diag(H) = E[G∘G]``, the nearest diagonal matrix: what Adam keeps of the curvature."""
    return Rotated(H.diagonal())


def eigenvalue_corrected(H: Curvature, QL: Tensor, QR: Tensor) -> Rotated:
    r"""The nearest matrix to H with eigenvectors ``Q_L ⊗ Q_R``.

    .. math:: S = (Q_L \otimes Q_R)\, \mathrm{diag}(D)\, (Q_L \otimes Q_R)^T, \qquad
        D = \mathbb E[(Q_L^T G\, Q_R)^{\circ 2}]

    D is optimal in the Frobenius norm for any fixed basis: in it S keeps the diagonal of H (George et al. 2018, EKFAC;
    Eschenhagen et al. 2025, Purifying Shampoo: EShampoo and SOAP).

    Args:
        H: the curvature.
        QL, QR: orthogonal, ``[m, m]`` and ``[n, n]``.
    """
    D = H.diagonal(QL, QR)
    return Rotated(D, QL.to(D.dtype), QR.to(D.dtype))


def shampoo_bases(H: Curvature) -> tuple[Tensor, Tensor]:
    """The eigenbases of Shampoo's factors ``E[GGᵀ]`` and ``E[GᵀG]``, for :func:`eigenvalue_corrected`."""
    L, R = H.power_step(*identities(H))
    return kronla.eigh(L).Q, kronla.eigh(R).Q


def kronecker_sum(
    H: Curvature, rank: int, *, steps: int = 20, generator: torch.Generator | None = None
) -> KroneckerSum:
    r"""The nearest sum of ``rank`` Kronecker products: the truncated SVD of the rearrangement, by block power steps.

    .. math:: S = \sum_{i \le r} \sigma_i\, U_i \otimes V_i, \qquad \hat H = \sum_i \sigma_i\,
        \mathrm{vec}(U_i)\mathrm{vec}(V_i)^T

    (Van Loan and Pitsianis 1993.) The first term is PSD where H is, the later ones are not; some are skew.

    Args:
        H: the curvature.
        rank: number of terms, at most ``min(m², n²)``.
        steps: block power steps, each one application of Ĥ and one of its transpose.
        generator: for the start, on the CPU; the start's first element is the identity.

    Returns:
        Terms by falling ``sigma``; ``L_i`` has unit norm. Their sum is symmetric as far as the steps have converged.

    Raises:
        ValueError: a rank or a number of steps that is out of range.
    """
    m, n = H.shape
    if not 1 <= rank <= min(m * m, n * n):
        raise ValueError(f"rank must be between 1 and min(m², n²) = {min(m * m, n * n)}, but is {rank}.")
    if steps < 1:
        raise ValueError(f"steps must be a whole number ≥ 1, but is {steps}.")
    V = torch.randn(rank, n, n, generator=generator, dtype=torch.float64).to(H.like)
    V[0] = identities(H)[1]
    U, W = H.like.new_zeros(rank, m, m), V
    for _ in range(steps):
        U = _orthonormal(H.left(_orthonormal(W)))
        W = H.right(U)
    # Ĥᵀ U = W; the small SVD of W turns the subspaces into singular vectors.
    A, sigma, Bt = torch.linalg.svd(W.flatten(1), full_matrices=False)
    L = torch.einsum("ki,kab->iab", A, U)
    return KroneckerSum(L, (sigma.unsqueeze(-1) * Bt).unflatten(-1, (n, n)), sigma)


def _unit(A: Tensor) -> Tensor:
    return A / A.norm().clamp_min(torch.finfo(A.dtype).tiny)


def _square_root(A: Tensor) -> Tensor:
    basis = kronla.eigh(A)
    return (basis.Q * basis.eigenvalues.clamp_min(0).sqrt().unsqueeze(-2)) @ basis.Q.mT


def _orthonormal(A: Tensor) -> Tensor:
    """Orthonormal matrices with the span of A's, ``[r, k, k]``."""
    return torch.linalg.qr(A.flatten(1).mT)[0].mT.reshape(A.shape)
