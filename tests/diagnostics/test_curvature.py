"""Gradients and curvature operators against torch's own derivatives, and the two lemmas about batches."""

import itertools

import pytest
import torch
from diagnostics.problems import Shared, every
from torch import nn

import kronla
from kronla import diagnostics as d

NAMES = ["tokens.weight", "conv.weight", "head.weight"]


def near(a, b, tolerance=1e-10):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance * b.abs().max().item())


def data(count=6):
    return torch.randn(count, 5, 6, dtype=torch.float64), torch.randint(3, (count,))


@pytest.mark.parametrize("name", NAMES)
def test_per_example_gradients_are_those_of_autograd(name):
    model, (x, y) = Shared(), data()
    layer = d.Layer(model, name)
    found = layer.gradients(x, y)
    for i in range(len(x)):
        loss = nn.functional.cross_entropy(model(x[i : i + 1]), y[i : i + 1])
        expected = torch.autograd.grad(loss, layer.weight)[0]
        near(found[i], expected.reshape(layer.shape))


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_sums_over_the_places_that_share_the_weight(name):
    layer, (x, _) = d.Layer(Shared(), name), data()
    u = torch.randn(len(x), 2, 3, dtype=torch.float64)
    a, b = layer.signals(x, u)
    near(torch.einsum("xktm,xtn->xkmn", b, a), layer.pull(x, u))


LOSSES = {
    "softmax": (d.CrossEntropy(), 3, lambda f, y: nn.functional.cross_entropy(f, y)),
    "logistic": (d.BinaryCrossEntropy(), 1, lambda f, y: nn.functional.binary_cross_entropy_with_logits(f[0], y)),
    "squares": (d.SquaredError(), 2, lambda f, y: (f - y).square().sum() / 2),
}
LABELS = {
    "softmax": torch.tensor([0, 2, 1, 1, 2]),
    "logistic": torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0], dtype=torch.float64),
    "squares": torch.arange(10, dtype=torch.float64).reshape(5, 2) / 5,
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_give_the_derivatives_of_their_values(name):
    loss, size, value = LOSSES[name]
    f, y = torch.randn(5, size, dtype=torch.float64), LABELS[name]
    gradients, roots = loss.gradients(f, y), loss.roots(f)
    for i in range(5):
        near(gradients[i], torch.autograd.functional.jacobian(lambda z: value(z, y[i]), f[i]))  # noqa: B023
        near(roots[i].mT @ roots[i], torch.autograd.functional.hessian(lambda z: value(z, y[i]), f[i]))  # noqa: B023


@pytest.mark.parametrize("name", LOSSES)
def test_drawn_labels_have_the_losses_hessian_for_their_covariance(name):
    loss, size, _ = LOSSES[name]
    f = torch.randn(1, size, dtype=torch.float64)
    u = loss.draws(f.expand(200_000, -1), torch.Generator().manual_seed(0))
    root = loss.roots(f)[0]
    assert u.mean(0).abs().max() < 0.01
    assert (u.mT @ u / len(u) - root.mT @ root).abs().max() < 0.02


@pytest.mark.parametrize("name", NAMES)
def test_gauss_newton_is_the_generalised_one(name):
    """``E[JᵀBJ]`` from torch's Jacobian; for the head, which is linear, also the Hessian of the loss."""
    model, (x, y) = Shared(), data()
    layer = d.Layer(model, name)

    def outputs(W):
        return torch.func.functional_call(model, {name: W}, (x,))

    J = torch.autograd.functional.jacobian(outputs, layer.weight.detach()).flatten(2)
    p = model(x).softmax(-1)
    B = torch.diag_embed(p) - p.unsqueeze(-1) * p.unsqueeze(-2)
    expected = (J.mT @ B @ J).mean(0).detach()
    H = d.gauss_newton(layer, x)
    near(H.dense(), expected)
    if name == "head.weight":
        hessian = torch.autograd.functional.hessian(
            lambda W: nn.functional.cross_entropy(outputs(W), y), layer.weight.detach()
        )
        near(H.dense(), hessian.reshape(expected.shape))


def operators():
    G = torch.randn(7, 3, 4, dtype=torch.float64)
    few = d.second_moment(G)
    pieces = d.SecondMoment(lambda: iter(torch.cat([G, G[:2]]).split(4)), 9, (3, 4))
    many = d.second_moment(torch.randn(40, 3, 4))
    return {"fewer than mn": few, "in pieces": pieces, "more than mn, float32": many}


@pytest.mark.parametrize("kind", ["fewer than mn", "in pieces", "more than mn, float32"])
def test_operators_and_dense_matrices_agree(kind):
    H = operators()[kind]
    dense = d.Dense(H.dense(), 3, 4)
    V = torch.randn(2, 5, 3, 4, dtype=torch.float64)
    QL, QR = (torch.linalg.qr(torch.randn(k, k, dtype=torch.float64))[0] for k in (3, 4))
    near(H.matvec(V), dense.matvec(V))
    near(H.matvec(V)[1, 2].flatten(), dense.H @ V[1, 2].flatten())
    assert H.norm() == pytest.approx(dense.norm(), rel=1e-12)
    assert H.trace() == pytest.approx(dense.trace(), rel=1e-12)
    near(H.diagonal(), dense.diagonal())
    near(H.diagonal(QL, None), dense.diagonal(QL, None))
    basis = torch.kron(QL, QR)
    near(H.diagonal(QL, QR).flatten(), (basis.mT @ dense.H @ basis).diagonal())
    near(dense.diagonal(QL, QR).flatten(), (basis.mT @ dense.H @ basis).diagonal())
    rearranged = kronla.rearrange(dense.H, 3, 4)
    for batch in ((), (2,), (2, 3)):
        L, R = (torch.randn(*batch, k, k, dtype=torch.float64) for k in (3, 4))
        for operator in (H, dense):
            near(operator.left(R), (R.flatten(-2) @ rearranged.mT).reshape(*batch, 3, 3))
            near(operator.right(L), (L.flatten(-2) @ rearranged).reshape(*batch, 4, 4))
    L, R = L[0, 0] + L[0, 0].mT, R[0, 0] + R[0, 0].mT
    for operator in (H, dense):
        near(operator.power_step(L, R)[0], operator.left(R))
        near(operator.power_step(L, R)[1], operator.right(L))
    near(H.stored().dense(), dense.H)


def test_batch_gradients_are_means(monkeypatch):
    layer, (x, y) = d.Layer(Shared(), "head.weight"), data(12)
    means = layer.gradients(x, y).unflatten(0, (4, 3)).mean(1)
    for elements in (1, 10**9):  # one batch at a time, and all at once
        monkeypatch.setattr("kronla.diagnostics.curvature._CHUNK", elements)
        near(d.fisher(layer, x, y, batch_size=3).dense(), d.second_moment(means).dense())


def test_drawn_labels_are_drawn_once():
    layer, (x, _) = d.Layer(Shared(), "head.weight"), data()
    F = d.fisher(layer, x, generator=torch.Generator().manual_seed(1))
    assert torch.equal(F.dense(), F.dense())
    again = d.fisher(layer, x, generator=torch.Generator().manual_seed(1))
    assert torch.equal(F.dense(), again.dense())
    other = d.fisher(layer, x, generator=torch.Generator().manual_seed(2))
    assert not torch.allclose(F.dense(), other.dense())


def test_lemma_7_drawn_labels_and_any_batch_size():
    """``|B| E_{B,s}[vec(G_B)vec(G_B)ᵀ] = H_GN``: all batches of 2 of 3 examples (with repetition), all their labels."""
    layer, (x, _) = d.Layer(Shared(), "tokens.weight"), data(3)
    p = layer.outputs(x).softmax(-1)
    total = 0
    for batch in every(range(3), 2):
        for labels in every(range(3), 2):
            chance = torch.stack([p[i, s] for i, s in zip(batch, labels, strict=True)]).prod() / 9
            G = d.fisher(layer, x[list(batch)], torch.tensor(labels), batch_size=2)
            total = total + chance * G.dense()
    near(2 * total, d.gauss_newton(layer, x).dense())


@pytest.mark.parametrize("size", [1, 2, 3])
def test_lemma_8_real_labels(size):
    """``E[G_B G_Bᵀ] = E[GGᵀ]/|B| + (1 − 1/|B|) E[G] E[G]ᵀ``, by all batches of ``size`` of 4 examples."""
    layer, (x, y) = d.Layer(Shared(), "tokens.weight"), data(4)
    G = layer.gradients(x, y)
    batches = torch.tensor(list(itertools.product(range(4), repeat=size))).flatten()
    found = d.fisher(layer, x[batches], y[batches], batch_size=size)
    mean = G.mean(0)
    for step, expected in zip(
        found.power_step(torch.eye(4, dtype=torch.float64), torch.eye(6, dtype=torch.float64)),
        (
            (G @ G.mT).mean(0) / size + (1 - 1 / size) * mean @ mean.mT,
            (G.mT @ G).mean(0) / size + (1 - 1 / size) * mean.mT @ mean,
        ),
        strict=True,
    ):
        near(step, expected)


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.tied = nn.Linear(6, 6)

    def forward(self, x):
        return self.tied(torch.tanh(self.tied(x)))


def signals(model, name, *shape):
    return d.Layer(model, name).signals(torch.randn(2, *shape), torch.randn(2, 1, 3))


def test_a_weight_that_is_used_twice_has_gradients_but_no_signals():
    layer, x, y = d.Layer(Twice(), "tied.weight"), torch.randn(3, 6), torch.tensor([0, 1, 2])
    expected = torch.autograd.grad(nn.functional.cross_entropy(layer.model(x), y), layer.weight)[0]
    near(layer.gradients(x, y).mean(0), expected, 1e-5)
    with pytest.raises(ValueError, match="used once by the model, but its module was called 2 times"):
        layer.signals(x, torch.randn(3, 1, 6))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: d.Layer(nn.Linear(6, 4), "weight").outputs(torch.randn(2, 5, 6)), r"\[2, C\], but gives \(2, 5, 4\)"),
        (lambda: signals(nn.Conv2d(2, 4, 3, groups=2), "weight", 2, 5, 5), "weight of a Linear, or of a Conv2d"),
        (lambda: signals(nn.Conv2d(1, 4, 3, padding="same"), "weight", 1, 5, 5), "pads with a number of zeros"),
        (lambda: signals(nn.Conv2d(1, 4, 3, padding=1, padding_mode="circular"), "weight", 1, 5, 5), "zeros, not of"),
        (lambda: signals(nn.Bilinear(3, 3, 2), "weight", 3), "not of Bilinear"),
        (lambda: d.Layer(Shared(), "nothing"), "name must be one of tokens.weight"),
        (lambda: d.Layer(Shared(), "head.bias"), "two dimensions or more"),
        (lambda: d.Dense(torch.eye(6), 2, 2), r"H must have shape \(4, 4\)"),
        (lambda: d.fisher(d.Layer(Shared(), "head.weight"), *data(), batch_size=4), "batch_size must divide the 6"),
        (lambda: d.optimal_kronecker(d.Dense(torch.eye(6), 2, 3), -1), "steps must be"),
        (lambda: d.kronecker_sum(d.Dense(torch.eye(6), 2, 3), 5), "rank must be between 1 and .* = 4, but is 5"),
        (lambda: d.kronecker_sum(d.Dense(torch.eye(6), 2, 3), 2, steps=0), "steps must be"),
        (lambda: d.kfac(d.Layer(Shared(), "head.weight"), data()[0], mode="both"), 'mode must be "expand"'),
        (lambda: d.probe(d.Dense(torch.eye(6), 2, 3), 1), "count must be"),
        (lambda: d.ProbeAccumulator(1, (2, 3)), "count must be"),
        (lambda: d.second_moment(torch.eye(3)), r"G must have shape \[N, m, n\] with N ≥ 1, but has \(3, 3\)"),
        (lambda: d.second_moment(torch.zeros(0, 2, 3)), "G must have"),
        (lambda: d.gauss_newton(d.Layer(Shared(), "head.weight"), data(0)[0]), "count must be positive"),
        (lambda: d.fisher(d.Layer(Shared(), "head.weight"), data(4)[0], data(3)[1]), "labels must be as many as the 4"),
        (lambda: d.BasisTrace(0), "every must be"),
    ],
)
def test_wrong_calls_are_one_sentence(make, said):
    with pytest.raises(ValueError, match=said):
        make()
