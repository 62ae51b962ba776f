"""Rotations step after step of a constant A: down to the floor of the precision, and there everything stays."""

import pytest
import torch
from compare import UNIT, orthogonality

import kronla
from kronla.testing import matrices

FLOOR = 14  # unit roundoffs: ratios come down to 4 to 9, by size


def turned(spectrum, angle, device):
    """A of this spectrum in float32, and its eigenbasis turned by about an angle in all dimensions."""
    n = len(spectrum)
    Q = matrices.orthogonal(n, seed=n)
    Z = torch.randn(n, n, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
    A = (Q * spectrum) @ Q.mT
    basis = Q @ torch.matrix_exp(angle / n**0.5 * (Z - Z.mT))
    return ((A + A.mT) / 2).float().to(device), basis.float().to(device)


def ratios(A, Q, steps):
    found = []
    for _ in range(steps):
        basis = kronla.update_eigenbasis(A, Q, method="rotation")
        Q = basis.Q
        found.append(basis.ratio.item())
    assert orthogonality(Q) <= 5e-6
    return found


def halves(n, low, high):
    return torch.where(torch.arange(n) < n // 2, low, high).double()


CLUSTERS = {
    "far apart": lambda n: halves(n, 1e-3, 1.0),
    "near": lambda n: halves(n, 1.0, 2.0),
    "projector": lambda n: halves(n, 1.0, 0.0),
    "pairs": lambda n: (torch.arange(n) // 2 + 1).double(),
    "four of one": lambda n: torch.where(torch.arange(n) < 4, 5.0, 1.0).double(),
    "nearly equal": lambda n: halves(n, 1.0, 2.0) + 1e-6 * torch.linspace(0, 1, n).double(),
}


@pytest.mark.parametrize("n", [16, 64, 100, 200])
@pytest.mark.parametrize("spectrum", CLUSTERS)
def test_equal_eigenvalues_converge_to_the_floor_and_stay(spectrum, n, device):
    """T is of no use between equal eigenvalues, and not small: what rounds Q beside it must not show.

    (Products are bfloat16's from n = 64 on, figures come from the residual from 96 on.)
    """
    A, Q = turned(CLUSTERS[spectrum](n), 0.05, device)
    found = ratios(A, Q, 16)
    floor = FLOOR * UNIT[torch.float32]
    first = next(i for i, ratio in enumerate(found) if ratio <= floor)
    assert first <= 5 and max(found[first:]) <= floor
    converged = kronla.update_eigenbasis(A, Q, tol=2e-6, max_steps=8, method="rotation")
    assert converged.info == 0 and converged.ratio <= 2e-6


@pytest.mark.parametrize("n", [64, 257])
def test_one_large_eigenvalue_converges(n, device):
    A, Q = turned(torch.where(torch.arange(n) < 1, 1e4, 1.0).double(), 0.1, device)
    found = ratios(A, Q, 6)
    assert found[0] <= kronla.off_diagonal_ratio(A, Q) / 128
    assert found[1] <= 4e-6 and max(found[2:]) <= FLOOR * UNIT[torch.float32]


NULL_MOVEMENT = 100  # unit roundoffs a step, of a column of length 1; 3 to 50 seen


@pytest.mark.parametrize("n", [4, 16, 32, 64, 100, 200])
@pytest.mark.parametrize("top", ["equal", "graded", "both"])
def test_null_columns_stay_at_the_floor(top, n, device, dtype):
    """Elements and differences of diagonals that are rounding errors turn nothing."""
    equal, graded = torch.ones(n // 2), torch.logspace(0, -2, n // 2)
    both = torch.where(torch.arange(n // 2) < n // 4, equal, graded)
    spectrum = {"equal": equal, "graded": graded, "both": both}[top]
    Q = matrices.orthogonal(n, seed=n)
    A = (Q[:, : n // 2] * spectrum) @ Q[:, : n // 2].mT
    A, Q = ((A + A.mT) / 2).to(device, dtype), Q.to(device, dtype)
    for _ in range(6):
        basis = kronla.update_eigenbasis(A, Q, method="rotation")
        moved = (basis.Q - Q)[:, n // 2 :].norm(dim=0).max()
        assert moved <= NULL_MOVEMENT * UNIT[dtype]
        Q = basis.Q
    assert basis.ratio <= FLOOR * UNIT[dtype]
    assert (A.double() @ Q.double())[:, n // 2 :].norm(dim=0).max() <= 4 * UNIT[dtype] * A.norm()


@pytest.mark.parametrize("n", [16, 64, 127])
@pytest.mark.parametrize("spectrum", ["pairs", "signs"])
def test_auto_decomposes_cold_matrices_with_pairs_of_opposite_eigenvalues(spectrum, n):
    """On a CPU: QR steps cannot tell λ from -λ."""
    half = torch.logspace(0, -2, n // 2).double() if spectrum == "pairs" else torch.ones(n // 2).double()
    A = matrices.with_spectrum(torch.cat([half, -half, half[: n % 2]]), seed=n)
    found = kronla.update_eigenbasis(A, torch.eye(n), tol=1e-2, max_steps=16)
    assert found.info == 0 and found.ratio <= 1e-2 and found.steps <= 6
    assert orthogonality(found.Q) <= 5e-6


@pytest.mark.parametrize("n", [16, 64, 127])
@pytest.mark.parametrize("kind", ["decaying", "log-uniform"])
def test_auto_keeps_to_its_steps_where_these_converge(kind, n):
    """Below 128 rows no decomposition, which would turn nearly equal eigenvectors at random."""
    found = kronla.update_eigenbasis(matrices.symmetric(kind, n, 1e4), torch.eye(n), max_steps=5)
    assert found.steps == 5 and 1e-6 < found.ratio < 0.1
