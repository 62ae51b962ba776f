"""What Morwani et al. 2024 (arXiv 2406.17748) prove and measure on linear classifiers, with numbers."""

import pytest
import torch
from diagnostics.problems import linear, mnist
from torch import nn

import kronla
from kronla import diagnostics as d

f64 = torch.float64


def descend(model, loss, x, steps):
    """Full-batch gradient descent with the paper's learning rate of 0.01."""
    for _ in range(steps):
        model.zero_grad()
        loss(model(x)).backward()
        with torch.no_grad():
            for p in model.parameters():
                p -= 0.01 * p.grad


@pytest.mark.parametrize("step", [0, 10, 25])
@pytest.mark.parametrize("logits", [1, 2])
def test_shampoo_squared_is_exact_for_two_classes(step, logits):
    """On MNIST {0, 1}, against ``H_GN = E[B(x) ⊗ xxᵀ]`` in closed form; B = p(1−p) and p(1−p) [[1, −1], [−1, 1]]."""
    x, y = mnist([0, 1], 400)
    model = linear(784, logits)
    if logits == 1:
        descend(model, lambda f: nn.functional.binary_cross_entropy_with_logits(f[:, 0], y.double()), x, step)
        layer = d.Layer(model, "weight", d.BinaryCrossEntropy())
        p = model(x).detach()[:, 0].sigmoid()
        block = torch.ones(1, 1, dtype=f64)
    else:
        descend(model, lambda f: nn.functional.cross_entropy(f, y), x, step)
        layer = d.Layer(model, "weight")
        p = model(x).detach().softmax(-1)[:, 1]
        block = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=f64)
    expected = torch.kron(block, x.mT @ ((p * (1 - p)).unsqueeze(-1) * x) / len(x))
    H = d.gauss_newton(layer, x).stored()
    assert d.relative_error(d.Dense(expected, logits, 784), d.shampoo_squared(H)) < 1e-12
    assert d.cosine(H, d.shampoo_squared(H)) == pytest.approx(1, abs=1e-12)
    assert d.cosine(H, d.shampoo(H)) < 0.9
    assert abs(d.identity_ratios(H, d.optimal_kronecker(H, 3)).energy_beyond) < 1e-12


def softmax_gram(model, x, m):
    """``ĤĤᵀ`` of the m-class softmax in closed form: ``Ĥ = E[vec(B_x) vec(xxᵀ)ᵀ]``, so no dense H is needed."""
    p = model(x).detach().softmax(-1)
    B = (torch.diag_embed(p) - p.unsqueeze(-1) * p.unsqueeze(-2)).flatten(1)
    return B.mT @ (x @ x.mT).square() @ B / len(x) ** 2


@pytest.mark.parametrize("step", [0, 25])
def test_ten_classes_against_the_svd_of_the_rearrangement(step):
    x, y = mnist(list(range(10)), 30)
    model = linear(784, 10)
    descend(model, lambda f: nn.functional.cross_entropy(f, y), x, step)
    H = d.gauss_newton(d.Layer(model, "weight"), x).stored()
    squares, U = torch.linalg.eigh(softmax_gram(model, x, 10))
    sigma = squares.clamp_min(0).sqrt()
    ratios = d.identity_ratios(H)
    assert ratios.sigma == pytest.approx(sigma[-1].item(), rel=1e-9)
    assert ratios.kronecker == pytest.approx((sigma[-1] / sigma.norm()).item(), rel=1e-6)
    assert H.trace() == pytest.approx((x.square().sum(-1) * model_variance(model, x)).mean().item(), rel=1e-12)
    best = d.optimal_kronecker(H, None)
    first = U[:, -1].reshape(10, 10)
    torch.testing.assert_close(best.L / best.L.norm(), first * first.trace().sign(), rtol=0, atol=1e-8)
    assert ratios.kronecker - 1e-12 <= 1 and d.cosine(H, d.shampoo_squared(H)) <= ratios.kronecker + 1e-12
    alpha_sigma = (U.reshape(10, 10, -1).diagonal().sum(-1)) * sigma  # Tr U_i σ_i
    assert ratios.right == pytest.approx((alpha_sigma[-1].abs() / alpha_sigma.norm()).item(), rel=1e-6)


def model_variance(model, x):
    p = model(x).detach().softmax(-1)
    return (p * (1 - p)).sum(-1)


def test_ten_classes_against_a_dense_svd():
    """The same with H and Ĥ written out, on images of 7×7 pixels."""
    x, y = mnist(list(range(10)), 60, pooled=4)
    model = linear(49, 10)
    descend(model, lambda f: nn.functional.cross_entropy(f, y), x, 25)
    H = d.gauss_newton(d.Layer(model, "weight"), x)
    U, sigma, Vt = torch.linalg.svd(kronla.rearrange(H.dense(), 10, 49), full_matrices=False)
    best = d.optimal_kronecker(H, None)
    expected = sigma[0] * torch.kron(U[:, 0].reshape(10, 10), Vt[0].reshape(49, 49))
    assert ((best.dense() - expected).norm() / expected.norm()).item() < 1e-9
    three = d.kronecker_sum(d.Dense(H.dense(), 10, 49), 3, steps=200)
    torch.testing.assert_close(three.sigma, sigma[:3], rtol=1e-9, atol=0)
    ratios = d.identity_ratios(H)
    alpha = Vt.reshape(-1, 49, 49).diagonal(dim1=-2, dim2=-1).sum(-1)
    weighted = alpha * sigma
    assert ratios.left == pytest.approx((weighted[0].abs() / weighted.norm()).item(), rel=1e-9)
    assert ratios.energy_beyond == pytest.approx(1 - (sigma[0] / sigma.norm()).item() ** 2, rel=1e-8)
    assert ratios.left > ratios.kronecker and ratios.right > ratios.kronecker


def test_one_power_step_from_the_identity_is_shampoo_squared():
    """Section 3: the factors of Shampoo², up to scale, are the first power step's."""
    G = torch.randn(20, 4, 6, dtype=f64)
    H = d.second_moment(G)
    op = kronla.nearest_kronecker_from_gradients(G, steps=1)
    squared = d.shampoo_squared(H)
    torch.testing.assert_close(squared.L / squared.L.norm(), op.L)
    torch.testing.assert_close(squared.R / squared.R.norm(), op.R)
    torch.testing.assert_close(squared.R, (G.mT @ G).mean(0))
    torch.testing.assert_close(squared.L, (G @ G.mT).mean(0) / (G @ G.mT).mean(0).trace())


def test_proposition_2_a_rearrangement_of_rank_one_is_shampoo_squared():
    """If Ĥ has rank 1, ``H = E[GGᵀ] ⊗ E[GᵀG] / Tr E[GGᵀ]``; and without the trace's scale it is not."""
    A, B = (torch.randn(k, k, dtype=f64) for k in (4, 5))
    H = d.Dense(torch.kron(A @ A.mT, B @ B.mT), 4, 5)
    squared = d.shampoo_squared(H)
    assert d.relative_error(H, squared) < 1e-13
    assert d.relative_error(H, squared.scaled(H.trace())) > 1e-3
    # Gradients with that covariance, exactly: G = A E_ij Bᵀ √20 for each unit matrix E_ij.
    G = torch.stack([torch.outer(a, b) for a in A.mT for b in B.mT]) * 20**0.5
    assert d.relative_error(H, d.shampoo_squared(d.second_moment(G))) < 1e-13


def test_the_first_pair_is_positive_semidefinite_and_later_ones_are_not():
    H = d.second_moment(torch.randn(15, 4, 5, dtype=f64))
    terms = d.kronecker_sum(H, 2, steps=500)
    for factor in (terms.L[0], terms.R[0]):
        values = torch.linalg.eigvalsh(factor * factor.trace().sign())
        assert values.min() > -1e-9
    assert torch.linalg.eigvalsh((terms.L[1] + terms.L[1].mT) / 2).abs().min() > 1e-6
    values = torch.linalg.eigvalsh((terms.L[1] + terms.L[1].mT) / 2)
    assert values.min() < 0 < values.max()
