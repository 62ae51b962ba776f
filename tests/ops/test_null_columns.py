"""Rotations of bases with null and near null columns, which move as far as A asks, however the others are rounded."""

import pytest
import torch
from compare import UNIT, orthogonality

import kronla
from kronla.testing import matrices, reference

COLUMNS = ["descending", "ascending", "shuffled"]


def arranged(Q, columns):
    """The columns of a descending Q in another order."""
    n = Q.shape[-1]
    if columns == "ascending":
        return Q.flip(-1)
    return Q[:, torch.randperm(n, generator=torch.Generator().manual_seed(n))] if columns == "shuffled" else Q


@pytest.mark.parametrize("n", [80, 128, 200])  # figures are from QᵀAQ below 96, from the residual beyond
@pytest.mark.parametrize("columns", COLUMNS)
def test_a_rotation_leaves_null_columns_where_they_are(columns, n, device):
    generator = torch.Generator().manual_seed(n)
    Q = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))[0]
    rank = n // 2
    spectrum = torch.logspace(0, -3, rank, dtype=torch.float64)
    Z = torch.randn(rank, rank, generator=generator, dtype=torch.float64)
    near = Q[:, :rank] @ torch.matrix_exp(0.02 / rank**0.5 * (Z - Z.mT))
    A = ((near * spectrum) @ near.mT).float().to(device)
    null = arranged(torch.arange(n)[None] >= rank, columns)[0]
    basis = arranged(Q, columns).float().to(device)
    found = kronla.update_eigenbasis(A, basis, method="rotation")
    assert (found.Q[:, null] - basis[:, null]).norm(dim=0).max() <= 2e-5
    assert (A @ found.Q[:, null]).norm(dim=0).max() <= 30 * UNIT[torch.float32] * A.norm()
    assert found.ratio < 0.2 * kronla.off_diagonal_ratio(A, basis)


def exact_rotation(A, Q):
    """In float64, of descending columns, for the reference takes them as they come."""
    return reference.update_eigenbasis(A.double(), Q.double().to(A.device), method="rotation")


def relative_off_diagonal(A, Q):
    """‖D^-½ offdiag(QᵀAQ) D^-½‖_F/√n with D the diagonal: what small eigenvalues see of it."""
    B = Q.double().mT @ A.double() @ Q.double()
    scales = B.diagonal().rsqrt()
    return ((B - B.diagonal().diag()) * scales[:, None] * scales).norm() / len(B) ** 0.5


@pytest.mark.parametrize("n", [80, 128, 200])
@pytest.mark.parametrize("columns", COLUMNS)
def test_a_rotation_is_right_for_a_near_null_cluster_that_hardly_moves(columns, n, device):
    """Half of the eigenvalues within 1e-6 to 2e-6 of the largest: parts of other columns would outweigh them."""
    generator = torch.Generator().manual_seed(n)
    Q = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))[0]
    rank = n // 2
    spectrum = torch.cat([torch.logspace(0, -2, rank), torch.linspace(2e-6, 1e-6, n - rank)]).double()
    Z = torch.randn(n, n, generator=generator, dtype=torch.float64)
    root = Q * spectrum.sqrt()
    A = (root @ (torch.eye(n) + 0.02 * (Z @ Z.mT / n - torch.eye(n))) @ root.mT).float()
    A, basis = ((A + A.mT) / 2).to(device), arranged(Q, columns).float().to(device)
    found = kronla.update_eigenbasis(A, basis, method="rotation")
    exact = exact_rotation(A, Q)
    assert relative_off_diagonal(A, found.Q) <= 1.2 * relative_off_diagonal(A, exact.Q)
    assert found.ratio <= 1.1 * exact.ratio


@pytest.mark.parametrize("columns", COLUMNS)
def test_a_rotation_is_right_for_near_null_columns_that_move(columns, device):
    """175 of 256 Rayleigh quotients are below 2⁻⁹ ratio ‖A‖_F, and their columns move as all do."""
    A, Q = matrices.ema_drift(256, 0.8, 10, "decaying", condition=1e5)
    A, basis = A.to(device), arranged(Q, columns).to(device)
    found = kronla.update_eigenbasis(A, basis, method="rotation")
    exact = exact_rotation(A, Q)
    assert found.ratio <= 1.05 * exact.ratio
    assert relative_off_diagonal(A, found.Q) <= 1.05 * relative_off_diagonal(A, exact.Q)


@pytest.mark.parametrize("n", [80, 128])
def test_two_rotations_find_one_large_eigenvalue(n, device):
    """From the identity one column turns by far more than the near null ones, which are not at rest for that."""
    A = matrices.symmetric("one-large", n, 1e7).to(device)
    found = kronla.update_eigenbasis(A, torch.eye(n, device=device), method="rotation", max_steps=2)
    assert found.ratio <= 1e-2


@pytest.mark.parametrize("columns", COLUMNS)
def test_null_columns_stay_for_long(columns, device):
    """Twenty steps while A moves within its range, of a quarter of the dimensions."""
    n, rank = 128, 32
    generator = torch.Generator().manual_seed(7)
    Q = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))[0]
    root = Q[:, :rank] * torch.logspace(0, -1, rank, dtype=torch.float64)
    null = arranged(torch.arange(n)[None] >= rank, columns)[0]
    A, basis = root @ root.mT, arranged(Q, columns).float().to(device)
    first = basis
    for _ in range(20):
        G = root @ torch.randn(rank, 64, generator=generator, dtype=torch.float64)
        A = 0.95 * A + 0.05 / 64 * (G @ G.mT)
        old = basis
        basis = kronla.update_eigenbasis(A.float().to(device), basis, method="rotation").Q
        assert (basis[:, null] - old[:, null]).norm(dim=0).max() <= 1e-4
    assert (basis[:, null] - first[:, null]).norm(dim=0).max() <= 2e-4
    assert orthogonality(basis) <= 5e-6  # ‖QᵀQ - I‖_F ≤ 5e-6·√n
