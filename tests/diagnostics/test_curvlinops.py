"""curvlinops, where it is installed, as an oracle from outside: the Gauss–Newton matrix and K-FAC."""

import pytest
import torch
from diagnostics.problems import Shared, linear, mnist
from torch import nn

import kronla
from kronla import diagnostics as d

curvlinops = pytest.importorskip("curvlinops")


def oracle(model, name, x, y):
    operator = curvlinops.GGNLinearOperator(
        model, nn.CrossEntropyLoss(), [model.get_parameter(name)], [(x, y)], check_deterministic=False
    )
    return operator @ torch.eye(operator.shape[1], dtype=torch.float64)


@pytest.mark.parametrize("name", ["tokens.weight", "conv.weight", "head.weight"])
def test_gauss_newton(name):
    model, x, y = Shared(), torch.randn(9, 5, 6, dtype=torch.float64), torch.randint(3, (9,))
    expected = oracle(model, name, x, y)
    H = d.gauss_newton(d.Layer(model, name), x)
    assert ((H.dense() - expected).norm() / expected.norm()).item() < 1e-12


def test_nearest_kronecker_product_on_mnist():
    """Power steps on our operator against the dense SVD of their matrix."""
    x, y = mnist(list(range(10)), 200, pooled=4)
    model = linear(49, 10, zero=False)
    expected = oracle(model, "weight", x, y)
    U, sigma, Vt = torch.linalg.svd(kronla.rearrange(expected, 10, 49), full_matrices=False)
    nearest = sigma[0] * torch.kron(U[:, 0].reshape(10, 10), Vt[0].reshape(49, 49))
    found = d.optimal_kronecker(d.gauss_newton(d.Layer(model, "weight"), x), None)
    assert ((found.dense() - nearest).norm() / nearest.norm()).item() < 1e-9


@pytest.mark.parametrize("mode", ["expand", "reduce"])
def test_kfac_of_a_shared_linear(mode):
    """Theirs for weights and biases apart, exact over labels ("type-2"); batches as means."""
    model, x, y = Shared(), torch.randn(9, 5, 6, dtype=torch.float64), torch.randint(3, (9,))
    operator = curvlinops.KFACLinearOperator(
        model,
        nn.CrossEntropyLoss(),
        [model.tokens.weight],
        [(x, y)],
        fisher_type=curvlinops.FisherType.TYPE2,
        kfac_approx=mode,
        separate_weight_and_bias=True,
        check_deterministic=False,
    )
    expected = operator @ torch.eye(operator.shape[1], dtype=torch.float64)
    found = d.kfac(d.Layer(model, "tokens.weight"), x, mode=mode).dense()
    assert ((found - expected).norm() / expected.norm()).item() < 1e-12
