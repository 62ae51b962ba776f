"""Shampoo, Shampoo² and the optimal Kronecker factors for any order, against the papers' formulas in float64 loops."""

import math
from functools import reduce

import pytest
import torch

import kronla
from kronla.optim import OptimalKronecker, Shampoo, Shampoo2
from kronla.optim.factors import directions_of

STEPS = 7
KINDS = {Shampoo: "shampoo", Shampoo2: "shampoo2", OptimalKronecker: "optimal"}


def gradients(shape, steps=STEPS, seed=0):
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return [torch.randn(shape, dtype=torch.float64, generator=generator) for _ in range(steps)]


def unfolded(X, mode):
    return X.movedim(mode, 0).reshape(X.shape[mode], -1)


def times(X, mode, M):
    return torch.tensordot(M, X, dims=([1], [mode])).movedim(0, mode)


def power(A, exponent):
    eigenvalues, Q = torch.linalg.eigh(A)
    return (Q * eigenvalues.pow(exponent)) @ Q.T


def products(kind, G, factors):
    """What each factor takes in of one gradient."""
    if kind == "optimal":
        L, R = (torch.eye(len(F), dtype=F.dtype) if F.norm() == 0 else F for F in factors)
        return [G @ (R / R.norm()) @ G.T, G.T @ (L / L.norm()) @ G]
    return [unfolded(G, mode) @ unfolded(G, mode).T for mode in range(G.ndim)]


def scaled(kind, F, order):
    size = {"shampoo": 1.0, "shampoo2": F.trace(), "optimal": F.norm()}[kind]
    return F / size ** (1 - 1 / order)


def grafted(grafting, M, V, t, beta2, eps):
    if grafting == "sgd":
        return M
    return M / ((V / (1 - beta2**t) if grafting in ("adam", None) else V).sqrt() + eps)


def plain(kind, W, grads, kinds, *, lr, betas, factor_beta, relative_damping, exponent, update_every, grafting):
    """One parameter, seen as it is; ``kinds`` says which factor each mode has."""
    eps, modes = 1e-8, [mode for mode, which in enumerate(kinds) if which != "identity"]
    M, V = torch.zeros_like(W), torch.zeros_like(W)
    factors = [torch.zeros(n, n, dtype=W.dtype) for n in W.shape]
    roots = [torch.eye(n, dtype=W.dtype) for n in W.shape]
    alpha = 1.0 if factor_beta == 1 else 1 - factor_beta
    for t, G in enumerate(grads, start=1):
        bias = 1.0 if factor_beta == 1 else 1 - factor_beta**t
        factors = [factor_beta * F + alpha * new for F, new in zip(factors, products(kind, G, factors), strict=True)]
        if (t - 1) % update_every == 0:
            for mode in modes:
                F = factors[mode] if kinds[mode] == "full" else factors[mode].diagonal().diag()
                F = scaled(kind, F / bias, len(modes))
                roots[mode] = power(F + relative_damping * F.norm() * torch.eye(len(F), dtype=F.dtype), exponent)
        M = betas[0] * M + (1 - betas[0]) * G
        V = V + G**2 if grafting == "adagrad" else betas[1] * V + (1 - betas[1]) * G**2
        A = grafted(grafting, M / (1 - betas[0] ** t), V, t, betas[1], eps)
        P = reduce(lambda X, mode: times(X, mode, roots[mode]), modes, M / (1 - betas[0] ** t)) if modes else A
        W = W - lr * (P * A.norm() / P.norm() if grafting and modes else P)
    return W


def check(cls, shape, kinds, seen=None, **own):
    """The optimizer and the plain loops take the same steps; ``seen`` is the shape that the loops work on."""
    own.setdefault("merge_dims", False)
    settings = {"lr": 0.05, "betas": (0.8, 0.95), "relative_damping": 1e-3, "update_every": 3, "damping": 0.0, **own}
    if cls is OptimalKronecker:
        settings.pop("merge_dims")
    start, grads = torch.randn(shape, dtype=torch.float64), gradients(shape)
    p = torch.nn.Parameter(start.clone())
    optimizer = cls([p], early_steps=1, **settings)
    for grad in grads:
        p.grad = grad
        optimizer.step()
    order = sum(kind != "identity" for kind in kinds)
    default = -1 / (2 * order) if cls is Shampoo and order else -0.5
    group, seen = optimizer.param_groups[0], seen or shape
    known = {name: settings[name] for name in ("lr", "betas", "relative_damping", "update_every")}
    expected = plain(
        KINDS[cls],
        start.reshape(seen),
        [grad.reshape(seen) for grad in grads],
        kinds,
        factor_beta=settings.get("factor_beta", 0.95),
        exponent=default if group["exponent"] is None else group["exponent"],
        grafting=group["grafting"],
        **known,
    )
    assert (expected - start.reshape(seen)).norm() > 1e-2
    torch.testing.assert_close(p.detach(), expected.reshape(shape), rtol=1e-7, atol=1e-8)


FULL = ("full", "full", "full", "full")


@pytest.mark.parametrize("cls", [Shampoo, Shampoo2])
@pytest.mark.parametrize("shape", [(4, 3, 5), (3, 2, 4, 2), (6, 6), (4, 9)], ids=str)
def test_every_order(cls, shape):
    check(cls, shape, FULL[: len(shape)])


@pytest.mark.parametrize("grafting", ["adam", "rmsprop", "adagrad", "sgd", None])
@pytest.mark.parametrize("shape", [(5, 6), (7,)], ids=str)
def test_every_grafting(grafting, shape):
    kinds = ("full", "full") if len(shape) == 2 else ("identity",)
    check(Shampoo, shape, kinds, grafting=grafting)


@pytest.mark.parametrize("cls", [Shampoo, Shampoo2])
@pytest.mark.parametrize("vectors", ["full", "diagonal", "identity"])
def test_vectors(cls, vectors):
    check(cls, (7,), (vectors,), vectors=vectors)


@pytest.mark.parametrize("cls", [Shampoo, Shampoo2])
@pytest.mark.parametrize("large", ["diagonal", "identity"])
@pytest.mark.parametrize("shape", [(4, 9), (9, 3, 4), (9, 9)], ids=str)
def test_large_modes_without_a_full_factor(cls, large, shape):
    kinds = tuple("full" if size <= 5 else large for size in shape)
    check(cls, shape, kinds, large=large, max_dim=5)


@pytest.mark.parametrize("cls", [Shampoo, Shampoo2, OptimalKronecker])
@pytest.mark.parametrize(
    "own",
    [{"exponent": -0.3}, {"factor_beta": 1.0}, {"factor_beta": 0.5, "grafting": "rmsprop"}, {"update_every": 1}],
    ids=["exponent", "sum", "rmsprop", "every_step"],
)
def test_knobs(cls, own):
    check(cls, (6, 5), ("full", "full"), **own)
    check(cls, (3, 2, 4), ("full", "full"), seen=(3, 8), merge_dims=True, **own)


def covariance(left, right, steps):
    """Gradients that are sums of two independent terms, so that no Kronecker product is their covariance."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        X, Y = (torch.randn(len(left), len(right), dtype=torch.float64, generator=generator) for _ in range(2))
        yield left @ X @ right + 0.7 * (right[: len(left), : len(left)] @ Y) * torch.linspace(0, 2, len(right)).double()


def cosine_to(H, L, R):
    found = torch.kron(L, R)
    return ((found * H).sum() / found.norm() / H.norm()).item()


def test_optimal_factors_reach_the_nearest_product_and_shampoo2_does_not():
    left = torch.diag(torch.tensor([4.0, 2.0, 1.0, 0.3], dtype=torch.float64))
    right = torch.diag(torch.tensor([0.1, 1.0, 0.5, 3.0, 0.2], dtype=torch.float64))
    samples = torch.stack(list(covariance(left, right, 3000)))
    H = torch.einsum("sa,sb->ab", samples.flatten(1), samples.flatten(1)) / len(samples)
    nearest = kronla.nearest_kronecker_from_gradients(samples, steps=50)
    cosines, products_of = {}, {}
    for cls in (Shampoo2, OptimalKronecker):
        p = torch.nn.Parameter(torch.zeros(4, 5, dtype=torch.float64))
        optimizer = cls([p], factor_beta=0.998, update_every=1000)
        for G in samples:
            p.grad = G
            optimizer.step()
        L, R = (optimizer.state[p][f"factor.0.{mode}"] for mode in (0, 1))
        cosines[cls] = cosine_to(H, L, R)
        size = L.trace() if cls is Shampoo2 else (L.norm() * R.norm()).sqrt()
        products_of[cls] = torch.kron(L, R) / size
    assert cosines[OptimalKronecker] > cosines[Shampoo2] + 0.005
    assert cosines[OptimalKronecker] > nearest.cosine.item() - 0.005  # the mean over time is a noisy one
    assert products_of[OptimalKronecker].norm() / nearest.sigma == pytest.approx(1, abs=0.1)


def test_the_scale_of_shampoo2_is_that_of_corollary_2():
    """Where the covariance is A ⊗ B, the preconditioner is its inverse root, length and all."""
    A, B = (torch.diag(torch.linspace(0.5, 3, n, dtype=torch.float64)) for n in (3, 4))
    p = torch.nn.Parameter(torch.zeros(3, 4, dtype=torch.float64))
    optimizer = Shampoo2([p], lr=1.0, betas=(0.0, 0.9), relative_damping=0.0, damping=0.0, update_every=1)
    p.grad = torch.ones(3, 4, dtype=torch.float64)
    optimizer.step()  # makes the state, whose factors the next line replaces by the expected ones
    before = p.detach().clone()
    optimizer.state[p].update({"factor.0.0": A * B.trace(), "factor.0.1": B * A.trace()})
    optimizer.param_groups[0]["factor_beta"] = 1.0
    p.grad = 1e-9 * torch.ones(3, 4, dtype=torch.float64)
    optimizer.step()
    H = torch.kron(A, B).diagonal().reshape(3, 4)
    torch.testing.assert_close(before - p.detach(), p.grad / H.sqrt(), rtol=1e-6, atol=0)


def test_a_power_step_is_that_of_the_operation():
    p = torch.nn.Parameter(torch.zeros(4, 6, dtype=torch.float64))
    optimizer = OptimalKronecker([p], factor_beta=0.0)
    L, R = (torch.eye(n, dtype=torch.float64) / math.sqrt(n) for n in (4, 6))
    for grad in gradients((4, 6), steps=3):
        p.grad = grad
        optimizer.step()
        L, R = kronla.kron_power_step(grad.unsqueeze(0), L / L.norm(), R / R.norm())
        torch.testing.assert_close(optimizer.state[p]["factor.0.0"], L, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(optimizer.state[p]["factor.0.1"], R, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("dtype", "power"), [(torch.float32, -57), (torch.float64, -320), (torch.float64, 300)], ids=str
)
def test_weights_of_factors_know_no_scale(dtype, power):
    """Gradients times a power of two: factors times its square, to the bit; squares of 2^-640 have no float64 norm."""
    factors = []
    for scale in (1.0, 2.0**power):
        p = torch.nn.Parameter(torch.zeros(4, 6, dtype=dtype))
        optimizer = OptimalKronecker([p], factor_beta=0.5, damping=0.0)
        for grad in gradients((4, 6), steps=4):
            p.grad = grad.to(dtype) * scale
            optimizer.step()
        factors.append([optimizer.state[p][f"factor.0.{mode}"] / scale / scale for mode in (0, 1)])
        L, R = (optimizer.state[p][f"factor.0.{mode}"] for mode in (0, 1))
        found = directions_of([L, R, torch.zeros_like(L)])
        assert [F.double().norm().item() for F in found] == pytest.approx([1.0] * 3, rel=1e-6)
        torch.testing.assert_close(found[2], torch.eye(4, dtype=dtype) / 2)
    assert all(torch.equal(plain, scaled) for plain, scaled in zip(*factors, strict=True))


@pytest.mark.parametrize("cls", [Shampoo2, OptimalKronecker])
def test_steps_of_covariances_know_no_scale(cls):
    """H^(−1/2) M is the same for gradients of any size, where nothing is added to H but relative damping."""
    params = []
    for scale in (1.0, 1e-15, 1e12):
        p = torch.nn.Parameter(torch.zeros(4, 6))
        optimizer = cls([p], lr=0.1, factor_beta=0.5, damping=0.0, relative_damping=1e-3)
        for p.grad in [grad.float() * scale for grad in gradients((4, 6))]:
            optimizer.step()
        params.append(p.detach())
    assert params[0].norm() > 0.1
    for p in params[1:]:
        torch.testing.assert_close(p, params[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cls", [Shampoo, Shampoo2, OptimalKronecker])
def test_early_steps_refresh_all(cls):
    p = torch.nn.Parameter(torch.zeros(6, 6))
    optimizer = cls([p], early_steps=4, update_every=3, relative_damping=1e-3)
    last, changed = torch.eye(6), []
    for grad in gradients((6, 6), steps=8):
        p.grad = grad.float()
        optimizer.step()
        root = optimizer.state[p]["root.0.0"].clone()
        changed.append(not torch.equal(root, last))
        last = root
    assert changed == [True, True, True, True, False, False, True, False]


def test_a_failed_diagonal_keeps_its_root():
    p = torch.nn.Parameter(torch.zeros(4, 9))
    optimizer = Shampoo([p], large="diagonal", max_dim=5, update_every=1)
    for grad in gradients((4, 9), steps=2):
        p.grad = grad.float()
        optimizer.step()
    last = optimizer.state[p]["root.0.1"].clone()
    for value, info in ((-1.0, 2), (math.inf, 3)):
        optimizer.state[p]["factor.0.1"][3] = value
        optimizer.step()
        assert torch.equal(optimizer.state[p]["root.0.1"], last)
        assert [row.info for row in optimizer.diagnostics()] == [0, info]


@pytest.mark.parametrize("name", ["merge_dims", "large", "vectors"])
def test_optimal_factors_are_those_of_matrices(name):
    with pytest.raises(ValueError, match=f"{name} is no setting of OptimalKronecker"):
        OptimalKronecker([{"params": [torch.nn.Parameter(torch.zeros(2, 2))], name: False}])
