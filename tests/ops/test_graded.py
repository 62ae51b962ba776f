"""Matrices whose elements differ by orders of magnitude, in any order, or beyond float64's normal range. On a CPU."""

import math

import pytest
import torch
from compare import relative_errors

import kronla
from kronla.testing import matrices, reference

ORDERS = ["descending", "ascending", "mixed"]


def graded(n, decades, order):
    """s and a well conditioned B of diag(s) B diag(s), whose small eigenvalues are as certain as large ones."""
    s = torch.logspace(0, -decades, n, dtype=torch.float64)
    index = torch.randperm(n, generator=torch.Generator().manual_seed(n))
    s = {"descending": s, "ascending": s.flip(0), "mixed": s[index]}[order]
    return s, matrices.symmetric("log-uniform", n, 3, dtype=torch.float64)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("n", [3, 8, 16, 70])
def test_eigenvalues_keep_their_relative_accuracy(n, order):
    """(More than 8 float32 eigenvalues are right to u ‖A‖ only: close ones are merged.)"""
    s, B = graded(n, 4, order)
    dtype, limit = (torch.float32, 2e-5) if n <= 8 else (torch.float64, 1e-10)
    A = (s[:, None] * B * s).to(dtype)
    found = kronla.eigh(A)
    index = s.argsort(descending=True)  # the order in which LAPACK's eigenvalues are right
    exact, vectors = torch.linalg.eigh(A[index][:, index].double())
    assert ((found.eigenvalues - exact) / exact).abs().max() <= limit
    assert ((found.Q[index].double() * vectors).sum(0).abs() >= 1 - 1e-4).all()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("method", ["auto", "eigh"])
@pytest.mark.parametrize("n", [3, 16, 40, 150])
def test_roots_keep_their_relative_accuracy(n, method, order):
    """The inverse of diag(s) B diag(s), at a condition of 1e10: as they stood, large rows first gave 5e-8 to 1e-6."""
    s, B = graded(n, 5, order)
    found = kronla.inverse_root(s[:, None] * B * s, 1, method=method)
    assert found.info == 0
    assert relative_errors(found.X, torch.linalg.inv(B) / s[:, None] / s) <= 1e-11
    A = (s[:, None] * B * s).float()
    for rtol in (None, 0.5):
        found = kronla.inverse_root(A, 4, method=method, rtol=rtol)
        assert found.info == 0
        assert relative_errors(found.X, reference.inverse_root(A, 4).X) <= (3e-6 if rtol is None else 1e-2)


@pytest.mark.parametrize("n", [129, 300])
def test_roots_near_a_multiple_of_the_identity_are_as_right_as_they_can_be(n):
    """An arrow: reflections of all of X in float32 left 3e-6."""
    A = torch.eye(n)
    A[-1, :-1] = A[:-1, -1] = 0.9 / math.sqrt(n)
    for p in (2, 16):
        assert relative_errors(kronla.inverse_root(A, p).X, reference.inverse_root(A, p).X) <= 3e-7


@pytest.mark.parametrize("method", ["auto", "eigh", "polynomial"])
@pytest.mark.parametrize("n", [1, 2, 40])
def test_roots_of_the_smallest_and_the_largest_numbers(n, method):
    identity = torch.eye(n, dtype=torch.float64)
    for size in (5e-324, 1e-310, 1e-300, 1e300, 1.7e308):
        found = kronla.inverse_root(size * identity, 2, method=method)
        assert found.info == 0
        torch.testing.assert_close(found.X, size**-0.5 * identity, rtol=1e-14, atol=0)
    twice = kronla.inverse_root(1e308 * identity, 2, damping=1e308, method=method)
    assert twice.info == 0
    torch.testing.assert_close(twice.X, 1e308**-0.5 * 2**-0.5 * identity, rtol=1e-14, atol=0)
