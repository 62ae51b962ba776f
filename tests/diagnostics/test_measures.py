"""Estimates from probes: within three of their own standard errors of the exact figure, and the error is honest."""

import pytest
import torch

from kronla import diagnostics as d


def problem():
    scale = torch.logspace(0, -2, 12, dtype=torch.float64)
    return d.second_moment(torch.randn(50, 8, 12, dtype=torch.float64) * scale)


APPROXIMATIONS = {
    "optimal": d.optimal_kronecker,
    "shampoo": d.shampoo,
    "diagonal": d.diagonal,
    "corrected": lambda H: d.eigenvalue_corrected(H, *d.shampoo_bases(H)),
}


@pytest.mark.parametrize("name", APPROXIMATIONS)
def test_estimates_are_within_three_standard_errors(name):
    H = problem()
    S = APPROXIMATIONS[name](H)
    products = d.probe(H, 400, torch.Generator().manual_seed(3))
    for found, exact in (
        (d.estimate_norm(products), H.norm()),
        (d.estimate_cosine(products, S), d.cosine(H, S)),
        (d.estimate_relative_error(products, S), d.relative_error(H, S)),
    ):
        assert 0 < found.standard_error < 0.1 * abs(exact)
        assert abs(found.value - exact) < 3 * found.standard_error


def test_the_standard_error_is_that_of_many_estimates():
    H = problem()
    S = d.shampoo_squared(H)
    generator = torch.Generator().manual_seed(0)
    found = [d.estimate_cosine(d.probe(H, 30, generator), S) for _ in range(300)]
    spread = torch.tensor([estimate.value for estimate in found]).std().item()
    said = torch.tensor([estimate.standard_error for estimate in found]).mean().item()
    assert 0.7 * spread < said < 1.5 * spread


def test_an_exact_approximation_is_known_to_second_order():
    """For H = S the estimate is 1 − ½(x − 1)² with x = ‖H‖ by probes over ‖H‖: far sharper than x itself."""
    product = d.Kronecker(torch.eye(2, dtype=torch.float64), torch.diag(torch.tensor([3.0, 1.0, 2.0]).double()))
    H = d.Dense(product.dense(), 2, 3)
    products = d.probe(H, 3, torch.Generator().manual_seed(0))
    x = d.estimate_norm(products).value / H.norm()
    assert abs(x - 1) > 0.01
    assert d.estimate_cosine(products, product).value == pytest.approx(1 - (x - 1) ** 2 / 2, abs=1e-12)
    assert d.estimate_relative_error(products, product).value == 0


def test_adagrads_matrix_needs_one_accumulator_a_probe():
    G = torch.randn(9, 4, 5, dtype=torch.float64)
    accumulator = d.ProbeAccumulator(6, (4, 5), torch.Generator().manual_seed(0))
    for g in G:
        accumulator.add(g)
    expected = len(G) * d.second_moment(G).matvec(accumulator.products.V)
    torch.testing.assert_close(accumulator.products.HV, expected)


def test_zero_has_cosine_zero():
    H = d.Dense(torch.zeros(6, 6, dtype=torch.float64), 2, 3)
    S = d.optimal_kronecker(H)
    assert d.cosine(H, S) == 0
    assert d.estimate_cosine(d.probe(H, 4), d.diagonal(H)).value == 0
