"""SOAP and EShampoo against the papers' formulas, written out in plain float64 loops."""

import math

import pytest
import torch

import kronla
from kronla.optim import SOAP, EShampoo, bases

# Square as matrices, so that the first factors have full rank and the eigenvectors are determined.
SHAPES = [(6, 6), (5,), (6, 3, 2, 1), (), (9, 9)]
STEPS = 9
# Large enough that the rounding noise of float64 in a first basis does not count.
EPS = 1e-3


def gradients(shape, steps=STEPS, seed=0):
    generator = torch.Generator().manual_seed(seed + sum(shape) + 17 * len(shape))
    scale = torch.linspace(0.2, 2.0, max(shape, default=1), dtype=torch.float64)[: shape[-1] if shape else 1]
    return [
        torch.randn(shape, dtype=torch.float64, generator=generator) * scale.reshape(shape[-1:]) for _ in range(steps)
    ]


def qr_step(A, Q):
    """One step of orthogonal iteration, descending inside, columns given back where their ranks were."""
    order = (Q * (A @ Q)).sum(0).argsort(descending=True, stable=True)
    S = (A @ Q)[:, order]
    found = torch.empty_like(Q)
    found[:, order] = torch.linalg.qr(S)[0]
    return found


def ratio(A, Q):
    B = Q.T @ A @ Q
    return (B - B.diag().diag()).norm() / A.norm()


def adam(M, V, t, betas, eps):
    return (M / (1 - betas[0] ** t)) / ((V / (1 - betas[1] ** t)).sqrt() + eps)


def into(X, Qs):
    """Qᵀ along each mode; X itself without bases."""
    for mode, Q in Qs.items():
        X = torch.tensordot(Q.T, X, dims=([1], [mode])).movedim(0, mode)
    return X


def unfolded(G, mode):
    return G.movedim(mode, 0).reshape(G.shape[mode], -1)


def take_in(factors, G, beta):
    for mode, A in factors.items():
        A.mul_(beta).add_(unfolded(G, mode) @ unfolded(G, mode).T, alpha=1 - beta)


def zero_factors(W, sides):
    """A factor for each mode in ``sides``; where that is None for all, and none for a vector."""
    if sides is None:
        sides = range(W.dim()) if W.dim() > 1 else ()
    return {mode: torch.zeros(W.shape[mode], W.shape[mode], dtype=W.dtype) for mode in sides}


def back(X, Qs):
    return into(X, {mode: Q.T for mode, Q in Qs.items()})


def plain_soap(W, grads, *, lr, betas, eps, weight_decay, factor_beta, update_every, sides=None):
    """Vyas et al. 2024, Algorithms 3 and 4, with the first step of the authors' implementation; any order."""
    M, V = torch.zeros_like(W), torch.zeros_like(W)
    factors, Qs = zero_factors(W, sides), {}
    for t, G in enumerate(grads):
        if t > 0:
            M = betas[0] * M + (1 - betas[0]) * G
            V = betas[1] * V + (1 - betas[1]) * into(G, Qs) ** 2
            N = adam(into(M, Qs), V, t, betas, eps)
            W = (1 - lr * weight_decay) * W - lr * back(N, Qs)
        take_in(factors, G, factor_beta)
        if t == 0:
            Qs = {mode: torch.linalg.eigh(A)[1] for mode, A in factors.items()}
        elif t % update_every == 0:
            Qs = {mode: qr_step(A, Qs[mode]) for mode, A in factors.items()}
    return W


def plain_eshampoo(
    W, grads, *, lr, betas, eps, weight_decay, factor_beta, update_every, tol, max_steps, sides=None, counts=None
):
    """Eschenhagen et al. 2025: corrected eigenvalues, bases refreshed by QR where the criterion asks for it."""
    M, D = torch.zeros_like(W), torch.zeros_like(W)
    factors, Qs = zero_factors(W, sides), {}
    for t, G in enumerate(grads, start=1):
        if t > 1 or not factors:
            M = betas[0] * M + (1 - betas[0]) * G
            D = betas[1] * D + (1 - betas[1]) * into(G, Qs) ** 2
            N = adam(into(M, Qs), D, t - 1 if factors else t, betas, eps)
            W = (1 - lr * weight_decay) * W - lr * back(N, Qs)
        take_in(factors, G, factor_beta)
        if t == 1:
            Qs = {mode: torch.linalg.eigh(A)[1] for mode, A in factors.items()}
        elif (t - 1) % update_every == 0:
            for i, A in factors.items():
                for _ in range(max_steps):
                    if ratio(A, Qs[i]) > tol:
                        Qs[i] = qr_step(A, Qs[i])
                        if counts is not None:
                            counts.append(t)
    return W


def check(cls, plain, settings, **known):
    settings = {"lr": 0.03, "eps": EPS, **settings}
    starts = [torch.randn(shape, dtype=torch.float64) for shape in SHAPES]
    grads_of = [gradients(shape) for shape in SHAPES]
    params = [torch.nn.Parameter(start.clone()) for start in starts]
    optimizer = cls(params, merge_dims=True, **settings)
    for grads in zip(*grads_of, strict=True):
        for p, grad in zip(params, grads, strict=True):
            p.grad = grad
        optimizer.step()
    group = {name: optimizer.param_groups[0][name] for name in known["names"]}
    group["factor_beta"] = group["betas"][1] if group["factor_beta"] is None else group["factor_beta"]
    for shape, p, start, grads in zip(SHAPES, params, starts, grads_of, strict=True):
        seen_as = (6, 6) if len(shape) == 4 else shape
        expected = plain(start.reshape(seen_as), [g.reshape(seen_as) for g in grads], **group)
        assert (expected - start.reshape(seen_as)).norm() > 1e-3
        torch.testing.assert_close(p.detach(), expected.reshape(shape), rtol=1e-7, atol=1e-7)


SOAP_NAMES = ("lr", "betas", "eps", "weight_decay", "factor_beta", "update_every")
ESHAMPOO_NAMES = (*SOAP_NAMES, "tol", "max_steps")


@pytest.mark.parametrize("cls", [SOAP, EShampoo])
@pytest.mark.parametrize(
    ("shape", "sides", "own"),
    [
        ((6, 3, 2), (0, 1, 2), {"merge_dims": False}),
        ((4, 1, 3, 2, 2), (0, 1, 2, 3), {"merge_dims": False}),
        ((4, 9), (0,), {"large": "identity", "max_dim": 5}),
        ((9, 4, 9), (1,), {"merge_dims": False, "large": "identity", "max_dim": 5}),
        ((9, 9), (), {"large": "identity", "max_dim": 5}),
    ],
    ids=str,
)
def test_every_order_and_identity_modes_take_the_papers_steps(cls, shape, sides, own):
    if cls is EShampoo:
        own = {"method": "qr", "tol": 0.0, **own}
    p = torch.nn.Parameter(torch.randn(shape, dtype=torch.float64))
    start, grads = p.detach().clone(), gradients(shape)
    optimizer = cls([p], lr=0.03, eps=EPS, update_every=2, betas=(0.9, 0.95), weight_decay=0.1, **own)
    for p.grad in grads:
        optimizer.step()
    assert sum(key.startswith("basis") for key in optimizer.state[p]) == len(sides)
    names = ESHAMPOO_NAMES if cls is EShampoo else SOAP_NAMES
    group = {name: optimizer.param_groups[0][name] for name in names} | {"factor_beta": 0.95}
    plain, seen = plain_eshampoo if cls is EShampoo else plain_soap, [n for n in shape if n > 1]
    expected = plain(start.reshape(seen), [G.reshape(seen) for G in grads], sides=sides, **group)
    assert (expected.reshape(shape) - start).norm() > 1e-2
    torch.testing.assert_close(p.detach(), expected.reshape(shape), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(
    "settings",
    [{}, {"update_every": 2}, {"update_every": 1, "factor_beta": 0.8, "weight_decay": 0.3}, {"betas": (0.0, 0.9)}],
    ids=["defaults", "every_second", "every_step", "no_momentum"],
)
def test_soap_takes_the_papers_steps(settings):
    check(SOAP, plain_soap, settings, names=SOAP_NAMES)


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "qr"},
        {"method": "qr", "tol": 0.0, "update_every": 3, "weight_decay": 0.3},
        {"method": "qr", "tol": 0.0, "max_steps": 0},
        {"method": "qr", "tol": 0.05, "max_steps": 4, "betas": (0.9, 0.95)},
        {"method": "qr", "tol": 1.0, "factor_beta": 0.5},
    ],
    ids=["defaults", "every_third", "first_basis_only", "several_steps", "never"],
)
def test_eshampoo_takes_the_papers_steps(settings):
    check(EShampoo, plain_eshampoo, settings, names=ESHAMPOO_NAMES)


def test_the_criterion_decides_when_a_basis_moves():
    counts = []
    known = {"lr": 0.1, "betas": (0.9, 0.9), "eps": EPS, "weight_decay": 0.0, "factor_beta": 0.9, "update_every": 1}
    plain_eshampoo(torch.zeros(6, 6).double(), gradients((6, 6)), **known, tol=0.3, max_steps=1, counts=counts)
    assert 0 < len(set(counts)) < STEPS - 1  # else the tests above would not see the criterion


@pytest.mark.parametrize("method", ["auto", "rotation", "eigh"])
def test_eshampoo_bases_diagonalise_their_factors(method):
    p = torch.nn.Parameter(torch.zeros(12, 12))
    optimizer = EShampoo([p], method=method, tol=0.05, max_steps=20, betas=(0.9, 0.95))
    for grad in gradients((12, 12)):
        p.grad = grad.float()
        optimizer.step()
        state = optimizer.state[p]
        for mode in (0, 1):
            A, Q = state[f"factor.0.{mode}"], state[f"basis.0.{mode}"]
            assert ratio(A.double(), Q.double()) < 0.051
            assert (Q.T @ Q - torch.eye(12)).norm() < 1e-5


@pytest.mark.parametrize("cls", [SOAP, EShampoo])
@pytest.mark.parametrize("shape", [(4, 11), (11, 4), (1, 6), (3, 2, 3, 3)])
def test_rectangles_step_as_their_own_bases_say(cls, shape):
    """Null directions leave the eigenvectors free: take the optimizer's own, and check the rest of the step."""
    p = torch.nn.Parameter(torch.zeros(shape, dtype=torch.float64))
    optimizer = cls([p], lr=0.1, eps=EPS, weight_decay=0.0, betas=(0.9, 0.95), update_every=2, merge_dims=True)
    seen_as = shape if len(shape) == 2 else (3, 18)
    M, D, used = torch.zeros(seen_as).double(), torch.zeros(seen_as).double(), 0
    for t, G in enumerate(gradients(shape)):
        before = p.detach().clone().reshape(seen_as)
        bases = [optimizer.state[p].get(f"basis.0.{mode}") for mode in (0, 1)]
        p.grad, G = G, G.reshape(seen_as)
        optimizer.step()
        if t == 0:
            assert torch.equal(p.detach().reshape(seen_as), before)
            continue
        used += 1
        QL, QR = bases
        assert (QL.T @ QL - torch.eye(seen_as[0])).norm() < 1e-12
        assert (QR.T @ QR - torch.eye(seen_as[1])).norm() < 1e-12
        M = 0.9 * M + 0.1 * G
        D = 0.95 * D + 0.05 * (QL.T @ G @ QR) ** 2
        step = QL @ adam(QL.T @ M @ QR, D, used, (0.9, 0.95), EPS) @ QR.T
        torch.testing.assert_close(p.detach().reshape(seen_as), before - 0.1 * step, rtol=1e-9, atol=1e-10)


def test_first_bases_are_exact():
    p = torch.nn.Parameter(torch.zeros(8, 5))
    optimizer = SOAP([p])
    p.grad = gradients((8, 5))[0].float()
    optimizer.step()
    for mode in (0, 1):
        A, Q = optimizer.state[p][f"factor.0.{mode}"], optimizer.state[p][f"basis.0.{mode}"]
        assert ratio(A.double(), Q.double()) < 1e-6


@pytest.mark.parametrize(("cls", "refreshes"), [(SOAP, [0, 3, 6]), (EShampoo, [0, 3, 6])])
def test_bases_are_stale_between_refreshes(cls, refreshes):
    p = torch.nn.Parameter(torch.zeros(6, 6))
    optimizer = cls([p], update_every=3, **({"tol": 0.0} if cls is EShampoo else {}))
    last, moved = torch.eye(6), []
    for t, grad in enumerate(gradients((6, 6))):
        p.grad = grad.float()
        optimizer.step()
        basis = optimizer.state[p]["basis.0.0"].clone()
        if not torch.equal(basis, last):
            moved.append(t)
        last = basis
    assert moved == refreshes


def train(optimizer_of, steps=60, seed=0):
    torch.manual_seed(seed)
    inputs = torch.randn(256, 24) * torch.logspace(0, -2, 24)
    targets = torch.tanh(inputs @ torch.randn(24, 5) * 3)
    network = torch.nn.Sequential(torch.nn.Linear(24, 32), torch.nn.Tanh(), torch.nn.Linear(32, 5))
    optimizer = optimizer_of(network.parameters())
    losses = []
    for step in range(steps):
        optimizer.zero_grad()
        batch = slice(64 * (step % 4), 64 * (step % 4) + 64)
        (network(inputs[batch]) - targets[batch]).square().mean().backward()
        optimizer.step()
        losses.append((network(inputs) - targets).square().mean().item())
    return losses


@pytest.mark.parametrize("method", ["auto", "qr", "rotation"])
@pytest.mark.parametrize("tol", [0.1, 0.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_eshampoo_refreshed_every_step_stays_finite_and_learns(method, tol, seed):
    losses = train(lambda params: EShampoo(params, lr=0.01, update_every=1, tol=tol, method=method), seed=seed)
    assert all(map(math.isfinite, losses))
    assert max(losses) <= 1.01 * losses[0]  # second moments begun in a basis of the same gradient gave 400 times
    assert losses[-1] < 0.3 * losses[0]


def misfit(method):
    """How far D is from the mean of (Q_LᵀGQ_R)², after the spectrum of G has turned over: median log ratio."""
    torch.manual_seed(0)
    p = torch.nn.Parameter(torch.zeros(16, 16))
    optimizer = EShampoo([p], method=method, tol=0.0, betas=(0.9, 0.98))
    left, right = (torch.linalg.qr(torch.randn(16, 16))[0] for _ in range(2))
    scales = torch.logspace(0, -2, 16)

    def gradient(scales):
        return left @ (torch.randn(16, 16) * scales[:, None] * scales) @ right.T

    for t in range(300):
        p.grad = gradient(scales if t < 150 else scales.flip(0))  # ranks change, eigenvectors do not
        optimizer.step()
    state = optimizer.state[p]
    QL, QR = state["basis.0.0"], state["basis.0.1"]
    truth = torch.stack([(QL.T @ gradient(scales.flip(0)) @ QR) ** 2 for _ in range(400)]).mean(0)
    return (state["second_moment"].log() - truth.log()).abs().median().item()


@pytest.mark.parametrize("method", ["auto", "qr", "rotation"])
def test_second_moments_stay_with_their_columns(method, monkeypatch):
    """With columns sorted anew at each refresh, as a peer does, D ends up beside the wrong ones."""
    kept = misfit(method)
    original = kronla.foreach_update_eigenbasis

    def sorting(As, Qs, **settings):
        return [found._replace(Q=found.Q[:, found.eigenvalues.argsort()]) for found in original(As, Qs, **settings)]

    monkeypatch.setattr(kronla, "foreach_update_eigenbasis", sorting)
    assert kept < 0.9
    assert misfit(method) > 1.5 * kept


def descend_a_quadratic(make, steps=60, n=24):
    """Noisy descent of ½⟨W, AWB⟩, κ(A) = κ(B) = 100: the loss before each step."""
    torch.manual_seed(0)
    UL, UR = (torch.linalg.qr(torch.randn(n, n))[0] for _ in range(2))
    d, losses = torch.logspace(0, -2, n), []
    W = torch.nn.Parameter(UL @ torch.randn(n, n) @ UR.T)
    optimizer = make([W])
    for _ in range(steps):
        gradient = (UL * d) @ UL.T @ W.detach() @ (UR * d) @ UR.T
        losses.append(0.5 * (W.detach() * gradient).sum().item())
        W.grad = gradient + 0.3 * (UL * d.sqrt()) @ torch.randn(n, n) @ (UR * d.sqrt()).T
        optimizer.step()
    return losses


@pytest.mark.parametrize("cls", [SOAP, EShampoo])
def test_state_is_carried_where_the_naive_way_fails(cls, monkeypatch):
    """60 steps with a refresh in each. Naive: columns in an order of its own, moments left where they were."""
    own = {"tol": 0.0, "method": "qr"} if cls is EShampoo else {}

    def losses():
        return descend_a_quadratic(lambda params: cls(params, lr=0.1, update_every=1, betas=(0.9, 0.95), **own))

    ours, refresh = losses(), kronla.foreach_update_eigenbasis

    def sorting(As, Qs, **settings):
        sorting.calls += 1  # from eigh's ascending order to that of QR and back
        found = refresh(As, Qs, **settings)
        return [f._replace(Q=f.Q[:, f.eigenvalues.argsort(descending=sorting.calls % 2 == 1)]) for f in found]

    sorting.calls = 0
    monkeypatch.setattr(kronla, "foreach_update_eigenbasis", sorting)
    monkeypatch.setattr(bases, "out_of_bases", lambda blocks, tensors: [tensor.clone() for tensor in tensors])
    monkeypatch.setattr(bases, "into_bases", lambda blocks, tensors: tensors)
    naive = losses()
    assert all(map(math.isfinite, ours)) and max(ours) <= 1.01 * ours[0]
    assert ours[-1] < 0.06 * ours[0]
    assert naive[-1] > 1.6 * ours[-1]


@pytest.mark.parametrize("first", ["as it is", "zero"])
def test_small_batches_take_steps_of_bounded_length(first):
    """Factors that lack rank for many steps: no entry of a step is far beyond Adam's."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(32, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    optimizer = EShampoo(model.parameters(), lr=1e-3)
    largest = 0.0
    for step in range(25):
        x, y = torch.randn(4, 32), torch.randint(10, (4,))
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        if step == 0 and first == "zero":
            for p in model.parameters():
                p.grad.zero_()
        before = [p.detach().clone() for p in model.parameters()]
        optimizer.step()
        moved = [(p.detach() - old).abs().max().item() for p, old in zip(model.parameters(), before, strict=True)]
        largest = max(largest, *moved)
    assert largest <= 30 * 1e-3
