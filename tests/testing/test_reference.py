"""The references against cases small enough for a hand, and against torch.kron."""

import math
from fractions import Fraction

import pytest
import torch

from kronla.testing import matrices, reference


def tensor(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def close(actual, expected, tolerance=1e-12):
    expected = torch.as_tensor(expected, dtype=torch.float64)
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max().item() <= tolerance


G = tensor([1, 2], [3, 4])


def test_factors_by_hand():
    L, R = torch.eye(2).double(), torch.eye(2).double()
    reference.update_factors_(L, R, G, beta=0.5, alpha=2)
    close(L, tensor([10.5, 22], [22, 50.5]))
    close(R, tensor([20.5, 28], [28, 40.5]))


def test_factors_default_alpha_and_beta_zero_reads_nothing():
    L, R = torch.full((2, 2), math.nan), torch.eye(2)
    reference.update_factors_(L, None, G, beta=0)
    reference.update_factors_(None, R, G, beta=0.75)
    close(L.double(), tensor([5, 11], [11, 25]))
    close(R.double(), tensor([0.75 + 2.5, 3.5], [3.5, 0.75 + 5]))


def test_weighted_factors_by_hand():
    """Each side is weighted with the other side's factor: WR = e₁e₁ᵀ leaves G's first column."""
    L, R = torch.zeros(2, 2).double(), torch.zeros(2, 2).double()
    reference.update_factors_(L, R, G, beta=1, alpha=1, weights=(tensor([0, 0], [0, 1]), tensor([1, 0], [0, 0])))
    close(L, tensor([1, 3], [3, 9]))
    close(R, tensor([9, 12], [12, 16]))


def test_mode_factors():
    vector = torch.zeros(2, 2).double()
    reference.update_mode_factors_([vector], tensor(1, 2), beta=0)
    close(vector, tensor([1, 2], [2, 4]))
    T = matrices.gradients(5, 2, 3, 4, dtype=torch.float64)
    factors = [torch.zeros(5, d, d).double() for d in (2, 3, 4)]
    reference.update_mode_factors_(factors, T, beta=0.5, alpha=1)
    close(factors[0], torch.einsum("bijk,bajk->bia", T, T))
    close(factors[1], torch.einsum("bijk,biak->bja", T, T))
    close(factors[2], torch.einsum("bijk,bija->bka", T, T))


def test_kron_power_step_is_a_mean():
    L, R = reference.kron_power_step(torch.stack([G, 0 * G]), tensor([0, 0], [0, 2]), tensor([2, 0], [0, 0]))
    close(L, tensor([1, 3], [3, 9]))
    close(R, tensor([9, 12], [12, 16]))


@pytest.mark.parametrize(
    ("A", "p", "X"),
    [
        (tensor([5, 4], [4, 5]), 2, tensor([2, -1], [-1, 2]) / 3),
        (tensor([16, 0], [0, 81]), 4, tensor([3, 0], [0, 2]) / 6),
        (tensor([16, 0], [0, 1]), Fraction(4, 3), tensor([0.125, 0], [0, 1])),
        (tensor([4, 0], [0, 1]), 0.5, tensor([0.0625, 0], [0, 1])),
        (tensor([5, 4], [4, 5]), 1, tensor([5, -4], [-4, 5]) / 9),
    ],
)
def test_inverse_root_by_hand(A, p, X):
    found = reference.inverse_root(A, p)
    close(found.X, X)
    assert found.info.item() == 0
    assert found.residual.item() < 1e-14


def test_inverse_root_damping():
    """‖diag(3, 4)‖_F = 5."""
    close(
        reference.inverse_root(tensor([3, 0], [0, 4]), 1, damping=1, relative_damping=0.2).X,
        tensor([0.2, 0], [0, 1 / 6]),
    )


def test_inverse_root_info():
    bad = math.nan * torch.ones(2, 2)
    A = torch.stack([torch.eye(2), torch.ones(2, 2), tensor([1, 2], [2, 1]), bad, 0 * bad.nan_to_num()]).double()
    found = reference.inverse_root(A, 2)
    assert found.info.tolist() == [0, 2, 2, 3, 2]
    assert found.X.isnan().all((-2, -1)).tolist() == found.residual.isnan().tolist() == [False, True, True, True, True]
    kept = reference.inverse_root(A, 2, fallback=torch.full((5, 2, 2), 7.0))
    close(kept.X[1:], torch.full((4, 2, 2), 7.0))
    close(kept.X[0], torch.eye(2))
    assert reference.inverse_root(tensor([1, 0.5], [0.5, 1]), 3, rtol=0.0).info.item() == 1


def test_ratio_by_hand():
    close(reference.off_diagonal_ratio(tensor([3, 4], [4, 3]), torch.eye(2)), 0.8)
    close(reference.off_diagonal_ratio(torch.zeros(2, 2), torch.eye(2)), 0)


def test_eigenbasis_steps_by_hand():
    """A = [[2, 1], [1, 2]] from the identity, whose Rayleigh quotients are equal."""
    A, identity = tensor([2, 1], [1, 2]), torch.eye(2)
    half = 0.5**0.5
    exact = reference.update_eigenbasis(A, identity, method="eigh")
    close(exact.Q, tensor([half, -half], [half, half]))
    close(exact.eigenvalues, [3, 1])
    qr = reference.update_eigenbasis(A, identity, method="qr")
    close(qr.Q, tensor([2, -1], [1, 2]) / 5**0.5)
    close(qr.eigenvalues, [2.8, 1.2])
    rotation = reference.update_eigenbasis(A, identity, method="rotation")  # T_12 = 1/(2 + 1/2)
    close(rotation.Q, tensor([1, 0.4], [-0.4, 1]) / 1.16**0.5)
    assert [x.steps.item() for x in (exact, qr, rotation)] == [1, 1, 1]


def test_eigenbasis_keeps_order_and_signs():
    A = tensor([1, 0.1], [0.1, 5])
    Q = tensor([-1, 0], [0, 1])  # ascending, the first column turned
    for method in ("qr", "eigh", "rotation"):
        found = reference.update_eigenbasis(A, Q, method=method)
        assert found.ratio.item() < reference.off_diagonal_ratio(A, Q).item()
        assert found.eigenvalues[0] < found.eigenvalues[1]
        assert ((found.Q * Q).sum(0) > 0.9).all()


def test_eigenbasis_tol_and_info():
    A = torch.stack([tensor([3, 4], [4, 3]), tensor([3, 0], [0, 4]), tensor([math.inf, 0], [0, 1])])
    Q = torch.eye(2).double().repeat(3, 1, 1)
    found = reference.update_eigenbasis(A, Q, tol=0.5, max_steps=0)
    assert found.info.tolist() == [1, 0, 3]
    assert found.steps.tolist() == [0, 0, 0]
    close(found.Q, Q)
    found = reference.update_eigenbasis(A, Q, tol=0.5, max_steps=3, method="eigh")
    assert found.info.tolist() == [0, 0, 3]
    assert found.steps.tolist() == [1, 0, 0]
    assert found.ratio[2].isnan()


def test_eigh_and_orthonormalize_by_hand():
    found = reference.eigh(tensor([2, 1], [1, 2]))
    close(found.eigenvalues, [1, 3])
    close(found.Q[:, 1].abs(), [0.5**0.5] * 2)
    Q, info = reference.orthonormalize(tensor([-3, 1], [4, 7]))
    close(Q, tensor([-0.6, 0.8], [0.8, 0.6]))
    assert info.item() == 0
    Q, info = reference.orthonormalize(tensor([3, 6], [4, 8]))
    close(Q.mT @ Q, torch.eye(2))
    assert info.item() == 2


def test_rearrange_by_hand():
    H = torch.arange(16.0).view(4, 4)
    close(reference.rearrange(H, 2, 2), tensor([0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]))


def test_kronecker_identities():
    L, R = matrices.gradients(2, 2, dtype=torch.float64), matrices.gradients(3, 3, dtype=torch.float64, seed=1)
    H = torch.kron(L, R)
    M = reference.rearrange(H, 2, 3)
    close(M, L.flatten()[:, None] * R.flatten())
    close(reference.unrearrange(M, 2, 3), H)
    close(reference.rearranged_matvec(H, R), L * R.square().sum())
    close(reference.rearranged_rmatvec(H, L), R * L.square().sum())
    X = matrices.gradients(2, 3, dtype=torch.float64, seed=2)
    close(H @ X.flatten(), reference.kron_apply(L, X, R.mT).flatten())
    close(reference.mode_apply([L, R], X), L @ X @ R.mT)


def test_mode_apply_is_the_kronecker_product_of_all_modes():
    T = matrices.gradients(2, 2, 3, 4, dtype=torch.float64)  # batch of 2
    A, B, C = (matrices.gradients(2, r, d, dtype=torch.float64, seed=r) for r, d in ((5, 2), (1, 3), (2, 4)))
    expected = torch.stack([torch.kron(torch.kron(A[b], B[b]), C[b]) @ T[b].flatten() for b in range(2)])
    close(reference.mode_apply([A, B, C], T).flatten(1), expected)
    close(reference.mode_apply([None, B, None], T), torch.einsum("bjr,birk->bijk", B, T))
    close(reference.mode_apply([tensor([1, 2])], tensor(3, 4)), [11])


@pytest.mark.parametrize("steps", [1, 5])
def test_nearest_kronecker_of_a_product_is_exact(steps):
    L, R = tensor([2, 1], [1, 2]), tensor([1, 0, 0], [0, 2, 0], [0, 0, 2])
    found = reference.nearest_kronecker(torch.kron(L, R), 2, 3, steps=steps)
    close(found.L, L / 10**0.5)
    close(found.R, R / 3)
    close(found.sigma, 3 * 10**0.5)
    close(found.cosine, 1)


def test_nearest_kronecker_is_the_top_singular_pair():
    H = matrices.symmetric("log-uniform", 12, 10, dtype=torch.float64)
    found = reference.nearest_kronecker(H, 3, 4, steps=200)
    values = torch.linalg.svdvals(reference.rearrange(H, 3, 4))
    close(found.sigma, values[0])
    close(found.cosine, values[0] / values.norm())
    start = reference.nearest_kronecker(H, 3, 4, steps=2)
    close(
        reference.nearest_kronecker(H, 3, 4, steps=3, start=(2 * start.L, start.R)).L,
        reference.nearest_kronecker(H, 3, 4).L,
    )


def test_nearest_kronecker_from_gradients_is_that_of_their_covariance():
    g = matrices.gradients(7, 2, 3, dtype=torch.float64)
    H = g.flatten(1).mT @ g.flatten(1) / 7
    for a, b in zip(reference.nearest_kronecker_from_gradients(g), reference.nearest_kronecker(H, 2, 3), strict=True):
        close(a.double(), b.double())
    zero = reference.nearest_kronecker_from_gradients(0 * g)
    assert (zero.sigma.item(), zero.cosine.item(), zero.info.item()) == (0, 0, 0)
    close(zero.L, torch.eye(2).double() / 2**0.5)
