"""What Eschenhagen et al. 2025 (Purifying Shampoo, arXiv 2506.03595) prove, on random matrices.

C = E[ggᵀ] stands for full-matrix Adam's matrix, L = E[GGᵀ] and R = E[GᵀG] for Shampoo's factors, all of one set of
gradients, so that expectations are means over that set.
"""

import math

import pytest
import torch

import kronla
from kronla import diagnostics as d

f64 = torch.float64
SHAPES = [(3, 4), (6, 2), (1, 5), (5, 5)]


def gradients(shape, count=200):
    m, n = shape
    mixed = torch.randn(m, m, dtype=f64) @ torch.randn(count, m, n, dtype=f64) @ torch.randn(n, n, dtype=f64)
    return mixed * torch.logspace(0, -1, n, dtype=f64)


def power(A, exponent):
    values, Q = torch.linalg.eigh(A)
    return (Q * values**exponent) @ Q.mT


def mean_square(updates):
    return updates.square().sum((-2, -1)).mean().item()


def any_bases(shape):
    return [torch.linalg.qr(torch.randn(k, k, dtype=f64))[0] for k in shape]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("p", [0.5, 1.0])
def test_lemma_1_bounds_of_the_norm_of_an_update(shape, p):
    """With λ and Λ the least and the largest eigenvalue of C, for every G::

        Λ^-p ‖G‖_F ≤ ‖U‖_F ≤ λ^-p ‖G‖_F                          full-matrix Adam, corrected eigenvalues in any basis
        (mn)^-p/2 Λ^-p ‖G‖_F ≤ ‖U‖_F ≤ (mn)^-p/2 λ^-p ‖G‖_F       Shampoo, U = L^-p/2 G R^-p/2

    since L = E[GGᵀ] sums n diagonal blocks of C, and R = E[GᵀG] m of them.
    """
    H = d.second_moment(gradients(shape))
    C, (L, R), size = H.dense(), H.power_step(*(torch.eye(k, dtype=f64) for k in shape)), math.prod(shape)
    values, vectors = torch.linalg.eigh(C)
    low, high = values[-1].item() ** -p, values[0].item() ** -p
    for G in (*torch.randn(20, *shape, dtype=f64), *vectors.mT[[0, -1]].reshape(2, *shape)):
        length = G.norm().item()
        full = (power(C, -p) @ G.flatten()).norm().item()
        assert low * length * (1 - 1e-9) <= full <= high * length * (1 + 1e-9)
        for QL, QR in ((None, None), d.shampoo_bases(H), any_bases(shape)):
            corrected = d.Rotated(H.diagonal(QL, QR) ** -p, QL, QR).matvec(G).norm().item()
            assert low * length * (1 - 1e-9) <= corrected <= high * length * (1 + 1e-9)
        shampoo = (power(L, -p / 2) @ G @ power(R, -p / 2)).norm().item() * size ** (p / 2)
        assert low * length * (1 - 1e-9) <= shampoo <= high * length * (1 + 1e-9)
    # Both ends are reached: along C's own eigenvectors, and by Shampoo where C is a multiple of the identity.
    ends = [(power(C, -p) @ v).norm().item() for v in (vectors[:, -1], vectors[:, 0])]
    assert ends == pytest.approx([low, high], rel=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
def test_lemma_1_shampoo_is_too_short_by_the_fourth_root_of_the_parameters_number(shape):
    """Where C = cI, full-matrix Adam's step is ``c^-½ G``, Shampoo's (mn)^-¼ of it."""
    m, n = shape
    white = 7 * torch.eye(m * n, dtype=f64).reshape(-1, m, n)
    L, R = (white @ white.mT).mean(0), (white.mT @ white).mean(0)
    G = torch.randn(shape, dtype=f64)
    full = (power(d.second_moment(white).dense(), -0.5) @ G.flatten()).reshape(shape)
    torch.testing.assert_close(power(L, -0.25) @ G @ power(R, -0.25), full / (m * n) ** 0.25)


@pytest.mark.parametrize("shape", SHAPES)
def test_in_expectation_full_matrix_adam_adam_and_corrected_shampoo_step_equally_far(shape):
    """``E‖U‖_F² = mn`` for ``U = C^-½ g``, for Adam's diagonal, and for corrected eigenvalues in any basis."""
    G = gradients(shape)
    H, size = d.second_moment(G), math.prod(shape)
    full = (G.flatten(1) @ power(H.dense(), -0.5)).reshape(G.shape)
    assert mean_square(full) == pytest.approx(size, rel=1e-9)
    for QL, QR in ((None, None), d.shampoo_bases(H), any_bases(shape)):
        updates = d.Rotated(H.diagonal(QL, QR) ** -0.5, QL, QR).matvec(G)
        assert mean_square(updates) == pytest.approx(size, rel=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("skewed", [False, True])
def test_in_expectation_shampoos_step_is_shorter(shape, skewed):
    """``1 ≤ E‖L^-¼ G R^-¼‖_F² ≤ √(mn)``: shorter than mn, by what depends on the shape. That is what grafting mends.

    With ``v_ij = E[(Q_LᵀGQ_R)_ij²]``, ``λ_i = Σ_j v_ij``, ``μ_j = Σ_i v_ij`` it is ``Σ v_ij/√(λ_i μ_j)``, between
    ``Σ v_ij/Tr`` and, by Cauchy and Schwarz, ``√(Σ v_ij/λ_i) √(Σ v_ij/μ_j)``.
    """
    G = gradients(shape)
    if skewed:
        G = G * torch.logspace(0, -3, shape[0], dtype=f64).unsqueeze(-1)
    L, R = (G @ G.mT).mean(0), (G.mT @ G).mean(0)
    found = mean_square(power(L, -0.25) @ G @ power(R, -0.25))
    assert 1 - 1e-9 <= found <= math.sqrt(math.prod(shape)) * (1 + 1e-9)


def test_in_expectation_the_bounds_of_shampoos_step_are_reached():
    unit = torch.zeros(1, 3, 4, dtype=f64)
    unit[0, 0, 0] = 5.0
    assert mean_square(pseudo(unit, -0.25)) == pytest.approx(1)
    white = 7 * torch.eye(12, dtype=f64).reshape(12, 3, 4)
    assert mean_square(pseudo(white, -0.25)) == pytest.approx(math.sqrt(12))


def pseudo(G, exponent):
    def root(A):
        values, Q = torch.linalg.eigh(A)
        return (Q * torch.where(values > 1e-12, values.clamp_min(1e-12) ** exponent, 0.0)) @ Q.mT

    return root((G @ G.mT).mean(0)) @ G @ root((G.mT @ G).mean(0))


@pytest.mark.parametrize("shape", SHAPES)
def test_corrected_eigenvalues_are_the_nearest_for_a_fixed_basis(shape):
    """The gradient of ``‖C − Q diag(D) Qᵀ‖_F²`` vanishes at D = E[(Q_LᵀGQ_R)²], and every other D is further away."""
    G = gradients(shape)
    H = d.second_moment(G)
    dense = d.Dense(H.dense(), *shape)
    for QL, QR in (d.shampoo_bases(H), any_bases(shape)):
        best = d.eigenvalue_corrected(H, QL, QR)
        torch.testing.assert_close(best.D, (QL.mT @ G @ QR).square().mean(0))
        error = d.relative_error(dense, best)
        for size in (1e-3, 1.0):
            other = d.Rotated(best.D + size * best.D.mean() * torch.randn(shape, dtype=f64), QL, QR)
            assert d.relative_error(dense, other) > error
        D = best.D.clone().requires_grad_()
        (dense.H - d.Rotated(D, QL, QR).dense()).square().sum().backward()
        assert D.grad.abs().max() < 1e-9 * dense.norm()


@pytest.mark.parametrize("shape", SHAPES)
def test_corrected_eigenvalues_beat_shampoos_and_any_scale_of_them(shape):
    """In Shampoo's own basis: eigenvalues ``√(λ_i μ_j)`` (Shampoo) and ``λ_i μ_j/Tr`` (Shampoo²), and grafting's
    best scalar on top, are all further from C."""
    H = d.second_moment(gradients(shape))
    error = d.relative_error(H, d.eigenvalue_corrected(H, *d.shampoo_bases(H)))
    for S in (d.shampoo(H), d.shampoo_squared(H)):
        assert error <= d.relative_error(H, d.rescaled(H, S)) + 1e-12 <= d.relative_error(H, S) + 2e-12


def drifted(size, drift):
    A = torch.randn(size, 2 * size, dtype=f64)
    B = A + drift * torch.randn(size, 2 * size, dtype=f64)
    return A @ A.mT, B @ B.mT


@pytest.mark.parametrize("drift", [0.01, 0.3])
def test_the_criterion_is_the_error_of_the_factor(drift):
    """``‖offdiag(QᵀAQ)‖_F/‖A‖_F = ‖A − Q diag(QᵀAQ) Qᵀ‖_F/‖A‖_F``, and no other eigenvalues do better."""
    old, A = drifted(12, drift)
    Q = kronla.eigh(old).Q
    ratio = kronla.off_diagonal_ratio(A, Q).item()
    values = (Q.mT @ A @ Q).diagonal()
    assert ((A - (Q * values) @ Q.mT).norm() / A.norm()).item() == pytest.approx(ratio, rel=1e-9)
    stale = torch.linalg.eigvalsh(old)
    assert ((A - (Q * stale) @ Q.mT).norm() / A.norm()).item() > ratio


@pytest.mark.parametrize("drift", [0.01, 0.3])
def test_the_error_of_the_product_follows_from_the_factors(drift):
    """``1 − (1 − τ_L²)(1 − τ_R²)`` is the squared relative error of ``L ⊗ R`` in stale bases: at most τ_L² + τ_R²."""
    pairs = [drifted(size, drift) for size in (4, 6)]
    bases = [kronla.eigh(old).Q for old, _ in pairs]
    L, R = (A for _, A in pairs)
    tau_L, tau_R = (kronla.off_diagonal_ratio(A, Q).item() for (_, A), Q in zip(pairs, bases, strict=True))
    H = d.Dense(torch.kron(L, R), 4, 6)
    error = d.relative_error(H, d.eigenvalue_corrected(H, *bases))
    assert error**2 == pytest.approx(1 - (1 - tau_L**2) * (1 - tau_R**2), rel=1e-9)


def test_full_matrix_adam_is_adam_where_gradients_are_diagonal():
    """Gradients along one coordinate each: C is diagonal, and the update is Adam's; also its first step is g/‖g‖."""
    full = d.FullMatrixAdam((2, 3), (0.9, 0.99), 1e-6)
    M = V = torch.zeros(2, 3, dtype=f64)
    for t in range(1, 13):
        G = torch.zeros(2, 3, dtype=f64)
        G[t % 2, t % 3] = torch.randn((), dtype=f64)
        M, V = 0.9 * M + 0.1 * G, 0.99 * V + 0.01 * G**2
        adam = (M / (1 - 0.9**t)) / ((V / (1 - 0.99**t)).sqrt() + 1e-6)
        full.add(G)
        torch.testing.assert_close(full.direction(), adam, rtol=1e-8, atol=1e-10)
    G = torch.randn(2, 3, dtype=f64)
    first = d.FullMatrixAdam((2, 3), eps=0.0)
    with pytest.raises(RuntimeError, match="call add first"):
        first.direction()
    first.add(G)
    torch.testing.assert_close(first.direction(), G / G.norm())


def test_update_norm_and_angle():
    u, v = torch.tensor([[3.0, 0.0], [0.0, 0.0]]), torch.tensor([[0.0, 4.0], [0.0, 0.0]])
    assert d.update_norm(u, v) == pytest.approx(0.75)
    assert d.update_angle(u, v) == pytest.approx(90)
    assert d.update_angle(u, -u) == pytest.approx(180)
    assert d.update_angle(u, 2 * u) == 0
    assert d.update_angle(u, u + 1e-9 * v.double()) == pytest.approx(math.degrees(4e-9 / 3), rel=1e-6)
