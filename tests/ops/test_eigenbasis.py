"""Eigenbases: the criterion, steps that reduce it, continuation of order and sign."""

import math

import pytest
import torch
from compare import UNIT, assert_close, assert_figures_close, orthogonality, same_bits, tolerance

import kronla
from kronla.testing import matrices, reference

SIZES = [0, 1, 2, 3, 5, 16, 31, 32, 33, 64, 65, 127, 128, 129, 257]
BATCHES = [(), (0,), (1,), (3,), (2, 3), (1000,)]
METHODS = ["auto", "rotation", "qr", "eigh"]
ORTHOGONAL = {torch.float32: 5e-6, torch.float64: 1e-14}  # times √n


def check_orthogonal(Q):
    assert orthogonality(Q) <= ORTHOGONAL[Q.dtype]  # ‖QᵀQ - I‖_F ≤ 5e-6·√n


def turned(A, angle, seed=0):
    """An eigenbasis of A, descending, turned by about an angle: [..., n, n] in float64."""
    n = A.shape[-1]
    Q = torch.linalg.eigh(A.double())[1].flip(-1)
    Z = torch.randn(A.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return Q @ torch.linalg.matrix_exp(angle / max(2 * n, 1) ** 0.5 * (Z - Z.mT)).to(Q.device)


def drifted(kind, n=64, beta=0.95, steps=3, dtype=torch.float32, device="cpu", **options):
    A, Q = matrices.ema_drift(n, beta, steps, kind, dtype=dtype, **options)
    return A.to(device), Q.to(device)


def check_consistent(found, A, tol=0.0):
    """Eigenvalues and ratio belong to the Q returned."""
    n, dtype = A.shape[-1], A.dtype
    A, Q = A.double(), found.Q.double()
    diagonal = (Q.mT @ A @ Q).diagonal(dim1=-2, dim2=-1)
    assert_close(found.eigenvalues.unsqueeze(-1), diagonal.unsqueeze(-1), tolerance(n, dtype))
    ratio = reference.off_diagonal_ratio(A, Q)
    assert (found.ratio.double() - ratio).abs().le(0.05 * ratio + 2 * n**0.5 * UNIT[dtype]).all()
    check_orthogonal(found.Q)


# the criterion


@pytest.mark.parametrize("n", SIZES)
def test_ratio_sizes(n, device, dtype):
    A = matrices.symmetric("decaying", n, 1e4, (2,), dtype).to(device)
    Q = turned(A, 0.1).to(dtype)
    found = kronla.off_diagonal_ratio(A, Q)
    assert found.dtype == dtype and found.shape == (2,)
    assert_figures_close(found, reference.off_diagonal_ratio(A, Q), tolerance(n, dtype))


@pytest.mark.parametrize("batch", BATCHES, ids=str)
def test_ratio_batches(batch, device, dtype):
    A = matrices.symmetric("log-uniform", 4, 1e2, batch, dtype).to(device)
    Q = matrices.orthogonal(4, batch, dtype, 3).to(device)
    assert_figures_close(kronla.off_diagonal_ratio(A, Q), reference.off_diagonal_ratio(A, Q), tolerance(4, dtype))


@pytest.mark.parametrize("true", [1e-1, 1e-3, 1e-4, 1e-5, 1e-6])
@pytest.mark.parametrize("n", [32, 257])
def test_ratio_does_not_cancel(true, n, device):
    """The diagonal is zeroed, not subtracted from a norm: a small float32 ratio is read as it is.

    Within 5%, plus the rounding that a product of float32 matrices has in each entry.
    """
    A = matrices.symmetric("log-uniform", n, 1e2).to(device)
    Q = turned(A, true / reference.off_diagonal_ratio(A, turned(A, 1e-3)).item() * 1e-3).float()
    expected = reference.off_diagonal_ratio(A, Q).item()
    assert 0.5 * true < expected < 2 * true
    found = kronla.off_diagonal_ratio(A, Q).item()
    assert abs(found - expected) <= 0.05 * expected + 3 * UNIT[torch.float32]


@pytest.mark.parametrize("n", [64, 96, 200])
@pytest.mark.parametrize("how", ["longer", "hardly longer", "leaning", "averaging", "rounded", "any"])
def test_figures_of_columns_that_are_not_orthonormal(how, n, device, dtype):
    A = matrices.symmetric("decaying", n, 1e4, (), dtype).to(device)
    Q = torch.linalg.eigh(A)[1].flip(-1)
    if how == "longer":
        Q[:, 2] *= 1.001  # QᵀAQ is diagonal still
    elif how == "hardly longer":
        Q[:, 0] *= 1 + 31 * UNIT[dtype] * n**0.5
    elif how == "leaning":
        Q[:, n // 2] += 1e-3 * Q[:, 1]
    elif how == "averaging":  # the same signs in 1 of 16 sets of four vectors
        Q = torch.eye(n, dtype=dtype, device=device)
        Q[0, 0] = Q[4, 4] = Q[0, 4] = Q[4, 0] = 0.5
    elif how == "rounded":
        Q = Q.bfloat16().to(dtype)
    else:
        Q = torch.randn(n, n, generator=torch.Generator().manual_seed(n), dtype=dtype).to(device)
    B = Q.double().mT @ A.double() @ Q.double()
    expected = reference.off_diagonal_ratio(A.double(), Q.double())
    found = kronla.update_eigenbasis(A, Q, max_steps=0)
    for ratio in (kronla.off_diagonal_ratio(A, Q), found.ratio):
        assert abs(ratio.item() - expected.item()) <= tolerance(n, dtype) * max(1.0, expected.item())
    assert_close(found.eigenvalues.unsqueeze(-1), B.diagonal().unsqueeze(-1), tolerance(n, dtype))


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_scales(scale, device, dtype):
    """Neither a norm nor a step overflows or vanishes."""
    A, Q = drifted("decaying", 32, dtype=dtype, device=device)
    expected = kronla.off_diagonal_ratio(A, Q).item()
    assert kronla.off_diagonal_ratio(scale * A, Q).item() == pytest.approx(expected, rel=1e-4)
    for method in METHODS:
        plain = kronla.update_eigenbasis(A, Q, method=method)
        scaled = kronla.update_eigenbasis(scale * A, Q, method=method)
        assert scaled.info.item() == 0
        check_orthogonal(scaled.Q)
        assert scaled.ratio.item() <= 1.5 * plain.ratio.item() + 1e-5
    assert_close(
        kronla.eigh(scale * A).eigenvalues[:, None].double() / scale, kronla.eigh(A).eigenvalues[:, None], 1e-5
    )


# steps


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n", SIZES)
def test_sizes(method, n, device, dtype):
    A = matrices.symmetric("log-uniform", n, 1e2, (2,), dtype).to(device)
    Q = turned(A, 0.05).to(dtype)
    found = kronla.update_eigenbasis(A, Q, method=method)
    check_consistent(found, A)
    assert found.Q.dtype == found.eigenvalues.dtype == found.ratio.dtype == dtype
    assert found.steps.dtype == found.info.dtype == torch.int32
    assert found.info.tolist() == [0, 0]
    assert (found.ratio <= kronla.off_diagonal_ratio(A, Q) + 8 * UNIT[dtype]).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("batch", BATCHES, ids=str)
def test_batches(method, batch, device, dtype):
    A = matrices.symmetric("log-uniform", 4, 1e2, batch, dtype).to(device)
    found = kronla.update_eigenbasis(A, turned(A, 0.05).to(dtype), method=method)
    assert found.Q.shape == A.shape and found.eigenvalues.shape == A.shape[:-1]
    assert found.ratio.shape == found.steps.shape == found.info.shape == batch
    if found.Q.numel():
        check_consistent(found, A)


DRIFTS = ["decaying", "log-uniform", "one-large", "low-rank", "near-duplicate"]


@pytest.mark.parametrize("kind", DRIFTS)
@pytest.mark.parametrize("method", ["auto", "rotation", "eigh"])
@pytest.mark.parametrize("n", [16, 64, 128])
def test_one_step_halves_the_ratio_of_a_drifted_basis(kind, method, n, device):
    A, Q = drifted(kind, n, device=device)
    found = kronla.update_eigenbasis(A, Q, method=method)
    assert found.ratio.item() <= 0.5 * kronla.off_diagonal_ratio(A, Q).item()
    check_consistent(found, A)


@pytest.mark.parametrize("kind", matrices.SPECTRA)
@pytest.mark.parametrize("method", METHODS)
def test_no_step_raises_the_ratio_of_a_drifted_basis(kind, method, device):
    """Not on clustered and flat spectra either, where no basis is good."""
    A, Q = drifted(kind, 65, device=device)
    assert kronla.update_eigenbasis(A, Q, method=method).ratio.item() < kronla.off_diagonal_ratio(A, Q).item()


@pytest.mark.parametrize("kind", ["decaying", "low-rank", "one-large"])
def test_qr_steps_reduce_the_ratio(kind, device):
    """From descending, ascending and shuffled columns alike: the order is the caller's, not the algorithm's."""
    A, Q = drifted(kind, 64, device=device)
    shuffle = torch.randperm(64)
    before = kronla.off_diagonal_ratio(A, Q).item()
    ratios = []
    for order in (torch.arange(64), torch.arange(64).flip(0), shuffle):
        found = kronla.update_eigenbasis(A, Q[:, order], method="qr", max_steps=2)
        check_consistent(found, A)
        assert ((found.Q * Q[:, order]).sum(0) >= 0).all()
        ratios.append(found.ratio.item())
    assert max(ratios) <= 0.5 * before
    assert max(ratios) <= 1.1 * min(ratios) + 1e-6


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("order", ["descending", "ascending", "shuffled"])
def test_order_and_signs_continue(method, order, device, dtype):
    """Columns of a near basis stay where they were, with their signs; eigenvalues are in their order."""
    n = 20
    A = matrices.symmetric("log-uniform", n, 1e3, dtype=dtype).to(device)
    columns = {"descending": torch.arange(n), "ascending": torch.arange(n).flip(0), "shuffled": torch.randperm(n)}[
        order
    ]
    signs = torch.where(torch.arange(n) % 3 == 0, -1.0, 1.0).to(device)
    Q = (turned(A, 0.02)[:, columns] * signs).to(dtype)
    found = kronla.update_eigenbasis(A, Q, method=method)
    assert ((found.Q * Q).sum(0) > 0.9).all()
    expected = torch.linalg.eigvalsh(A.double()).flip(-1)[columns.to(device)]
    assert_close(found.eigenvalues[:, None], expected[:, None], 1e-3)


def test_eigh_matches_ranks(device):
    """Far from any basis too: the k-th largest Rayleigh quotient receives the k-th largest eigenvalue."""
    A = matrices.symmetric("log-uniform", 12, 1e3, (3,)).to(device)
    Q = matrices.orthogonal(12, (3,), torch.float32, 5).to(device)
    old = (Q.mT @ A @ Q).diagonal(dim1=-2, dim2=-1)
    found = kronla.update_eigenbasis(A, Q, method="eigh")
    assert torch.equal(found.eigenvalues.argsort(-1), old.argsort(-1))
    assert ((found.Q * Q).sum(-2) >= 0).all()
    assert (found.ratio <= 1e-5).all()


def test_eigh_breaks_ties_by_index(device):
    """A constant diagonal from Q = I: all Rayleigh quotients are equal, so columns come largest first."""
    found = kronla.update_eigenbasis(matrices.toeplitz(8).to(device), torch.eye(8, device=device), method="eigh")
    assert (found.eigenvalues.diff() <= 0).all()


@pytest.mark.parametrize("method", METHODS)
def test_follows_the_reference(method, device):
    """One float64 step is the reference's step."""
    A, Q = drifted("decaying", 24, dtype=torch.float64, device=device)
    if method == "auto":  # which step it takes is a matter of policy
        assert kronla.update_eigenbasis(A, Q).ratio < kronla.off_diagonal_ratio(A, Q)
        return
    found, expected = (module.update_eigenbasis(A, Q, method=method) for module in (kronla, reference))
    assert_close(found.eigenvalues[:, None], expected.eigenvalues[:, None], 1e-10)
    assert_figures_close(found.ratio, expected.ratio, 1e-9)
    assert_close(found.Q[None], expected.Q[None], 1e-6)


@pytest.mark.parametrize("matrix", [matrices.toeplitz, matrices.equicorrelated], ids=lambda f: f.__name__)
@pytest.mark.parametrize("method", ["rotation", "auto"])
def test_equal_diagonals_are_no_trap(matrix, method, device, dtype):
    """From Q = I every difference of diagonals is 0: sign(0) = 1 lets the rotation begin."""
    A = matrix(16, dtype=dtype).to(device)
    Q = torch.eye(16, dtype=dtype, device=device)
    before = kronla.off_diagonal_ratio(A, Q).item()
    found = kronla.update_eigenbasis(A, Q, method=method, max_steps=12)
    assert found.ratio.item() < 0.05 * before
    check_consistent(found, A)


@pytest.mark.parametrize("method", ["auto", "qr", "rotation"])
def test_null_directions_keep_their_columns(method, device):
    """A rank-deficient A: QR alone would turn its null space at random."""
    n, rank = 32, 8
    A = matrices.rank_deficient(n, rank).to(device)
    Q = turned(A, 0.0).float()
    nudge = turned(A, 0.01).float()
    for old in (Q, nudge):
        found = kronla.update_eigenbasis(A, old, method=method)
        kept = (found.Q * old).sum(0)
        assert kept[rank:].median().item() > 0.99
        check_consistent(found, A)


@pytest.mark.parametrize("method", METHODS)
def test_zero_matrix(method, device, dtype):
    A, Q = torch.zeros(2, 6, 6, dtype=dtype, device=device), matrices.orthogonal(6, (2,), dtype).to(device)
    found = kronla.update_eigenbasis(A, Q, method=method)
    assert found.ratio.tolist() == [0, 0] and found.info.tolist() == [0, 0]
    assert not found.eigenvalues.any()
    check_orthogonal(found.Q)
    if method in ("qr", "rotation"):  # all directions are null directions
        assert_close(found.Q, Q.double(), 1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_tol(method, device, dtype):
    """Where the ratio is at most tol > 0, Q comes back to the bit with 0 steps; elsewhere it is improved."""
    A = matrices.symmetric("decaying", 24, 1e4, (3,), dtype).to(device)
    Q = torch.stack([turned(A[i], angle, i) for i, angle in enumerate((0.001, 0.3, 0.0))]).to(dtype)
    found = kronla.update_eigenbasis(A, Q, tol=0.02, max_steps=8, method=method)
    assert found.steps.tolist()[::2] == [0, 0] and found.steps[1] > 0
    assert same_bits(found.Q[::2], Q[::2])
    assert found.Q.data_ptr() != Q.data_ptr()
    assert (found.ratio <= 0.02).all() and found.info.tolist() == [0, 0, 0]
    check_consistent(found, A)


@pytest.mark.parametrize("method", METHODS)
def test_no_steps_only_evaluate(method, device, dtype):
    A, Q = drifted("decaying", 33, dtype=dtype, device=device)
    found = kronla.update_eigenbasis(A, Q, tol=1e-6, max_steps=0, method=method)
    assert same_bits(found.Q, Q) and found.steps.item() == 0
    assert found.info.item() == 1
    assert_figures_close(found.ratio, reference.off_diagonal_ratio(A, Q), tolerance(33, dtype))
    check_consistent(found, A)
    assert kronla.update_eigenbasis(A, Q, max_steps=0, method=method).info.item() == 0  # tol = 0 asks for nothing


@pytest.mark.parametrize("method", ["auto", "rotation", "qr"])
def test_steps_are_counted_and_stop_at_tol(method, device):
    A, Q = drifted("decaying", 64, steps=10, device=device)
    found = kronla.update_eigenbasis(A, Q, tol=2e-3, max_steps=20, method=method)
    assert found.info.item() == 0 and found.ratio.item() <= 2e-3
    steps = found.steps.item()
    assert 0 < steps < 20
    fewer = kronla.update_eigenbasis(A, Q, tol=2e-3, max_steps=steps - 1, method=method)
    assert fewer.info.item() == 1 and fewer.ratio.item() > 2e-3
    assert kronla.update_eigenbasis(A, Q, max_steps=3, method=method).steps.item() == 3


@pytest.mark.parametrize("n", [20, 128])
def test_a_cold_start_converges(n, device):
    A = matrices.symmetric("decaying", n, 1e6).to(device)
    found = kronla.update_eigenbasis(A, torch.eye(n, device=device), tol=0.01, max_steps=30)
    assert found.info.item() == 0 and found.ratio.item() <= 0.01
    check_consistent(found, A)


@pytest.mark.parametrize("kind", ["log-uniform", "one-large", "low-rank", "clustered"])
@pytest.mark.parametrize("method", ["auto", "rotation", "qr"])
def test_orthogonality_lasts(kind, method, device):
    """Thirty steps on a κ = 1e7 matrix from a far basis: errors do not add up."""
    A = matrices.symmetric(kind, 65, 1e7).to(device)
    Q = turned(A, 0.5).float()
    for _ in range(30):
        Q = kronla.update_eigenbasis(A, Q, method=method).Q
    check_orthogonal(Q)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n", [3, 5, 16])
@pytest.mark.parametrize("angle", [0.1, 2.0])
def test_orthogonality_of_many_small_matrices(n, angle, method, device):
    """κ = 1e7: the Gram matrix of AQ is singular to float64, and not always found so by its Cholesky factorisation."""
    A = matrices.symmetric("clustered", n, 1e7, (1000,)).to(device)
    found = kronla.update_eigenbasis(A, turned(A, angle).float(), method=method)
    check_orthogonal(found.Q)


@pytest.mark.parametrize("where", ["A", "Q"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("method", METHODS)
def test_info_of_non_finite(method, where, value, device, dtype):
    A = matrices.symmetric("decaying", 9, 1e2, (3,), dtype).to(device)
    Q = turned(A, 0.1).to(dtype)
    {"A": A, "Q": Q}[where][1, 4, 4] = value
    found = kronla.update_eigenbasis(A, Q, method=method)
    assert found.info.tolist() == [0, 3, 0]
    assert same_bits(found.Q[1], Q[1])
    assert found.ratio[1].isnan() and found.eigenvalues[1].isnan().all()
    assert found.Q[::2].isfinite().all()
    assert kronla.off_diagonal_ratio(A, Q).isnan().tolist() == [False, True, False]


def test_columns_of_any_scale_have_full_rank():
    S = torch.diag(torch.tensor([1.0, 1e-170, 1e170], dtype=torch.float64))
    Q, info = kronla.orthonormalize(S)
    assert info == 0 and torch.equal(Q, torch.eye(3, dtype=torch.float64))


@pytest.mark.parametrize("method", ["rotation", "auto"])  # a QR step repairs any basis
def test_a_basis_far_from_orthogonal_comes_back(method):
    G = torch.randn(64, 64)
    Q = torch.randn(64, 64) * 5e37
    basis = kronla.update_eigenbasis(G @ G.mT, Q, method=method, max_steps=2)
    assert basis.info == 1 and torch.equal(basis.Q, Q) and basis.ratio.isnan()


def test_large_bases_rotate_once_where_that_does_and_decompose_else():
    A, Q = matrices.ema_drift(512, beta=0.9, steps=1)
    options = {"tol": 0.01, "max_steps": 8}
    near, rotated = (
        kronla.update_eigenbasis(A, Q, **options),
        kronla.update_eigenbasis(A, Q, method="rotation", **options),
    )
    assert 0.01 < kronla.off_diagonal_ratio(A, Q) <= 0.1 and near.steps == 1
    assert torch.equal(near.Q, rotated.Q)
    cold = torch.eye(512)
    far, decomposed = (
        kronla.update_eigenbasis(A, cold, **options),
        kronla.update_eigenbasis(A, cold, method="eigh", **options),
    )
    assert kronla.off_diagonal_ratio(A, cold) > 0.1 and far.info == 0
    assert torch.equal(far.Q, decomposed.Q)
