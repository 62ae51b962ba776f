"""Factors: L ← βL + αGGᵀ and their kin, against the float64 reference and by their properties."""

import math

import hypothesis
import hypothesis.strategies as st
import pytest
import torch
from compare import UNIT, assert_close, assert_same_bits, is_symmetric, tolerance

import kronla
from kronla.testing import matrices, reference

SIZES = [0, 1, 2, 3, 5, 16, 31, 32, 33, 64, 65, 127, 128, 129, 257]
#: Each size once on either side, beside one far from it.
SHAPES = [*zip(SIZES, [7, 0, 129, 1, 33, 40, 257, 3, 31, 64, 16, 2, 128, 5, 65], strict=True), (64, 0), (0, 5), (0, 0)]
BATCHES = [(), (0,), (1,), (3,), (2, 3), (1000,)]


def factors(m, n, batch=(), dtype=torch.float32, device="cpu", seed=0):
    spd = [matrices.symmetric("log-uniform", k, 10, batch, dtype, seed + k) for k in (m, n)]
    return [x.to(device) for x in spd]


def gradient(*shape, dtype=torch.float32, device="cpu", seed=5):
    return matrices.gradients(*shape, dtype=dtype, seed=seed).to(device)


def check(name, targets, *inputs, terms, **options):
    """Calls the op and the reference on copies of the targets and compares what they hold after."""
    expected = [None if x is None else x.double().clone() for x in targets]
    getattr(reference, name)(*pack(name, expected), *inputs, **options)
    assert getattr(kronla, name)(*pack(name, targets), *inputs, **options) is None
    for x, y in zip(targets, expected, strict=True):
        if x is not None:
            assert is_symmetric(x)
            assert_close(x, y, tolerance(terms, x.dtype))


def pack(name, targets):
    return [targets] if "mode" in name else targets


@pytest.mark.parametrize(("m", "n"), SHAPES, ids=lambda x: str(x))
def test_shapes(m, n, device, dtype):
    check(
        "update_factors_",
        factors(m, n, (), dtype, device),
        gradient(m, n, dtype=dtype, device=device),
        beta=0.9,
        terms=m + n,
    )


@pytest.mark.parametrize("batch", BATCHES, ids=str)
def test_batches(batch, device, dtype):
    check(
        "update_factors_",
        factors(5, 3, batch, dtype, device),
        gradient(*batch, 5, 3, dtype=dtype, device=device),
        beta=0.5,
        terms=8,
    )


@pytest.mark.parametrize(("m", "n"), [(4, 9), (65, 33), (33, 300)], ids=str)
def test_gradient_dtypes(m, n, device, dtype, gradient_dtype):
    """A gradient is widened exactly (float64 into float32 is rounded once), then summed in the accumulator."""
    G = gradient(2, m, n, dtype=gradient_dtype, device=device)
    check("update_factors_", factors(m, n, (2,), dtype, device), G, beta=0.9, terms=m + n)


@pytest.mark.parametrize(("beta", "alpha"), [(0.9, None), (0, None), (1, 0.5), (1.0, 1.0), (0.5, 3), (0.25, 0)])
def test_coefficients(beta, alpha, device, dtype):
    check(
        "update_factors_",
        factors(6, 33, (), dtype, device),
        gradient(6, 33, dtype=dtype, device=device),
        beta=beta,
        alpha=alpha,
        terms=33,
    )


def test_alpha_zero_and_beta_one_change_nothing(device, dtype):
    L, R = factors(6, 4, (), dtype, device)
    old = [L.clone(), R.clone()]
    kronla.update_factors_(L, R, gradient(6, 4, dtype=dtype, device=device), beta=1, alpha=0)
    assert_same_bits([L, R], old)


def test_beta_zero_reads_no_factor(device, dtype):
    L, R = (
        torch.full((2, 5, 5), math.nan, dtype=dtype, device=device),
        torch.full((2, 3, 3), math.inf, dtype=dtype, device=device),
    )
    check("update_factors_", [L, R], gradient(2, 5, 3, dtype=dtype, device=device), beta=0, terms=5)


@pytest.mark.parametrize("absent", [0, 1])
def test_one_side_only(absent, device, dtype):
    targets = factors(40, 6, (2,), dtype, device)
    targets[absent] = None
    check("update_factors_", targets, gradient(2, 40, 6, dtype=dtype, device=device), beta=0.9, terms=40)


@pytest.mark.parametrize("given", ["both", "left", "right", "none"])
@pytest.mark.parametrize(("m", "n"), [(3, 2), (33, 65), (129, 40), (2, 0)], ids=str)
def test_weights(given, m, n, device, dtype, gradient_dtype):
    WL, WR = factors(m, n, (2,), dtype, device, seed=50)
    weights = (WL if given in ("both", "left") else None, WR if given in ("both", "right") else None)
    G = gradient(2, m, n, dtype=gradient_dtype, device=device)
    check("update_factors_", factors(m, n, (2,), dtype, device), G, beta=0.9, weights=weights, terms=m + n)


def test_weighted_by_identities_is_unweighted(device, dtype):
    G = gradient(12, 7, dtype=dtype, device=device)
    plain, weighted = factors(12, 7, (), dtype, device), factors(12, 7, (), dtype, device)
    weights = tuple(torch.eye(k, dtype=dtype, device=device) for k in (12, 7))
    kronla.update_factors_(*plain, G, beta=0.5)
    kronla.update_factors_(*weighted, G, beta=0.5, weights=weights)
    for x, y in zip(weighted, plain, strict=True):
        assert_close(x, y, tolerance(12, dtype))


@pytest.mark.parametrize("layout", ["transposed", "strided", "expanded", "flipped rows"])
def test_gradient_layouts(layout, device, dtype):
    G = {
        "transposed": gradient(2, 9, 5, dtype=dtype).mT,
        "strided": gradient(4, 10, 27, dtype=dtype)[::2, ::2, ::3],
        "expanded": gradient(5, 1, dtype=dtype).expand(2, 5, 9),
        "flipped rows": gradient(9, 5, 2, dtype=dtype).permute(2, 1, 0),
    }[layout].to(device)
    if layout == "expanded":
        G = gradient(5, 1, dtype=dtype, device=device).expand(2, 5, 9)
    check("update_factors_", factors(5, 9, (2,), dtype, device), G, beta=0.9, terms=9)


@pytest.mark.parametrize("layout", ["strided", "transposed", "column of a larger batch"])
def test_writes_through_non_contiguous_outputs(layout, device, dtype):
    """The view is updated, and nothing around it."""
    storage, view = {
        "strided": (torch.full((2, 11, 11), 7.0), lambda x: x[:, 1::2, ::3][:, :4, :4]),
        "transposed": (torch.full((4, 4, 2), 7.0), lambda x: x.permute(2, 1, 0)),
        "column of a larger batch": (torch.full((2, 3, 4, 4), 7.0), lambda x: x[:, 1]),
    }[layout]
    storage = storage.to(device, dtype)
    start = matrices.symmetric("log-uniform", 4, 10, (2,), dtype).to(device)
    view(storage).copy_(start)
    before = storage.clone()
    G = gradient(2, 4, 6, dtype=dtype, device=device)
    kronla.update_factors_(view(storage), None, G, beta=0.5)
    kronla.update_factors_(start, None, G, beta=0.5)
    view(before).copy_(start)
    assert_same_bits([storage], [before])


@pytest.mark.parametrize("scale", [1e-15, 1e15])
def test_scales(scale, device, dtype):
    """Factors of 1e-30 and 1e30."""
    G = scale * gradient(20, 33, dtype=dtype, device=device)
    L, R = (scale**2 * x for x in factors(20, 33, (), dtype, device))
    check("update_factors_", [L, R], G, beta=0.9, terms=33)


def test_long_sums_keep_float32_accuracy(device):
    """100,000 terms: no worse than twice torch's float32 product, or 8·n·u."""
    G = torch.randn(3, 100_000).to(device)
    L = torch.zeros(3, 3, device=device)
    kronla.update_factors_(L, None, G, beta=0, alpha=1)
    exact = G.double() @ G.double().mT
    torch_error = ((G @ G.mT).double() - exact).norm() / exact.norm()
    assert_close(L, exact, max(2 * torch_error.item(), 64 * UNIT[torch.float32]))


def test_a_constant_gradient_is_a_fixed_point(device, dtype):
    G = gradient(5, 7, dtype=dtype, device=device)
    L = torch.zeros(5, 5, dtype=dtype, device=device)
    for _ in range(60):
        kronla.update_factors_(L, None, G, beta=0.5)
    assert_close(L, G.double() @ G.double().mT, 4 * tolerance(7, dtype))


@pytest.mark.parametrize("dims", [(5,), (33,), (4, 6), (3, 4, 5), (64, 16, 3, 3), (2, 1, 3, 1, 2), (3, 0, 4)], ids=str)
@pytest.mark.parametrize("batch", [(), (2,)], ids=str)
def test_modes(dims, batch, device, dtype):
    targets = [matrices.symmetric("log-uniform", d, 10, batch, dtype, d).to(device) for d in dims]
    check(
        "update_mode_factors_",
        targets,
        gradient(*batch, *dims, dtype=dtype, device=device),
        beta=0.9,
        terms=math.prod(dims),
    )


@pytest.mark.parametrize("absent", [(0,), (1, 2), (0, 1, 2)], ids=str)
def test_modes_without_some(absent, device, dtype, gradient_dtype):
    targets = [matrices.symmetric("log-uniform", d, 10, (), dtype, d).to(device) for d in (33, 4, 5)]
    for i in absent:
        targets[i] = None
    check("update_mode_factors_", targets, gradient(33, 4, 5, dtype=gradient_dtype, device=device), beta=0, terms=165)


def test_modes_of_a_matrix_are_its_two_factors(device, dtype):
    G = gradient(33, 20, dtype=dtype, device=device)
    modes, sides = factors(33, 20, (), dtype, device), factors(33, 20, (), dtype, device)
    kronla.update_mode_factors_(modes, G, beta=0.75)
    kronla.update_factors_(*sides, G, beta=0.75)
    for x, y in zip(modes, sides, strict=True):
        assert_close(x, y, tolerance(33, dtype))


def test_modes_of_a_permuted_tensor(device, dtype):
    """The strides of a channels-last gradient are followed."""
    G = gradient(2, 6, 3, 5, dtype=dtype, device=device).permute(0, 3, 1, 2)
    targets = [matrices.symmetric("log-uniform", d, 10, (2,), dtype, d).to(device) for d in (5, 6, 3)]
    check("update_mode_factors_", targets, G, beta=0.9, terms=90)


@hypothesis.settings(max_examples=40, deadline=None)
@hypothesis.given(
    st.lists(st.tuples(*[st.integers(0, 40)] * 2, st.integers(0, 3), st.booleans(), st.booleans()), max_size=6)
)
def test_ragged_lists(layout):
    """Any list of shapes and batches, with factors missing, does what single calls do."""
    Gs = [gradient(batch, m, n, seed=i) for i, (m, n, batch, *_) in enumerate(layout)]
    Ls = [torch.eye(m).repeat(batch, 1, 1) if left else None for m, _, batch, left, _ in layout]
    Rs = [torch.eye(n).repeat(batch, 1, 1) if right else None for _, n, batch, _, right in layout]
    single = [[None if x is None else x.clone() for x in side] for side in (Ls, Rs)]
    kronla.foreach_update_factors_(Ls, Rs, Gs, beta=0.9)
    for L, R, G in zip(*single, Gs, strict=True):
        kronla.update_factors_(L, R, G, beta=0.9)
    for side, expected in zip((Ls, Rs), single, strict=True):
        for x, y in zip(side, expected, strict=True):
            assert x is y is None or torch.equal(x, y)


def test_lists_of_mixed_gradients_and_weights(device):
    dtypes = [torch.bfloat16, torch.float32, torch.float64, torch.float16]
    Gs = [gradient(8, 5 + i, dtype=x, device=device) for i, x in enumerate(dtypes)]
    Ls, Rs = ([f[side] for f in (factors(8, 5 + i, (), torch.float32, device) for i in range(4))] for side in (0, 1))
    weights = [(factors(8, 5 + i, device=device)[0] if i % 2 else None, None) for i in range(4)]
    expected = [x.double() for x in Ls], [x.double() for x in Rs]
    reference.foreach_update_factors_(*expected, Gs, beta=0.9, weights=weights)
    kronla.foreach_update_factors_(Ls, Rs, Gs, beta=0.9, weights=weights)
    for x, y in zip(Ls + Rs, expected[0] + expected[1], strict=True):
        assert_close(x, y, tolerance(16, torch.float32))


def test_empty_lists():
    assert not kronla.foreach_update_factors_([], [], [], beta=0.9)
    assert not kronla.foreach_update_mode_factors_([], [], beta=0.9)


@pytest.mark.parametrize(("m", "n"), [(1, 1), (3, 5), (33, 16), (64, 129), (0, 3)], ids=str)
@pytest.mark.parametrize("count", [1, 9])
def test_kron_power_step(m, n, count, device, dtype, gradient_dtype):
    G = gradient(2, count, m, n, dtype=gradient_dtype, device=device)
    L, R = factors(m, n, (2,), dtype, device)
    old = [L.clone(), R.clone()]
    found, expected = kronla.kron_power_step(G, L, R), reference.kron_power_step(G, L, R)
    assert_same_bits([L, R], old)
    for x, y in zip(found, expected, strict=True):
        assert x.dtype == dtype and is_symmetric(x)
        assert_close(x, y, tolerance(m + n + count, dtype))


def test_kron_power_step_from_identities_is_shampoo_squared(device, dtype):
    G = gradient(50, 6, 4, dtype=dtype, device=device)
    L, R = kronla.kron_power_step(G, torch.eye(6, dtype=dtype, device=device), torch.eye(4, dtype=dtype, device=device))
    assert_close(L, (G.double() @ G.double().mT).mean(0), tolerance(54, dtype))
    assert_close(R, (G.double().mT @ G.double()).mean(0), tolerance(56, dtype))


def test_kron_power_step_of_many_samples(device):
    """N is summed as accurately as one long product."""
    G = gradient(3000, 4, 3, device=device)
    L, R = factors(4, 3, device=device)
    for x, y in zip(kronla.kron_power_step(G, L, R), reference.kron_power_step(G, L, R), strict=True):
        assert_close(x, y, 64 * UNIT[torch.float32])


def test_float16_subnormals_survive_a_thread_that_flushes_its_own():
    """Below 6e-5 they are ordinary gradients, whatever the thread does with subnormal float32."""
    G = torch.full((2, 2), 3e-5, dtype=torch.float16)
    expected = G.float() @ G.float().T
    found = torch.zeros(2, 2)
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor does not flush")
    try:
        kronla.update_factors_(found, None, G, beta=0.0, alpha=1.0)
    finally:
        torch.set_flush_denormal(False)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0.0)
