"""The approximations against dense linear algebra."""

import pytest
import torch
from diagnostics.problems import Shared

import kronla
from kronla import diagnostics as d

f64 = torch.float64


def near(a, b, tolerance=1e-9):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance * b.abs().max().item())


@pytest.fixture(params=["operator", "dense", "dense float32"])
def H(request):
    G = torch.randn(30, 3, 4, dtype=f64) @ torch.diag(torch.tensor([2.0, 1.0, 0.5, 0.1], dtype=f64))
    moment = d.second_moment(G)
    if request.param == "operator":
        return moment
    return d.Dense(moment.dense() if request.param == "dense" else moment.dense().float(), 3, 4)


def tolerance(H):
    return 1e-9 if H.like.dtype == f64 else 1e-4


def svd(H):
    U, sigma, Vt = torch.linalg.svd(kronla.rearrange(H.dense().double(), 3, 4))
    return U.mT.reshape(-1, 3, 3), sigma, Vt.reshape(-1, 4, 4)


def test_optimal_is_the_first_singular_pair(H):
    U, sigma, V = svd(H)
    best = d.optimal_kronecker(H, None)
    near(best.dense().double(), sigma[0] * torch.kron(U[0], V[0]), tolerance(H))
    assert d.cosine(H, best) == pytest.approx((sigma[0] / sigma.norm()).item(), rel=tolerance(H))


@pytest.mark.parametrize("steps", [0, 1, 5])
def test_power_steps_are_those_of_the_op(H, steps):
    found = d.optimal_kronecker(H, steps)
    op = kronla.nearest_kronecker(H.dense(), 3, 4, steps=steps)
    near(found.dense(), (op.sigma * torch.kron(op.L, op.R)).to(found.L.dtype), tolerance(H))
    assert d.cosine(H, found) == pytest.approx(op.cosine.item(), rel=tolerance(H))


@pytest.mark.parametrize("rank", [1, 3, 9])
def test_sums_are_the_truncated_svd(H, rank):
    U, sigma, V = svd(H)
    found = d.kronecker_sum(H, rank, steps=400)
    near(found.sigma.double(), sigma[:rank], tolerance(H))
    expected = sum(s * torch.kron(u, v) for s, u, v in zip(sigma[:rank], U, V, strict=False))
    near(found.dense().double(), expected, 10 * tolerance(H))
    assert d.cosine(H, found) == pytest.approx((sigma[:rank].norm() / sigma.norm()).item(), rel=tolerance(H))
    x = torch.randn(2, 3, 4, dtype=found.L.dtype)
    near(found.matvec(x), d.Dense(found.dense(), 3, 4).matvec(x), tolerance(H))


def approximations(H):
    return {
        "optimal": d.optimal_kronecker(H),
        "shampoo squared": d.shampoo_squared(H),
        "shampoo": d.shampoo(H),
        "diagonal": d.diagonal(H),
        "corrected": d.eigenvalue_corrected(H, *d.shampoo_bases(H)),
        "one basis": d.Rotated(H.diagonal(None, d.shampoo_bases(H)[1]), None, d.shampoo_bases(H)[1]),
        "sum": d.kronecker_sum(H, 2),
    }


@pytest.mark.parametrize("name", list(approximations(d.Dense(torch.eye(12, dtype=f64), 3, 4))))
def test_structure_and_dense_matrix_agree(H, name):
    S = approximations(H)[name]
    dense, within = S.dense(), 10 * tolerance(H)
    V = torch.randn(5, 3, 4, dtype=dense.dtype)
    near(S.matvec(V).flatten(1), V.flatten(1) @ dense.mT, within)  # a sum is symmetric only once it has converged
    assert S.norm() == pytest.approx(dense.norm().item(), rel=within)
    assert S.inner(H) == pytest.approx((dense.double() * H.dense().double()).sum().item(), rel=within)
    expected = torch.nn.functional.cosine_similarity(dense.double().flatten(), H.dense().double().flatten(), dim=0)
    assert d.cosine(H, S) == pytest.approx(expected.item(), rel=within)
    error = (dense.double() - H.dense().double()).norm() / H.dense().double().norm()
    assert d.relative_error(H, S) == pytest.approx(error.item(), rel=within)


def test_shampoo_is_the_product_of_roots_and_its_square_shampoo_squared(H):
    dense = d.shampoo(H).dense()
    squared = d.shampoo_squared(H)
    near(dense @ dense, squared.dense() * H.trace(), tolerance(H) * 10)


def test_rescaled_is_the_nearest_multiple(H):
    S = d.shampoo(H)
    near_one = d.rescaled(H, S)
    cosine = d.cosine(H, S)
    assert d.relative_error(H, near_one) == pytest.approx((1 - cosine**2) ** 0.5, rel=tolerance(H))
    for factor in (0.99, 1.01):
        assert d.relative_error(H, near_one.scaled(factor)) > d.relative_error(H, near_one)


def test_the_order_of_approximations(H):
    """The optimal product beats every product; corrected eigenvalues beat Shampoo² in Shampoo's own basis."""
    S = approximations(H)
    best = d.cosine(H, d.optimal_kronecker(H, None)) + 1e-6
    assert max(d.cosine(H, S[name]) for name in ("shampoo", "shampoo squared")) <= best
    assert d.cosine(H, S["corrected"]) >= d.cosine(H, S["shampoo squared"]) - 1e-6
    assert d.cosine(H, S["sum"]) >= d.cosine(H, S["optimal"]) - 1e-6


def test_identity_ratios_are_those_of_figure_2(H):
    U, sigma, V = svd(H)
    left = V.diagonal(dim1=-2, dim2=-1).sum(-1)[: len(sigma)] * sigma
    right = U.diagonal(dim1=-2, dim2=-1).sum(-1)[: len(sigma)] * sigma
    ratios = d.identity_ratios(H)
    assert ratios.sigma == pytest.approx(sigma[0].item(), rel=tolerance(H))
    assert ratios.kronecker == pytest.approx((sigma[0] / sigma.norm()).item(), rel=tolerance(H))
    assert ratios.left == pytest.approx((left[0].abs() / left.norm()).item(), rel=tolerance(H))
    assert ratios.right == pytest.approx((right[0].abs() / right.norm()).item(), rel=tolerance(H))
    beyond = sigma[1:].square().sum() / sigma.square().sum()
    assert ratios.energy_beyond == pytest.approx(beyond.item(), rel=10 * tolerance(H))


@pytest.mark.parametrize("name", ["tokens.weight", "conv.weight", "head.weight"])
@pytest.mark.parametrize("mode", ["expand", "reduce"])
def test_kfac_is_its_formula(name, mode):
    layer, x = d.Layer(Shared(), name), torch.randn(8, 5, 6, dtype=f64)
    a, b = layer.signals(x, layer.loss.roots(layer.outputs(x)))
    places = a.shape[1]
    if mode == "expand":
        left = torch.einsum("xkti,xktj->ij", b, b) / 8
        right = torch.einsum("xti,xtj->ij", a, a) / (8 * places)
    else:
        left = torch.einsum("xksi,xktj->ij", b, b) / 8
        right = torch.einsum("xsi,xtj->ij", a, a) / (8 * places**2)
    near(d.kfac(layer, x, mode=mode).dense(), torch.kron(left, right))


def test_kfac_is_exact_where_one_example_has_one_place():
    """For one x, H = B ⊗ aaᵀ is a Kronecker product: K-FAC, the optimal one and Shampoo² agree with it."""
    layer, x = d.Layer(Shared(), "head.weight"), torch.randn(1, 5, 6, dtype=f64)
    H = d.gauss_newton(layer, x)
    for S in (d.kfac(layer, x), d.kfac(layer, x, mode="reduce"), d.optimal_kronecker(H), d.shampoo_squared(H)):
        assert d.relative_error(H, S) < 1e-12
