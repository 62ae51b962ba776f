"""A^(-1/p): accuracy by spectrum against the float64 eigh of the same input, and what p, A and the options may be."""

import math
from fractions import Fraction

import pytest
import torch
from compare import UNIT, assert_close, assert_figures_close, assert_same_bits, is_symmetric, relative_errors
from roots import METHODS, spectra

import kronla
from kronla.testing import matrices, reference

SIZES = [0, 1, 2, 3, 5, 16, 31, 32, 33, 64, 65, 127, 128, 129, 257]
EXPONENTS = [2, 3, 4, 6, 8, 1, Fraction(4, 3), Fraction(3, 2), 0.7]
#: Of accuracy tests: all through eigh, what the polynomials have coefficients for, what has quadratures or not.
PAIRS = [("eigh", p) for p in EXPONENTS] + [("polynomial", p) for p in EXPONENTS if p != 0.7]
PAIRS += [("auto", p) for p in (1, 2, 3, 4, 5, 16, 17, Fraction(4, 3))]


def root_by_eigh(A, p):
    """What torch gives in the input's own precision: NaN where an eigenvalue came out negative."""
    eigenvalues, Q = torch.linalg.eigh(A)
    return (Q * eigenvalues.unsqueeze(-2) ** (-1 / float(p))) @ Q.mT


def allowed(A, p, expected):
    """2 × the error of torch.linalg.eigh, or 3e-6; anything where eigh itself fails."""
    return (2 * relative_errors(root_by_eigh(A, p), expected)).clamp_min(3e-6).nan_to_num(math.inf)


@pytest.mark.parametrize(("method", "p"), PAIRS, ids=str)
@pytest.mark.parametrize("condition", [1e1, 1e3, 1e5, 1e7])
@pytest.mark.parametrize("n", [3, 16, 33, 128])
def test_accuracy(method, p, condition, n, device):
    A = spectra(n, condition, device=device)
    expected = reference.inverse_root(A, p)
    found = kronla.inverse_root(A, p, method=method)
    errors, limits = relative_errors(found.X, expected.X), allowed(A, p, expected.X)
    worse = {
        kind: f"{error:.2e} > {limit:.2e}"
        for kind, error, limit, info in zip(matrices.SPECTRA, errors, limits, expected.info, strict=True)
        if info == 0 and not error <= limit
    }
    assert not worse
    assert is_symmetric(found.X)
    assert torch.equal(found.info == 2, expected.info == 2)


@pytest.mark.parametrize("p", [1, 2, 4])
@pytest.mark.parametrize("method", METHODS)
def test_accuracy_of_many_small_matrices(method, p, device):
    """Where eigh is at its best."""
    A = torch.stack([matrices.symmetric("one-small", 3, 1e2, seed=seed) for seed in range(200)]).to(device)
    expected = reference.inverse_root(A, p).X
    errors = relative_errors(kronla.inverse_root(A, p, method=method).X, expected)
    assert (errors / allowed(A, p, expected)).max().item() <= 1


@pytest.mark.parametrize(
    ("method", "p"), [("auto", 1), ("auto", 2), ("auto", 4), ("eigh", 4), ("polynomial", 2), ("polynomial", 4)]
)
def test_accuracy_of_a_large_matrix(method, p, device):
    A = torch.stack([matrices.symmetric(k, 257, 1e6) for k in ("log-uniform", "low-rank")]).to(device)
    expected = reference.inverse_root(A, p).X
    assert (relative_errors(kronla.inverse_root(A, p, method=method).X, expected) <= allowed(A, p, expected)).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("p", [1, 2, 4, Fraction(4, 3)], ids=str)
@pytest.mark.parametrize("condition", [1e1, 1e5])
def test_accuracy_in_float64(method, p, condition, device):
    """κ·n·u, the condition of the problem: the float64 reference is no better."""
    A = spectra(33, condition, torch.float64, device)
    found, expected = kronla.inverse_root(A, p, method=method), reference.inverse_root(A, p)
    assert_close(found.X, expected.X, condition * 33 * UNIT[torch.float64])
    assert found.residual.max().item() <= condition * 33 * UNIT[torch.float64]
    assert not found.info.any()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n", SIZES)
def test_sizes(method, n, device, dtype):
    A = matrices.symmetric("log-uniform", n, 1e2, (2,), dtype).to(device)
    found = kronla.inverse_root(A, 2, method=method)
    assert_close(found.X, reference.inverse_root(A, 2).X, 50 * UNIT[dtype] * 8)
    assert found.X.dtype == found.residual.dtype == dtype
    assert found.steps.dtype == found.info.dtype == torch.int32
    assert found.residual.shape == found.steps.shape == found.info.shape == (2,)
    assert not found.info.any()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("batch", [(0,), (1,), (3,), (2, 3), (1000,)], ids=str)
def test_batches(method, batch, device, dtype):
    A = matrices.symmetric("log-uniform", 4, 1e2, batch, dtype).to(device)
    found = kronla.inverse_root(A, 4, method=method)
    assert found.X.shape == A.shape and found.info.shape == batch
    assert_close(found.X, reference.inverse_root(A, 4).X, 50 * UNIT[dtype] * 8)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("p", [2, 4, Fraction(4, 3)], ids=str)
def test_size_one_is_exact(method, p, device, dtype):
    """One rounding of the float64 power."""
    A = torch.tensor([4.0, 0.3, 7e-5, 1e12], dtype=dtype, device=device).view(4, 1, 1)
    found = kronla.inverse_root(A, p, method=method, damping=0.1)
    expected = (A.double() + 0.1) ** (-1 / float(p))
    assert (found.X.double() - expected).abs().le(2 * UNIT[dtype] * expected).all()
    assert found.info.tolist() == [0] * 4
    assert found.residual.max().item() <= 16 * UNIT[dtype]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("matrix", [matrices.toeplitz, matrices.equicorrelated], ids=lambda f: f.__name__)
def test_constant_diagonals(method, matrix, device, dtype):
    A = matrix(33, 0.9, (2,), dtype).to(device)
    found = kronla.inverse_root(A, 2, method=method)
    assert_close(found.X, reference.inverse_root(A, 2).X, max(3e-6 if dtype == torch.float32 else 0, 1e3 * UNIT[dtype]))


@pytest.mark.parametrize("method", METHODS)
def test_multiples_of_the_identity(method, device, dtype):
    A = torch.eye(20, dtype=dtype, device=device) * torch.tensor([1e-8, 1.0, 1e8], device=device).view(3, 1, 1)
    found = kronla.inverse_root(A.to(dtype), 2, method=method)
    assert_close(found.X, A.double() ** 0.5 / A.double().amax((-2, -1), keepdim=True), 64 * UNIT[dtype])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scale", [1e-30, 1e30])
@pytest.mark.parametrize("p", [1, 2, 4, Fraction(4, 3)], ids=str)
def test_scales(method, scale, p, device, dtype):
    """Scaling A by s scales X by s^(-1/p), and leaves the residual and the info."""
    A = matrices.symmetric("log-uniform", 20, 1e2, dtype=dtype).to(device)
    found, plain = kronla.inverse_root(scale * A, p, method=method), kronla.inverse_root(A, p, method=method)
    assert found.info.item() == 0
    assert_close(
        found.X.double() * scale ** (1 / float(p)), plain.X.double(), 3e-6 if dtype == torch.float32 else 1e-12
    )
    assert found.residual.item() <= 4 * plain.residual.item() + 1e-6


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("damping", "relative"), [(0.5, 0.0), (0.0, 1e-3), (0.1, 0.01)])
def test_damping(method, damping, relative, device, dtype):
    """‖A‖_F and D are formed in float64."""
    A = matrices.rank_deficient(33, 8, (2,), dtype).to(device)
    options = {"damping": damping, "relative_damping": relative}
    found, expected = kronla.inverse_root(A, 4, method=method, **options), reference.inverse_root(A, 4, **options)
    assert not found.info.any()
    assert_close(found.X, expected.X, 3e-6 if dtype == torch.float32 else 1e-11)


@pytest.mark.parametrize("p", [2, Fraction(4, 3)], ids=str)
def test_one_matrix_of_129_rows(p, device):
    """The smallest that CUDA works on by tiles in global memory."""
    A = matrices.rank_deficient(129, 64).to(device)
    options = {"relative_damping": 1e-3, "method": "polynomial"}
    found, expected = kronla.inverse_root(A, p, **options), reference.inverse_root(A, p, **options)
    assert found.info == 0 and is_symmetric(found.X)
    assert_close(found.X, expected.X, 3e-6)


def test_relative_damping_makes_rank_deficient_factors_definite(device):
    """As the documentation says: 1e-6 is enough for float32."""
    A = matrices.rank_deficient(64, 16, (8,)).to(device)
    assert not kronla.inverse_root(A, 4, relative_damping=1e-6).info.any()


def test_exponents_are_numbers(device):
    """2, 2.0 and Fraction(2) are one exponent, for "auto" and for eigh."""
    A = matrices.symmetric("log-uniform", 9, 1e2).to(device)
    for method in ("auto", "eigh"):
        one, *others = (kronla.inverse_root(A, p, method=method) for p in (2, 2.0, Fraction(2), Fraction(4, 2)))
        for other in others:
            assert_close(other.X, one.X.double(), 4 * UNIT[torch.float32])


@pytest.mark.parametrize("p", [5, 7, 0.7, math.pi, Fraction(5, 3)], ids=str)
def test_polynomials_that_do_not_exist(p, device):
    A = matrices.symmetric("log-uniform", 4).to(device)
    with pytest.raises(NotImplementedError, match=r"\bp\b|polynomial"):
        kronla.inverse_root(A, p, method="polynomial")
    assert kronla.inverse_root(A, p).info.item() == 0


@pytest.mark.parametrize("layout", ["strided", "expanded"])
@pytest.mark.parametrize("method", METHODS)
def test_layouts(method, layout, device, dtype):
    A = matrices.symmetric("log-uniform", 10, 1e2, (3,), dtype).to(device)
    A = A[:, ::2, ::2] if layout == "strided" else A[:1].expand(3, 10, 10)
    found = kronla.inverse_root(A, 2, method=method)
    assert_same_bits(list(found), list(kronla.inverse_root(A.contiguous(), 2, method=method)))
    assert found.X.is_contiguous()


def test_one_triangle_is_enough(device):
    """A is taken as symmetric: rounding in the other triangle moves X by no more than that."""
    A = matrices.symmetric("log-uniform", 33, 1e2, dtype=torch.float64).to(device)
    B = A + 1e-14 * torch.triu(torch.ones_like(A), 1)
    assert_close(kronla.inverse_root(B, 2).X, kronla.inverse_root(A, 2).X, 1e-10)


def test_lists(device, dtype):
    As = [
        matrices.symmetric("log-uniform", n, 1e2, batch, dtype).to(device)
        for n, batch in ((3, ()), (33, (2,)), (0, (4,)))
    ]
    fallbacks = [None, torch.zeros_like(As[1]), None]
    As[1][1] = -As[1][1]
    found = kronla.foreach_inverse_root(As, 4, fallbacks=fallbacks, relative_damping=1e-6)
    for x, A, old in zip(found, As, fallbacks, strict=True):
        assert_same_bits(list(x), list(kronla.inverse_root(A, 4, fallback=old, relative_damping=1e-6)))
    assert found[1].info.tolist() == [0, 2] and not found[1].X[1].any()
    assert kronla.foreach_inverse_root([], 2) == []


def test_empty(device, dtype):
    for method in METHODS:
        found = kronla.inverse_root(torch.zeros(3, 0, 0, dtype=dtype, device=device), 2, method=method)
        assert found.X.shape == (3, 0, 0)
        assert found.info.tolist() == [0, 0, 0]
        assert_figures_close(found.residual, torch.zeros(3), 0)


def test_any_limit_of_steps(device):
    A = 2 * torch.eye(20, device=device)
    root = kronla.inverse_root(A, 2, method="polynomial", max_steps=2**31 - 1)
    assert root.info == 0 and root.steps > 0
    with pytest.raises(ValueError, match="max_steps"):
        kronla.inverse_root(A, 2, max_steps=2**63)


@pytest.mark.parametrize("p", [10**400, Fraction(10**400), Fraction(1, 10**400)])
def test_a_number_beyond_the_floats_is_refused(p):
    with pytest.raises(ValueError, match="p must"):
        kronla.inverse_root(torch.eye(2), p)


@pytest.mark.parametrize("method", METHODS)
def test_damping_far_above_the_matrix(method, device):
    identity = torch.eye(5, dtype=torch.float64, device=device)
    root = kronla.inverse_root(identity * 2e-305, 4, damping=1e10, method=method)
    assert root.info == 0
    assert torch.allclose(root.X, identity * 1e10**-0.25, rtol=1e-12)


def test_an_exponent_beyond_the_integers(device, dtype):
    A = torch.eye(5, dtype=dtype, device=device) * 4
    root = kronla.inverse_root(A, 1e300)
    assert root.info == 0 and torch.allclose(root.X, A / 4)
