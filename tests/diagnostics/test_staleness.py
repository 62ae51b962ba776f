"""The bases of running optimizers, seen from outside."""

import pytest
import torch
from torch import nn

import kronla
from kronla import diagnostics as d


def run(make, steps, observe=lambda model, optimizer: None):
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
    optimizer = make(model.parameters())
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(torch.randn(16, 6)), torch.randint(3, (16,))).backward()
        optimizer.step()
        observe(model, optimizer)
    return model, optimizer


def test_ratios_of_every_factor_by_name():
    model, optimizer = run(lambda p: kronla.optim.EShampoo(p, factor_beta=0.5, max_steps=0), 6)
    ratios = d.off_diagonal_ratios(optimizer, model.named_parameters())
    assert {name.parameter for name in ratios} == {"0.weight", "2.weight"} and len(ratios) == 4
    state = optimizer.state[model[0].weight]
    for mode in (0, 1):
        expected = kronla.off_diagonal_ratio(state[f"factor.0.{mode}"], state[f"basis.0.{mode}"]).item()
        assert ratios[d.FactorName("0.weight", 0, mode)] == pytest.approx(expected, rel=1e-6)
        assert expected > 0.01


def test_a_tolerance_bounds_the_ratios():
    model, optimizer = run(lambda p: kronla.optim.EShampoo(p, factor_beta=0.5, tol=0.05, max_steps=50), 6)
    assert max(d.off_diagonal_ratios(optimizer, model.named_parameters()).values()) <= 0.05


def test_shampoo_keeps_no_bases_so_a_trace_has_its_own():
    trace, found = d.BasisTrace(every=4), []
    model, optimizer = run(
        lambda p: kronla.optim.Shampoo(p, factor_beta=0.5),
        9,
        lambda model, optimizer: found.append(trace.observe(d.factors_of(optimizer, model.named_parameters()))),
    )
    assert d.off_diagonal_ratios(optimizer, model.named_parameters()) == {}
    assert found[0] == {} and all(len(ratios) == 4 for ratios in found[1:])
    for name in found[1]:
        assert found[1][name] > 0 and found[5][name] > 0
    # Refreshed at calls 0, 4 and 8: a basis of the present factors diagonalises them.
    factors = d.factors_of(optimizer, model.named_parameters())
    assert max(kronla.off_diagonal_ratio(factors[name], trace.bases[name]).item() for name in factors) < 1e-5
    assert max(found[8].values()) > 0.01


def test_large_parameters_have_blocks():
    model = nn.Linear(8, 4)
    optimizer = kronla.optim.SOAP(model.parameters(), max_dim=4)
    for _ in range(2):
        model(torch.randn(5, 8)).square().mean().backward()
        optimizer.step()
    names = d.off_diagonal_ratios(optimizer, model.named_parameters())
    assert {name.block for name in names} == {0, 1}
