"""The rearrangement and the nearest Kronecker product, against torch.kron and the float64 reference."""

import pytest
import torch
from compare import UNIT, assert_close, assert_figures_close, assert_same_bits, is_symmetric, tolerance

import kronla
from kronla.testing import matrices, reference

SIZES = [(1, 1), (1, 5), (4, 1), (2, 3), (3, 2), (5, 5), (8, 4), (3, 16), (16, 16), (33, 2), (2, 33), (0, 3), (3, 0)]
BATCHES = [(), (0,), (1,), (3,), (2, 3), (1000,)]


def dense(*shape, dtype=torch.float32, device="cpu", seed=0):
    return matrices.gradients(*shape, decay=0.3, dtype=dtype, seed=seed).to(device)


def covariance(m, n, batch=(), dtype=torch.float32, device="cpu", condition=1e2, seed=0):
    return matrices.symmetric("log-uniform", m * n, condition, batch, dtype, seed).to(device)


def psd(n, batch=(), dtype=torch.float32, device="cpu", seed=0):
    return matrices.symmetric("log-uniform", n, 10, batch, dtype, seed).to(device)


@pytest.mark.parametrize(("m", "n"), SIZES, ids=str)
def test_rearrange_and_back(m, n, device, dtype):
    """Moves numbers only: equal to the reference to the bit, for any H."""
    H = dense(2, m * n, m * n, dtype=dtype, device=device)
    M = kronla.rearrange(H, m, n)
    assert_same_bits([M], [reference.rearrange(H, m, n).to(dtype)])
    assert_same_bits([kronla.unrearrange(M, m, n)], [H])


@pytest.mark.parametrize("batch", BATCHES, ids=str)
def test_batches(batch, device, dtype):
    H = dense(*batch, 6, 6, dtype=dtype, device=device)
    assert_same_bits([kronla.rearrange(H, 2, 3)], [reference.rearrange(H, 2, 3).to(dtype)])
    L, R = dense(*batch, 2, 2, dtype=dtype, device=device), dense(*batch, 3, 3, dtype=dtype, device=device)
    assert_close(kronla.rearranged_matvec(H, R), reference.rearranged_matvec(H, R), tolerance(36, dtype))
    assert_close(kronla.rearranged_rmatvec(H, L), reference.rearranged_rmatvec(H, L), tolerance(36, dtype))


def test_convention(device, dtype):
    """The rearrangement of torch.kron(L, R) is vec(L)vec(R)ᵀ, rows taken first; of kron(R, L) it is not."""
    L, R = dense(3, 3, dtype=dtype, device=device), dense(3, 3, dtype=dtype, device=device, seed=1)
    outer = L.flatten()[:, None] * R.flatten()
    assert_close(kronla.rearrange(torch.kron(L, R), 3, 3), outer.double(), 2 * UNIT[dtype])
    assert (kronla.rearrange(torch.kron(R, L), 3, 3) - outer).norm() > 0.1 * outer.norm()


@pytest.mark.parametrize(("m", "n"), SIZES, ids=str)
def test_matvecs(m, n, device, dtype):
    """They assume no symmetry: H, L and R are arbitrary."""
    H = dense(2, m * n, m * n, dtype=dtype, device=device)
    L, R = dense(2, m, m, dtype=dtype, device=device), dense(2, n, n, dtype=dtype, device=device)
    if m and n:  # from an empty H the other size cannot be told
        assert_close(kronla.rearranged_matvec(H, R), reference.rearranged_matvec(H, R), 4 * tolerance(n * n, dtype))
        assert_close(kronla.rearranged_rmatvec(H, L), reference.rearranged_rmatvec(H, L), 4 * tolerance(m * m, dtype))


def test_matvecs_are_transposes(device, dtype):
    """⟨L, Ĥ(R)⟩ = ⟨Ĥᵀ(L), R⟩."""
    H = dense(35, 35, dtype=dtype, device=device)
    L, R = dense(5, 5, dtype=dtype, device=device), dense(7, 7, dtype=dtype, device=device)
    one = (L.double() * kronla.rearranged_matvec(H, R).double()).sum()
    two = (kronla.rearranged_rmatvec(H, L).double() * R.double()).sum()
    assert (one - two).abs() <= tolerance(49, dtype) * H.norm() * L.norm() * R.norm()


def test_layouts(device, dtype):
    H, R = (
        dense(2, 6, 12, dtype=dtype, device=device)[..., ::2].mT,
        dense(3, dtype=dtype, device=device).expand(2, 3, 3),
    )
    assert_same_bits([kronla.rearrange(H, 2, 3)], [reference.rearrange(H, 2, 3).to(dtype)])
    assert_close(kronla.rearranged_matvec(H, R), reference.rearranged_matvec(H, R), tolerance(36, dtype))
    M = kronla.rearrange(H, 2, 3)
    assert_same_bits([kronla.unrearrange(M.mT.contiguous().mT, 2, 3)], [H.contiguous()])


def check_pair(found, expected, dtype, tolerance):
    assert found.info.dtype == torch.int32 and not found.info.any()
    for x, y in ((found.L, expected.L), (found.R, expected.R)):
        assert x.dtype == dtype and is_symmetric(x)
        assert_close(x, y, tolerance)
        assert_figures_close(x.double().flatten(-2).norm(dim=-1), torch.ones(x.shape[:-2]), tolerance)
    assert found.sigma.dtype == found.cosine.dtype == dtype
    assert_figures_close(found.sigma / expected.sigma, torch.ones_like(expected.sigma), tolerance)
    assert_figures_close(found.cosine, expected.cosine, tolerance)


@pytest.mark.parametrize(("m", "n"), [s for s in SIZES if all(s)], ids=str)
@pytest.mark.parametrize("steps", [0, 1, 5])
def test_nearest_kronecker(m, n, steps, device, dtype):
    H = covariance(m, n, (2,), dtype, device)
    found, expected = kronla.nearest_kronecker(H, m, n, steps=steps), reference.nearest_kronecker(H, m, n, steps=steps)
    check_pair(found, expected, dtype, 4 * tolerance(m * m + n * n, dtype))


@pytest.mark.parametrize("batch", BATCHES, ids=str)
def test_nearest_kronecker_batches(batch, device, dtype):
    H = covariance(2, 3, batch, dtype, device)
    check_pair(kronla.nearest_kronecker(H, 2, 3), reference.nearest_kronecker(H, 2, 3), dtype, tolerance(64, dtype))
    G = dense(*batch, 4, 2, 3, dtype=dtype, device=device)
    found, expected = kronla.nearest_kronecker_from_gradients(G), reference.nearest_kronecker_from_gradients(G)
    check_pair(found, expected, dtype, tolerance(64, dtype))


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize(("m", "n"), [(3, 4), (7, 2), (1, 6)], ids=str)
def test_a_kronecker_product_is_recovered(m, n, steps, device, dtype):
    L, R = psd(m, (), dtype, device), psd(n, (), dtype, device, seed=1)
    found = kronla.nearest_kronecker(torch.kron(L, R), m, n, steps=steps)
    assert_close(found.L, (L / L.norm()).double(), tolerance(m * n, dtype))
    assert_close(found.R, (R / R.norm()).double(), tolerance(m * n, dtype))
    assert_figures_close(found.sigma / (L.norm() * R.norm()), torch.tensor(1.0), tolerance(m * n, dtype))
    assert_figures_close(found.cosine, torch.tensor(1.0), tolerance(m * n, dtype))


def test_one_step_is_shampoo_squared(device, dtype):
    """From (I, I): L ∝ E[GGᵀ], R ∝ E[GᵀG] (Morwani et al. 2024)."""
    G = dense(40, 5, 3, dtype=dtype, device=device)
    found = kronla.nearest_kronecker_from_gradients(G, steps=1)
    wide = G.double()
    L, R = (wide @ wide.mT).mean(0), (wide.mT @ wide).mean(0)
    assert_close(found.L, L / L.norm(), tolerance(64, dtype))
    assert_close(found.R, R / R.norm(), tolerance(64, dtype))
    step = kronla.kron_power_step(G, *(torch.eye(k, dtype=dtype, device=device) for k in (5, 3)))
    assert_close(found.L, (step[0] / step[0].norm()).double(), tolerance(64, dtype))


def test_rank_one_covariance_is_shampoo_over_the_trace(device):
    """Binary case: where Ĥ has rank 1, H = E[GGᵀ] ⊗ E[GᵀG] / Tr E[GGᵀ] exactly.

    Gradients ± one rank-one matrix, as of a binary classifier: H = vec(G)vec(G)ᵀ.
    """
    u, v = torch.randn(5, 1, dtype=torch.float64), torch.randn(1, 4, dtype=torch.float64)
    G = torch.stack([u @ v, -2 * u @ v, 0.5 * u @ v]).to(device)
    H = (G.flatten(1).mT @ G.flatten(1)) / 3
    left, right = (G @ G.mT).mean(0), (G.mT @ G).mean(0)
    assert_close(torch.kron(left, right) / left.trace(), H, 1e-14)
    for found in (kronla.nearest_kronecker(H, 5, 4, steps=1), kronla.nearest_kronecker_from_gradients(G, steps=1)):
        assert_close(found.sigma * torch.kron(found.L, found.R), H, 1e-13)
        assert abs(found.cosine.item() - 1) < 1e-13


def test_converges_to_the_top_singular_pair(device):
    H = covariance(4, 3, dtype=torch.float64, device=device)
    U, values, Vh = torch.linalg.svd(reference.rearrange(H, 4, 3))
    found = kronla.nearest_kronecker(H, 4, 3, steps=300)
    assert_close(found.L.flatten()[None].abs(), U[:, 0][None].abs(), 1e-9)
    assert_close(found.R.flatten()[None].abs(), Vh[:1].abs(), 1e-9)
    assert found.sigma.item() == pytest.approx(values[0].item(), rel=1e-12)
    assert found.cosine.item() == pytest.approx((values[0] / values.norm()).item(), rel=1e-12)


def test_no_pair_is_nearer_and_sigma_is_the_best_scale(device):
    """‖H - σL⊗R‖² = ‖H‖²(1 - cosine²), and it falls with every step."""
    H = covariance(5, 4, dtype=torch.float64, device=device)
    last = float("inf")
    for steps in range(6):
        found = kronla.nearest_kronecker(H, 5, 4, steps=steps)
        error = (H - found.sigma * torch.kron(found.L, found.R)).norm().item()
        assert error == pytest.approx((H.norm() * (1 - found.cosine**2).sqrt()).item(), rel=1e-10)
        assert error <= last * (1 + 1e-12)
        last = error


@pytest.mark.parametrize("kind", ["log-uniform", "one-large", "low-rank"])
def test_factors_of_psd_are_psd(kind, device):
    H = matrices.symmetric(kind, 42, 1e6, dtype=torch.float64).to(device)
    found = kronla.nearest_kronecker(H, 6, 7)
    for x in (found.L, found.R):
        assert torch.linalg.eigvalsh(x).min().item() >= -1e-14


@pytest.mark.parametrize("from_gradients", [False, True])
def test_start(from_gradients, device, dtype):
    """Two steps and then three, from what the two gave at any scale, are five."""
    G = dense(2, 9, 4, 6, dtype=dtype, device=device)
    H = (G.flatten(-2).mT @ G.flatten(-2)) / 9

    def call(**options):
        if from_gradients:
            return kronla.nearest_kronecker_from_gradients(G, **options)
        return kronla.nearest_kronecker(H, 4, 6, **options)

    two = call(steps=2)
    found = call(steps=3, start=(3 * two.L, two.R / 7))
    check_pair(found, call(steps=5), dtype, tolerance(64, dtype))
    evaluated = call(steps=0, start=(3 * two.L, two.R / 7))
    check_pair(evaluated, two, dtype, tolerance(64, dtype))


@pytest.mark.parametrize("count", [1, 2, 50])
@pytest.mark.parametrize(("m", "n"), [(1, 1), (5, 3), (33, 20), (3, 64)], ids=str)
def test_from_gradients(count, m, n, device, dtype, gradient_dtype):
    """The accumulator is float64 for float64 gradients and float32 for the others, unless a start says it."""
    G = dense(count, m, n, dtype=gradient_dtype, device=device)
    found, expected = kronla.nearest_kronecker_from_gradients(G), reference.nearest_kronecker_from_gradients(G)
    own = torch.float64 if gradient_dtype == torch.float64 else torch.float32
    check_pair(found, expected, own, 4 * tolerance(m + n + count, own))
    start = psd(m, (), dtype, device), psd(n, (), dtype, device)
    found = kronla.nearest_kronecker_from_gradients(G, start=start, steps=2)
    expected = reference.nearest_kronecker_from_gradients(G, start=start, steps=2)
    check_pair(found, expected, dtype, 4 * tolerance(m + n + count, dtype))


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_scales(scale, device, dtype):
    H = covariance(4, 3, dtype=dtype, device=device)
    found, expected = kronla.nearest_kronecker(scale * H, 4, 3), reference.nearest_kronecker(scale * H, 4, 3)
    check_pair(found, expected, dtype, tolerance(64, dtype))
    G = scale**0.5 * dense(9, 4, 3, dtype=dtype, device=device)
    found, expected = kronla.nearest_kronecker_from_gradients(G), reference.nearest_kronecker_from_gradients(G)
    check_pair(found, expected, dtype, tolerance(64, dtype))


def test_zero(device, dtype):
    """sigma and cosine are 0, the pair still of norm 1."""
    H, G = torch.zeros(2, 6, 6, dtype=dtype, device=device), torch.zeros(2, 4, 2, 3, dtype=dtype, device=device)
    for found in (kronla.nearest_kronecker(H, 2, 3), kronla.nearest_kronecker_from_gradients(G)):
        assert found.sigma.tolist() == found.cosine.tolist() == [0, 0]
        assert found.info.tolist() == [0, 0]
        for x in (found.L, found.R):
            assert_figures_close(x.flatten(-2).norm(dim=-1), torch.ones(2), 4 * UNIT[dtype])


@pytest.mark.parametrize(("m", "n"), [(0, 0), (0, 3), (3, 0)], ids=str)
def test_empty(m, n, device, dtype):
    H, G = torch.zeros(2, 0, 0, dtype=dtype, device=device), torch.zeros(2, 4, m, n, dtype=dtype, device=device)
    for found in (kronla.nearest_kronecker(H, m, n), kronla.nearest_kronecker_from_gradients(G)):
        assert found.L.shape == (2, m, m) and found.R.shape == (2, n, n)
        assert found.sigma.tolist() == found.cosine.tolist() == found.info.tolist() == [0, 0]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_info_of_non_finite(value, device, dtype):
    H, G = covariance(2, 3, (3,), dtype, device), dense(3, 4, 2, 3, dtype=dtype, device=device)
    H[1, 5, 5] = G[1, 3, 0, 2] = value
    for found in (kronla.nearest_kronecker(H, 2, 3), kronla.nearest_kronecker_from_gradients(G)):
        assert found.info.tolist() == [0, 3, 0]
        for x in (found.L, found.R, found.sigma, found.cosine):
            assert x[1].isnan().all() and x[[0, 2]].isfinite().all()


def test_info_of_a_non_finite_start(device):
    start = psd(2, (3,), device=device), psd(3, (3,), device=device)
    start[1][2, 0, 0] = float("nan")
    assert kronla.nearest_kronecker(covariance(2, 3, (3,), device=device), 2, 3, start=start).info.tolist() == [0, 0, 3]


def test_a_size_without_elements_returns_at_once():
    assert kronla.rearrange(torch.zeros(0, 0), 2**20, 0).shape == (2**40, 0)
    with pytest.raises(ValueError, match="m must be in"):
        kronla.rearrange(torch.zeros(0, 0), 2**40, 0)
