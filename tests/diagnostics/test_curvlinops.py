"""curvlinops, where it is installed, as an oracle from outside: Gauss–Newton, Fisher, K-FAC, corrected eigenvalues.

Theirs are curvatures of the mean of torch's losses. Per example, BCEWithLogitsLoss and MSELoss are means over the C
outputs too, and MSELoss lacks the ½ of ``SquaredError``: hence the factors.
"""

import pytest
import torch
from diagnostics.problems import Shared, linear, mnist
from torch import nn

import kronla
from kronla import diagnostics as d

curvlinops = pytest.importorskip("curvlinops")

f64 = torch.float64
NAMES = ["tokens.weight", "conv.weight", "head.weight"]
# Theirs, ours, number of outputs, what theirs is times ours: second derivatives, and squared gradients.
LOSSES = {
    "softmax": (nn.CrossEntropyLoss(), d.CrossEntropy(), 3, 1, 1),
    "logistic": (nn.BCEWithLogitsLoss(), d.BinaryCrossEntropy(), 1, 1, 1),
    "squares": (nn.MSELoss(), d.SquaredError(), 3, 2 / 3, 4 / 3),
    "sum": (nn.CrossEntropyLoss(reduction="sum"), d.CrossEntropy(), 3, 9, 9),
}


def labels(name, outputs):
    if name == "logistic":
        return torch.randint(2, (9, outputs)).to(f64)
    return torch.randn(9, outputs, dtype=f64) if name == "squares" else torch.randint(outputs, (9,))


def dense(kind, model, loss, name, x, y, **options):
    operator = kind(model, loss, [model.get_parameter(name)], [(x, y)], check_deterministic=False, **options)
    return operator @ torch.eye(operator.shape[1], dtype=f64)


def error(found, expected):
    return ((found - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("loss", LOSSES)
def test_gauss_newton_and_empirical_fisher(name, loss):
    theirs, ours, outputs, hessian, squares = LOSSES[loss]
    model, x, y = Shared(outputs), torch.randn(9, 5, 6, dtype=f64), labels(loss, outputs)
    layer = d.Layer(model, name, ours)
    expected = dense(curvlinops.GGNLinearOperator, model, theirs, name, x, y)
    assert error(hessian * d.gauss_newton(layer, x).dense(), expected) < 1e-13
    expected = dense(curvlinops.EFLinearOperator, model, theirs, name, x, y)
    assert error(squares * d.fisher(layer, x, y).dense(), expected) < 1e-13


def test_drawn_labels():
    """20,000 labels for each example, theirs and ours: both are Monte Carlo, at 1/√20000 = .7% of each other."""
    model, x = Shared(), torch.randn(4, 5, 6, dtype=f64)
    options = {"mc_samples": 20_000}
    y = torch.zeros(4, dtype=torch.int64)
    expected = dense(curvlinops.FisherMCLinearOperator, model, nn.CrossEntropyLoss(), "tokens.weight", x, y, **options)
    layer = d.Layer(model, "tokens.weight")
    found = d.fisher(layer, x.repeat(20_000, 1, 1), generator=torch.Generator().manual_seed(0))
    assert error(found.dense(), expected) < 0.03


@pytest.mark.parametrize("mode", ["expand", "reduce"])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("loss", LOSSES)
def test_kfac_and_corrected_eigenvalues(name, mode, loss):
    """Theirs for weights and biases apart, exact over labels ("type-2"); EKFAC is ours in K-FAC's eigenbases."""
    theirs, ours, outputs, hessian, _ = LOSSES[loss]
    model, x, y = Shared(outputs), torch.randn(9, 5, 6, dtype=f64), labels(loss, outputs)
    options = {"fisher_type": curvlinops.FisherType.TYPE2, "kfac_approx": mode, "separate_weight_and_bias": True}
    layer = d.Layer(model, name, ours)
    K = d.kfac(layer, x, mode=mode)
    expected = dense(curvlinops.KFACLinearOperator, model, theirs, name, x, y, **options)
    assert error(hessian * K.dense(), expected) < 1e-13
    values = torch.linalg.eigvalsh(K.R)
    if values[0] < 1e-10 * values[-1]:
        return  # fewer examples than inputs: nothing says which basis of the null space is meant
    expected = dense(curvlinops.EKFACLinearOperator, model, theirs, name, x, y, **options)
    bases = [kronla.eigh(factor).Q for factor in (K.L, K.R)]
    found = d.eigenvalue_corrected(d.gauss_newton(layer, x), *bases)
    assert error(hessian * found.dense(), expected) < 1e-9


def test_nearest_kronecker_product_on_mnist():
    """Power steps on our operator against the dense SVD of their matrix."""
    x, y = mnist(list(range(10)), 200, pooled=4)
    model = linear(49, 10, zero=False)
    expected = dense(curvlinops.GGNLinearOperator, model, nn.CrossEntropyLoss(), "weight", x, y)
    U, sigma, Vt = torch.linalg.svd(kronla.rearrange(expected, 10, 49), full_matrices=False)
    terms = [s * torch.kron(u.reshape(10, 10), v.reshape(49, 49)) for s, u, v in zip(sigma, U.mT, Vt, strict=False)]
    H = d.gauss_newton(d.Layer(model, "weight"), x)
    best = d.optimal_kronecker(H, None)
    assert error(best.dense(), terms[0]) < 1e-9
    assert d.cosine(H, best) == pytest.approx((sigma[0] / sigma.norm()).item(), rel=1e-12)
    assert d.relative_error(H, best) == pytest.approx((sigma[1:].norm() / sigma.norm()).item(), rel=1e-9)
    three = d.kronecker_sum(d.Dense(H.dense(), 10, 49), 3, steps=200)
    assert error(three.dense(), terms[0] + terms[1] + terms[2]) < 1e-6


def test_logistic_regression_on_mnist():
    """Their matrix of 784² is Shampoo² of our operator, to rounding."""
    x, y = mnist([0, 1], 300)
    model = linear(784, 1, zero=False)
    expected = dense(curvlinops.GGNLinearOperator, model, nn.BCEWithLogitsLoss(), "weight", x, y.to(f64).unsqueeze(-1))
    H = d.gauss_newton(d.Layer(model, "weight", d.BinaryCrossEntropy()), x)
    assert error(d.shampoo_squared(H).dense(), expected) < 1e-12
