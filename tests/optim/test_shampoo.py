"""Shampoo against the paper's formulas, written out in plain float64 loops."""

import math
from fractions import Fraction
from itertools import pairwise

import pytest
import torch

import kronla
from kronla.optim import OptimalKronecker, Shampoo, Shampoo2

SHAPES = [(6, 6), (4, 7), (5,), (6, 3, 2, 1), (), (1, 5)]
STEPS = 7


def gradients(shape, steps=STEPS, seed=0):
    generator = torch.Generator().manual_seed(seed + sum(shape) + 17 * len(shape))
    return [torch.randn(shape, dtype=torch.float64, generator=generator) for _ in range(steps)]


def power(A, exponent):
    eigenvalues, Q = torch.linalg.eigh(A)
    return (Q * eigenvalues.pow(exponent)) @ Q.T


def plain_shampoo(
    W, grads, *, lr, betas, eps, weight_decay, factor_beta, damping, relative_damping, exponent, update_every, grafting
):
    """Anil et al. 2020 for one parameter of at most two dimensions; every tensor float64."""
    beta1, beta2 = betas
    matrix = W.dim() == 2
    M, V = torch.zeros_like(W), torch.zeros_like(W)
    if matrix:
        L, R = (torch.zeros(n, n, dtype=W.dtype) for n in W.shape)
    for t, G in enumerate(grads, start=1):
        M = beta1 * M + (1 - beta1) * G
        V = beta2 * V + (1 - beta2) * G**2
        A = (M / (1 - beta1**t)) / ((V / (1 - beta2**t)).sqrt() + eps)
        P = A
        if matrix:
            alpha = 1 if factor_beta == 1 else 1 - factor_beta
            bias = 1 if factor_beta == 1 else 1 - factor_beta**t
            L, R = factor_beta * L + alpha * G @ G.T, factor_beta * R + alpha * G.T @ G
            if (t - 1) % update_every == 0:
                roots = []
                for factor in (L / bias, R / bias):
                    shift = damping + relative_damping * factor.norm()
                    roots.append(power(factor + shift * torch.eye(len(factor), dtype=W.dtype), exponent))
            P = roots[0] @ (M / (1 - beta1**t)) @ roots[1]
            if grafting == "adam":
                P = P * (A.norm() / P.norm())
        W = (1 - lr * weight_decay) * W - lr * P
    return W


def run(params, grads_of, **settings):
    optimizer = Shampoo(params, **settings)
    for grads in zip(*grads_of, strict=True):
        for p, grad in zip(params, grads, strict=True):
            p.grad = grad.to(p.dtype)
        optimizer.step()
    return optimizer


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"factor_beta": 0.9, "weight_decay": 0.1, "update_every": 1},
        {"factor_beta": 1.0, "relative_damping": 0.0, "damping": 0.05},
        {"grafting": None, "exponent": -0.5, "relative_damping": 1e-2},
        {"exponent": Fraction(-1, 3), "betas": (0.0, 0.5)},
    ],
    ids=["defaults", "weight_decay", "sum", "no_grafting", "thirds"],
)
def test_steps_are_the_papers(settings):
    settings = {"lr": 0.05, "relative_damping": 1e-3, "update_every": 3, "betas": (0.9, 0.99), **settings}
    starts = [torch.randn(shape, dtype=torch.float64) for shape in SHAPES]
    grads_of = [gradients(shape) for shape in SHAPES]
    params = [torch.nn.Parameter(start.clone()) for start in starts]
    run(params, grads_of, **settings)
    exponent = settings.get("exponent")
    plain = {
        "eps": 1e-8,
        "weight_decay": 0.0,
        "damping": 1e-12,
        "grafting": "adam",
        **settings,
        "factor_beta": settings.get("factor_beta", settings["betas"][1]),
        "exponent": -0.25 if exponent is None else float(exponent),
    }
    for shape, p, start, grads in zip(SHAPES, params, starts, grads_of, strict=True):
        seen_as = (6, 6) if len(shape) == 4 else shape
        expected = plain_shampoo(start.reshape(seen_as), [g.reshape(seen_as) for g in grads], **plain)
        assert (expected - start.reshape(seen_as)).norm() > 1e-3
        torch.testing.assert_close(p.detach(), expected.reshape(shape), rtol=1e-7, atol=1e-8)


def test_float32_parameters_follow_float64_ones():
    settings = {"lr": 0.05, "relative_damping": 1e-3, "update_every": 3}
    params = {d: [torch.nn.Parameter(torch.ones(s, dtype=d)) for s in SHAPES] for d in (torch.float32, torch.float64)}
    for each in params.values():
        run(each, [gradients(shape) for shape in SHAPES], **settings)
    for p32, p64 in zip(params[torch.float32], params[torch.float64], strict=True):
        torch.testing.assert_close(p32.double(), p64, rtol=0, atol=1e-4)


def test_roots_are_stale_between_refreshes():
    p = torch.nn.Parameter(torch.zeros(6, 6))
    optimizer = Shampoo([p], update_every=3, relative_damping=1e-3)
    seen = []
    for grad in gradients((6, 6)):
        p.grad = grad.float()
        optimizer.step()
        seen.append(optimizer.state[p]["root.0.0"].clone())
    changed = [not torch.equal(old, new) for old, new in pairwise(seen)]
    assert changed == [False, False, True, False, False, True]


def test_grafting_gives_each_block_the_length_of_adam():
    p, q = (torch.nn.Parameter(torch.zeros(20, 12, dtype=torch.float64)) for _ in range(2))
    run([p], [gradients((20, 12))[:1]], lr=1.0, max_dim=16, relative_damping=1e-3)
    adam = torch.optim.Adam([q], lr=1.0)
    q.grad = gradients((20, 12))[0]
    adam.step()
    for rows in (slice(0, 16), slice(16, 20)):
        assert torch.allclose(p[rows].norm(), q[rows].norm(), rtol=1e-12)
        assert not torch.allclose(p[rows], q[rows], rtol=0.1)


def test_a_failed_root_keeps_the_last_good_one(monkeypatch):
    p, q = torch.nn.Parameter(torch.zeros(5, 5)), torch.nn.Parameter(torch.zeros(5, 5))
    optimizer = Shampoo([p, q], update_every=1, relative_damping=1e-3)
    for grad in gradients((5, 5))[:2]:
        p.grad = q.grad = grad.float()
        optimizer.step()
    good = optimizer.state[p]["root.0.0"].clone()
    optimizer.state[p]["factor.0.0"].fill_diagonal_(-1.0)
    p.grad = q.grad = gradients((5, 5))[2].float()
    optimizer.step()
    assert torch.equal(optimizer.state[p]["root.0.0"], good)
    assert not torch.equal(optimizer.state[q]["root.0.0"], good)
    assert p.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_factors_of_deficient_rank_have_roots_with_the_defaults(dtype):
    """A batch of 4, inputs that are always zero: without a floor of the damping such factors fail for ever."""
    p = torch.nn.Parameter(torch.zeros(48, 96, dtype=dtype))
    optimizer = Shampoo([p], update_every=5)
    for _ in range(30):
        inputs = torch.randn(4, 96) * (torch.arange(96) < 60)
        p.grad = (torch.randn(48, 4) @ inputs).to(dtype)
        optimizer.step()
        for mode, size in ((0, 48), (1, 96)):
            root = optimizer.state[p][f"root.0.{mode}"]
            assert root.isfinite().all()
            assert (root - torch.eye(size, dtype=dtype)).norm() > 1.0


def test_exponent_finds_its_rational(monkeypatch):
    asked = []
    original = kronla.foreach_inverse_root
    monkeypatch.setattr(kronla, "foreach_inverse_root", lambda A, p, **k: asked.append(p) or original(A, p, **k))
    for exponent in (None, -0.5, -1 / 3, Fraction(-3, 4), -1 / math.pi):
        p = torch.nn.Parameter(torch.zeros(3, 3))
        p.grad = torch.eye(3) + 0.1
        Shampoo([p], exponent=exponent).step()
    assert asked == [4, 2, 3, Fraction(4, 3), math.pi]
    assert [type(p) for p in asked] == [int, int, int, Fraction, float]


def test_a_full_sum_of_squares_stays_finite():
    p = torch.nn.Parameter(torch.zeros(4, 3))
    optimizer = Shampoo([p], grafting="adagrad")
    for grad in gradients((4, 3)) * 20:
        p.grad = (grad / grad.norm() * 1e19).float()
        optimizer.step()
    assert optimizer.state[p]["second_moment"].max() == torch.finfo(torch.float32).max
    assert p.isfinite().all()


def test_loss_falls_with_the_defaults():
    torch.manual_seed(0)
    inputs, targets = torch.randn(64, 20), torch.randn(64, 3)
    network = torch.nn.Sequential(torch.nn.Linear(20, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3))
    optimizer = Shampoo(network.parameters(), lr=0.02)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = (network(inputs) - targets).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(map(math.isfinite, losses))
    assert losses[-1] < 0.4 * losses[0]


@pytest.mark.parametrize("cls", [Shampoo2, OptimalKronecker])
def test_a_factor_that_is_still_zero_has_no_root(cls):
    """A layer whose first gradient comes after a refresh: the damping alone would make steps of 1e12 times M."""
    p = torch.nn.Parameter(torch.zeros(6, 4))
    optimizer = cls([p])
    for step in range(24):
        p.grad = torch.zeros(6, 4) if step < 21 else torch.ones(6, 4)
        optimizer.step()
    assert 0 < p.abs().max() < 0.1
    assert all(row.info == 0 and row.refreshes == 0 for row in optimizer.diagnostics())
