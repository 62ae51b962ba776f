"""What inverse_root says of a root: residual, steps and info, and the rtol that they are held against."""

import math
from fractions import Fraction

import pytest
import torch
from compare import assert_same_bits, relative_errors
from roots import METHODS, spectra

import kronla
from kronla.ops import policy
from kronla.testing import matrices, reference


def symmetric_residual(X, D, p):
    product = torch.linalg.matrix_power(X, p // 2) @ D @ torch.linalg.matrix_power(X, p - p // 2)
    n = D.shape[-1]
    return (product - torch.eye(n, dtype=D.dtype, device=D.device)).flatten(-2).norm(dim=-1) / n**0.5


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("p", [1, 2, 3, 4, 6, 8])
@pytest.mark.parametrize("n", [5, 33, 64, 65, 129, 300])  # from 257 on X is widened strip by strip
def test_residual_is_that_of_the_root_returned(method, p, n, device, dtype):
    """For integer p recomputed here from X: exact up to n = 64, above that within a factor of 2."""
    A = spectra(n, 1e4, dtype, device)
    found = kronla.inverse_root(A, p, method=method, relative_damping=1e-5)
    A = A.double()
    D = A + 1e-5 * A.flatten(-2).norm(dim=-1)[:, None, None] * torch.eye(n, dtype=torch.float64, device=device)
    expected = symmetric_residual(found.X.double(), D, p)
    assert (found.residual > 0).all()
    if n <= 64:
        assert (found.residual.double() - expected).abs().le(1e-6 * expected + 1e-12).all()
    else:
        assert (found.residual.double() <= 2 * expected + 1e-12).all()
        assert (found.residual.double() >= 0.5 * expected - 1e-12).all()


@pytest.mark.parametrize(
    ("method", "p"), [("polynomial", Fraction(4, 3)), ("polynomial", Fraction(3, 2)), ("eigh", 0.7)], ids=str
)
def test_residual_bounds_the_error_of_other_exponents(method, p, device):
    """The error of X is about residual/p."""
    A = spectra(33, 1e5, device=device)
    found, expected = kronla.inverse_root(A, p, method=method), reference.inverse_root(A, p)
    assert (found.residual < 0.05).all()
    assert (relative_errors(found.X, expected.X) <= 10 * found.residual + 1e-5).all()


@pytest.mark.parametrize("p", [1, 2, 3, 4])
@pytest.mark.parametrize("n", [3, 17, 70])
def test_residual_of_ill_conditioned_matrices(p, n):
    """At a condition of 1e10 float64 roots have errors of 1e-7, but all of one kind: λxᵖ stays near 1. On a CPU."""
    A = spectra(n, 1e10, torch.float64)
    found, by_eigh = (kronla.inverse_root(A, p, method=method).residual for method in ("auto", "eigh"))
    assert (found <= 30 * by_eigh + 1e-12).all()


def test_residual_of_an_ill_conditioned_float32_matrix():
    """Reflections in float32 would leave .05 of p = 1 at a condition of 1e6: then float64 does it. On a CPU."""
    A = spectra(200, 1e6)
    found, by_eigh = (kronla.inverse_root(A, 1, method=method) for method in ("auto", "eigh"))
    good = by_eigh.info == 0
    assert good.any() and (found.residual <= 2 * by_eigh.residual + 2e-3)[good].all()


@pytest.mark.parametrize("method", METHODS)
def test_info(method, device, dtype):
    """0 good, 2 indefinite or singular, 3 not finite, each in its place."""
    n = 12
    good = matrices.symmetric("log-uniform", n, 1e2, dtype=dtype)
    singular = good.clone()
    singular[3] = singular[:, 3] = 0
    nan, inf = good.clone(), good.clone()
    nan[4, 4], inf[2, 5] = math.nan, -math.inf
    inf[5, 2] = -math.inf
    indefinite = matrices.indefinite(n, -1e-3, dtype=dtype)
    A = torch.stack([good, indefinite, singular, torch.zeros_like(good), nan, inf, -good]).to(device)
    found = kronla.inverse_root(A, 2, method=method)
    assert found.info.tolist() == [0, 2, 2, 2, 3, 3, 2]
    assert found.X[0].isfinite().all() and found.residual[0].isfinite()
    assert found.X[1:].isnan().all() and found.residual[1:].isnan().all()
    old = matrices.symmetric("flat", n, batch=(7,), dtype=dtype, seed=9).to(device)
    kept = kronla.inverse_root(A, 2, method=method, fallback=old)
    assert_same_bits([kept.X[1:], kept.X[0], kept.info], [old[1:], found.X[0], found.info])
    assert kept.residual[1:].isnan().all()


@pytest.mark.parametrize("rtol", [None, 1e3])
@pytest.mark.parametrize("method", METHODS)
def test_info_knows_tiny_negative_eigenvalues(method, rtol, device):
    """-1e-8·‖A‖_F: the sign that float32 eigh gets wrong. The float64 Cholesky decides, for every method and rtol."""
    values = matrices.spectrum("log-uniform", 32, 10)
    A = []
    for i, sign in enumerate([1, -1] * 4):
        values[-1] = sign * 1e-7 * values.norm()
        A.append(matrices.with_spectrum(values, (), torch.float32, i))
    A = torch.stack(A).to(device)
    expected = 2 * (torch.linalg.cholesky_ex(A.double()).info != 0).int()
    assert 0 < expected.sum() < 2 * len(A)
    assert torch.equal(kronla.inverse_root(A, 2, method=method, rtol=rtol).info == 2, expected == 2)


@pytest.mark.parametrize("rtol", [None, 0.5])
def test_the_cholesky_factorisation_decides_about_singular_matrices(rtol, dtype):
    """Whatever the tridiagonal form looks like: rounding makes some matrices of rank n - 1 definite. On a CPU."""
    G = torch.randn(300, 30, 29, dtype=dtype, generator=torch.Generator().manual_seed(1))
    by_auto, by_products = (kronla.inverse_root(G @ G.mT, 2, method=m, rtol=rtol).info for m in ("auto", "polynomial"))
    assert torch.equal(by_auto == 2, by_products == 2)
    assert 0 < (by_auto == 2).sum() < 300


def test_too_few_steps_are_not_converged(device):
    A = matrices.symmetric("log-uniform", 16, 1e6, (2,)).to(device)
    fallback = torch.zeros_like(A)
    found = kronla.inverse_root(A, 4, method="polynomial", max_steps=1, fallback=fallback)
    assert found.info.tolist() == [1, 1]
    assert found.steps.tolist() == [1, 1]
    assert (found.residual > 0.1).all()
    assert found.X.isfinite().all() and found.X.abs().amax() > 0


@pytest.mark.parametrize("scale", [1e-30, 1e30])
@pytest.mark.parametrize("method", ["eigh", "polynomial"])
def test_a_root_that_leaves_the_range_is_not_good(scale, method, device):
    A = ((2 * torch.eye(20) + 0.5 * torch.ones(20, 20)) * scale).to(device)
    assert kronla.inverse_root(A, 0.5, method=method).info == 1  # A^(-2) is 1e60 or 1e-60


@pytest.mark.parametrize("method", METHODS)
def test_rtol_and_unconverged(method, device):
    """info 1 keeps X and the figures: the caller decides."""
    A = matrices.symmetric("log-uniform", 16, 1e3, (2,)).to(device)
    found, strict = kronla.inverse_root(A, 2, method=method), kronla.inverse_root(A, 2, method=method, rtol=1e-12)
    assert strict.info.tolist() == [1, 1]
    assert_same_bits([strict.X, strict.residual], [found.X, found.residual])
    loose = kronla.inverse_root(A, 2, method=method, rtol=found.residual[0].item() * 1.01)
    assert loose.info[0] == 0


@pytest.mark.parametrize("p", [2, 4])
def test_rtol_is_the_accuracy_that_is_wanted(p):
    """On a CPU, float32 is enough for a loose rtol and not for a tight one; which was taken shows in the steps."""
    A = matrices.with_spectrum(torch.logspace(0, -5, 100, dtype=torch.float64), seed=3, dtype=torch.float32).expand(
        2, 100, 100
    )
    exact = reference.inverse_root(A, p).X
    loose, tight, default = (kronla.inverse_root(A, p, rtol=rtol) for rtol in (0.1, 1e-5, None))
    assert loose.steps.tolist() == [1, 1] and tight.steps.tolist() == [2, 2] and default.steps.tolist() == [1, 1]
    assert (loose.residual <= 0.1).all() and (loose.residual > 1e-5).all()
    for root, allowed in ((loose, 0.1), (tight, 1e-6), (default, 1e-6)):
        assert root.info.tolist() == [0, 0]
        assert (root.X - exact).norm() <= allowed * exact.norm()


def test_rtol_limits_what_float32_reflections_may_leave():
    """Without one they may leave 1e-3, here 3e-5 and more: the half that a tight rtol wants done again keeps to it."""
    A = spectra(200, 1e6)
    found, default = kronla.inverse_root(A, 4, rtol=2e-5), kronla.inverse_root(A, 4)
    assert (default.residual > 2e-5).sum() >= 4 and not default.info.any()
    assert (found.residual <= 2e-5).all() and not found.info.any()


def test_rtol_changes_nothing_where_the_choice_is_another(dtype):
    """float64, a p that is no integer, and "eigh" by name are decomposed in float64 with any rtol."""
    A = torch.eye(70, dtype=dtype) + 0.1
    assert torch.equal(*(kronla.inverse_root(A, 2, method="eigh", rtol=rtol).X for rtol in (0.1, None)))
    for p in (2.5,) if dtype == torch.float32 else (2, 2.5):
        assert torch.equal(kronla.inverse_root(A, p, rtol=0.1).X, kronla.inverse_root(A, p).X)


@pytest.mark.parametrize("rtol", [None, 0.1])
def test_a_power_without_quadrature_is_no_quadrature(rtol, monkeypatch):
    """A policy that knows more quadratures than the kernel has is told so; nothing else is done in their place."""
    A = matrices.symmetric("log-uniform", 33)
    largest = policy.LARGEST_QUADRATURE
    assert not torch.equal(*(kronla.inverse_root(A, largest, method=method).X for method in ("auto", "eigh")))
    monkeypatch.setattr(policy, "LARGEST_QUADRATURE", largest + 1)
    with pytest.raises(RuntimeError, match="method that does not exist"):
        kronla.inverse_root(A, largest + 1, rtol=rtol)
