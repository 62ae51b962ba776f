"""eigh and orthonormalize: accuracy, order, info."""

import math

import pytest
import torch
from compare import assert_close, assert_figures_close, assert_same_bits, tolerance
from test_eigenbasis import SIZES, check_consistent, check_orthogonal

import kronla
from kronla.testing import matrices, reference


@pytest.mark.parametrize("n", SIZES)
def test_eigh_sizes(n, device, dtype):
    A = matrices.symmetric("decaying", n, 1e4, (2,), dtype).to(device)
    found = kronla.eigh(A)
    check_consistent(found, A)
    assert (found.eigenvalues.diff(dim=-1) >= 0).all()
    assert found.info.tolist() == [0, 0]
    exact = torch.linalg.eigvalsh(A.double())
    assert_figures_close(found.eigenvalues, exact, tolerance(n, dtype))
    assert (found.ratio <= tolerance(n, dtype)).all()


@pytest.mark.parametrize("kind", matrices.SPECTRA)
def test_eigh_is_as_accurate_as_torch(kind, device):
    A = matrices.symmetric(kind, 65, 1e7).to(device)
    exact = torch.linalg.eigvalsh(A.double())
    found, peer = kronla.eigh(A), torch.linalg.eigh(A)
    assert (found.eigenvalues - exact).norm() <= max(
        2 * (peer.eigenvalues - exact).norm(), tolerance(65, A.dtype) * exact.norm()
    )
    peer_ratio = reference.off_diagonal_ratio(A, peer.eigenvectors).item()
    assert reference.off_diagonal_ratio(A, found.Q).item() <= max(2 * peer_ratio, tolerance(65, A.dtype))
    check_orthogonal(found.Q)


def test_eigh_info_and_lists(device, dtype):
    A = matrices.symmetric("decaying", 9, 1e2, (3,), dtype).to(device)
    A[1, 8, 8] = math.nan
    found = kronla.eigh(A)
    assert found.info.tolist() == [0, 3, 0]
    for x in (found.Q, found.eigenvalues, found.ratio):
        assert x[1].isnan().all() and x[::2].isfinite().all()
    lists = kronla.foreach_eigh([A, A[0, :3, :3], A[:0]])
    assert_same_bits(list(lists[0]), list(found))
    assert_same_bits(list(lists[1]), list(kronla.eigh(A[0, :3, :3])))
    assert lists[2].Q.shape == (0, 9, 9)
    assert kronla.foreach_eigh([]) == [] == kronla.foreach_update_eigenbasis([], [])


def test_eigh_of_indefinite(device, dtype):
    A = matrices.indefinite(33, -0.5, dtype=dtype).to(device)
    found = kronla.eigh(A)
    assert found.info.item() == 0
    assert found.eigenvalues[0].item() == pytest.approx(-0.5, rel=1e-5)
    check_consistent(found, A)


# orthonormalize


@pytest.mark.parametrize(
    ("m", "n"), [(0, 0), (1, 1), (5, 1), (3, 0), (3, 3), (33, 32), (64, 64), (65, 7), (257, 129)], ids=str
)
def test_orthonormalize(m, n, device, dtype):
    S = matrices.gradients(2, m, n, decay=0, dtype=dtype).to(device)
    Q, info = kronla.orthonormalize(S)
    assert Q.shape == S.shape and Q.dtype == dtype and info.tolist() == [0, 0]
    check_orthogonal(Q)
    R = Q.mT.double() @ S.double()  # upper triangular, with a positive diagonal
    assert (R.diagonal(dim1=-2, dim2=-1) > 0).all()
    assert R.tril(-1).norm() <= tolerance(m, dtype) * S.norm().double()


@pytest.mark.parametrize("condition", [1e3, 1e6])
def test_orthonormalize_ill_conditioned(condition, device):
    values = matrices.spectrum("log-uniform", 33, condition)
    S = (matrices.orthogonal(33) * values @ matrices.orthogonal(33, seed=1)).float().to(device)
    Q, info = kronla.orthonormalize(S)
    check_orthogonal(Q)
    assert info.item() == 0


@pytest.mark.parametrize("common", [0, 1, 30, 1e3])
@pytest.mark.parametrize(("m", "n"), [(16, 16), (64, 64), (65, 65), (150, 128), (300, 193)], ids=str)
def test_orthonormalize_on_cpu_is_no_worse_than_lapack(m, n, common):
    """Through one panel and several; Gram matrices that one pass of Cholesky does, and that take a second."""
    generator = torch.Generator().manual_seed(n)
    S = torch.randn(m, n, generator=generator) + common * torch.randn(m, 1, generator=generator)

    def gap(Q):
        Q = Q.double()
        return (Q.mT @ Q - torch.eye(n, dtype=torch.float64)).norm()

    assert gap(kronla.orthonormalize(S).Q) <= gap(torch.linalg.qr(S).Q)


@pytest.mark.parametrize("condition", [1e5, 1e6, 1e7, 1e8])
@pytest.mark.parametrize("n", [3, 5, 16])
def test_orthonormalize_many_small(n, condition, device):
    """Orthogonal whether or not they are taken for rank-deficient."""
    left, right = (matrices.orthogonal(n, (200,), seed=i) for i in range(2))
    S = (left * matrices.spectrum("log-uniform", n, condition)) @ right
    check_orthogonal(kronla.orthonormalize(S.float().to(device))[0])


def test_orthonormalize_scaled_columns(device, dtype):
    """Columns of 1e-30 … 1e30 are as independent as before."""
    S = matrices.gradients(20, 6, decay=0, dtype=dtype).to(device)
    scales = torch.logspace(-30, 30, 6, dtype=torch.float64, device=device).to(dtype)
    Q, info = kronla.orthonormalize(S * scales)
    assert info.item() == 0
    assert_close(Q, kronla.orthonormalize(S)[0].double(), tolerance(64, dtype))


@pytest.mark.parametrize("defect", ["zero column", "equal columns", "zero matrix"])
def test_orthonormalize_rank_deficient(defect, device, dtype):
    """Some orthonormal completion comes back, with info 2; its neighbours are good."""
    S = matrices.gradients(3, 9, 5, decay=0, dtype=dtype).to(device)
    if defect == "zero column":
        S[1, :, 2] = 0
    elif defect == "equal columns":
        S[1, :, 3] = S[1, :, 1]
    else:
        S[1] = 0
    Q, info = kronla.orthonormalize(S)
    assert info.tolist() == [0, 2, 0]
    check_orthogonal(Q)


def test_orthonormalize_non_finite(device, dtype):
    S = matrices.gradients(3, 9, 5, decay=0, dtype=dtype).to(device)
    S[2, 0, 0] = math.inf
    Q, info = kronla.orthonormalize(S)
    assert info.tolist() == [0, 0, 3]
    assert Q[2].isnan().all() and Q[:2].isfinite().all()
