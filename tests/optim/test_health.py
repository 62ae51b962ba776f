"""Failures: survived, counted for each factor, reported, raised after so many in a row; nothing waits for a device."""

import copy
import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import kronla
from kronla.optim import SOAP, EShampoo, OptimalKronecker, Shampoo, Shampoo2

ROOTS = [Shampoo, Shampoo2, OptimalKronecker]
CLASSES = [*ROOTS, EShampoo, SOAP]
every_class = pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)


def named(*shapes):
    generator = torch.Generator().manual_seed(0)
    return [(f"layer{i}", torch.nn.Parameter(torch.randn(s, generator=generator))) for i, s in enumerate(shapes)]


def step(optimizer, params, seed, bad=()):
    """One step; the gradients of the parameters of these names are NaN somewhere."""
    generator = torch.Generator().manual_seed(seed)
    for name, p in params:
        p.grad = torch.randn(p.shape, generator=generator)
        if name in bad:
            p.grad.view(-1)[-1] = math.nan
    optimizer.step()


def kept(optimizer, p, mode=0):
    state = optimizer.state[p]
    return state.get(f"root.0.{mode}", state.get(f"basis.0.{mode}"))


class NoHostReads(TorchDispatchMode):
    """Raises where a value of a tensor is asked for, or a shape depends on one: on a GPU each would wait for it."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if any(word in str(func) for word in ("_local_scalar_dense", "nonzero", "masked_select", "equal.default")):
            raise AssertionError(f"{func} waits for the device")
        return func(*args, **(kwargs or {}))


@every_class
@pytest.mark.parametrize("own", [{}, {"factor_beta": 1.0, "eps": 0.0}], ids=["defaults", "sum"])
def test_no_step_waits_for_the_device(cls, own):
    params = named((12, 9), (7,), (8, 3, 3, 3), (), (40, 5))
    optimizer = cls(params, update_every=2, max_dim=16, **own)
    with NoHostReads():
        for seed in range(5):
            step(optimizer, params, seed, bad=["layer2"] if seed == 3 else [])
    with pytest.raises(AssertionError, match="_local_scalar_dense"), NoHostReads():
        torch.ones(1).sum().item()


@every_class
def test_diagnostics_count(cls):
    params = named((12, 9), (7,), (20, 5))
    optimizer = cls(params, update_every=3, early_steps=1, max_dim=16, **({"tol": 0.0} if cls is EShampoo else {}))
    assert optimizer.diagnostics() == []
    for seed in range(6):  # refreshed at steps 1 and 4
        step(optimizer, params, seed)
    rows = optimizer.diagnostics()
    expected = [("layer0", 0, 0, 12), ("layer0", 0, 1, 9), ("layer2", 0, 0, 16), ("layer2", 0, 1, 5)]
    expected += [("layer2", 1, 0, 4), ("layer2", 1, 1, 5), ("layer1", 0, -1, 0)]
    assert [(row.parameter, row.block, row.mode, row.size) for row in rows] == expected
    *rows, bare = rows
    assert (bare.steps_since_refresh, bare.refreshes, bare.info, bare.failures, bare.bad_gradients) == (6, 0, 0, 0, 0)
    assert math.isnan(bare.ratio) and math.isnan(bare.residual)
    for row in rows:
        assert (row.steps_since_refresh, row.refreshes, row.info) == (2, 2, 0)
        assert (row.failures, row.bad_gradients) == (0, 0)
        measured, other = (row.residual, row.ratio) if cls in ROOTS else (row.ratio, row.residual)
        assert 0 <= measured < 1 and math.isnan(other)


def test_ratio_and_refreshes_are_those_of_the_criterion():
    params = named((12, 12), (9, 9))
    optimizer = EShampoo(params, tol=0.3, betas=(0.9, 0.9))
    moved = [0] * 4
    for seed in range(20):
        before = [kept(optimizer, p, mode) for _, p in params for mode in (0, 1)] if seed else [None] * 4
        step(optimizer, params, seed)
        after = [kept(optimizer, p, mode) for _, p in params for mode in (0, 1)]
        moved = [n + (b is None or not torch.equal(a, b)) for n, a, b in zip(moved, after, before, strict=True)]
    rows = optimizer.diagnostics()
    assert [row.refreshes for row in rows] == moved
    assert 1 < min(moved) and max(moved) < 20
    for row in rows:
        p = dict(params)[row.parameter]
        A, Q = optimizer.state[p][f"factor.0.{row.mode}"], kept(optimizer, p, row.mode)
        assert row.ratio == pytest.approx(kronla.off_diagonal_ratio(A, Q).item(), rel=1e-4)


@every_class
def test_a_failing_factor_keeps_its_preconditioner_and_is_counted(cls):
    params = named((8, 8), (8, 8))
    optimizer = cls(params, update_every=1, max_failures=4, **({"tol": 0.0} if cls is EShampoo else {}))
    for seed in range(3):
        step(optimizer, params, seed)
    bad, good = params[0][1], params[1][1]
    last = kept(optimizer, bad).clone()
    for seed in range(3, 6):
        optimizer.state[bad]["factor.0.0"].fill_(math.inf)
        step(optimizer, params, seed)
        assert torch.equal(kept(optimizer, bad), last)
        assert not torch.equal(kept(optimizer, good), last)
        first, *others = optimizer.diagnostics()
        assert (first.info, first.failures, first.steps_since_refresh, first.refreshes) == (3, seed - 2, seed - 2, 3)
        assert all(row.info < 2 and row.failures == 0 for row in others)
        assert all(p.isfinite().all() for _, p in params)
    with pytest.raises(RuntimeError, match=r"mode 0 in block 0 of layer0, .* has failed 4 times in a row, with info 3"):
        step(optimizer, params, 6)


@pytest.mark.parametrize(
    ("cls", "own"), [*((cls, {}) for cls in CLASSES), (Shampoo, {"large": "diagonal", "max_dim": 4})], ids=str
)
def test_a_full_sum_keeps_its_last_good_factor_and_is_counted(cls, own):
    """Factors that sum (β = 1): gradients of 1e19 have finite squares, a sum of ten of them has not."""
    params = named((4, 6), (4, 6))
    optimizer = cls(params, lr=1e-3, factor_beta=1.0, update_every=2, max_failures=6, **own)
    (_, p), (_, q) = params
    kept = {}
    with pytest.raises(RuntimeError, match=r"mode [01] in block 0 of layer0, .* 6 times in a row, with info 3"):
        for t in range(30):
            p.grad, q.grad = (torch.randn(4, 6, generator=torch.Generator().manual_seed(t)) for _ in range(2))
            p.grad *= 0.8e19 / p.grad.norm()
            before = {key: value.clone() for key, value in optimizer.state[p].items() if key.startswith("factor")}
            optimizer.step()
            rows = {(row.parameter, row.mode): row for row in optimizer.diagnostics()}
            for mode in (0, 1):
                row, F = rows["layer0", mode], optimizer.state[p][f"factor.0.{mode}"]
                assert F.double().norm() < torch.finfo(F.dtype).max
                assert (F.sum() if F.ndim == 1 else F.trace()).isfinite()
                full = t > 0 and torch.equal(F, before[f"factor.0.{mode}"])
                kept[mode] = kept.get(mode, 0) + 1 if full else 0
                assert row.failures == kept[mode] and (row.info == 3 if full else row.info < 2)
                assert rows["layer1", mode].info < 2
            assert all(each.isfinite().all() for each in (p, q))
    assert t >= 6  # some gradients were taken in


@every_class
@pytest.mark.parametrize("victim", ["layer0", "layer1"])
def test_bad_gradients_raise_after_so_many_in_a_row(cls, victim):
    params = named((8, 8), (5,))
    optimizer = cls(params, max_failures=3)
    bad = [False, True, True, False, True, True]
    for seed, now in enumerate(bad):
        step(optimizer, params, seed, bad=[victim] if now else [])
    counts = {row.parameter: row.bad_gradients for row in optimizer.diagnostics()}
    assert counts == {"layer0": 0, "layer1": 0, victim: 2}
    with pytest.raises(RuntimeError, match=f"The last 3 gradients of {victim}, of shape"):
        step(optimizer, params, 9, bad=[victim])
    assert all(p.isfinite().all() for _, p in params)
    step(optimizer, params, 10)  # whoever catches it may go on


@every_class
def test_unnamed_parameters_are_told_apart(cls):
    params = [p for _, p in named((4, 4), (4, 4))]
    optimizer = cls([{"params": params[:1]}, {"params": params[1:]}], max_failures=1)
    for p in params:
        p.grad = torch.ones(4, 4)
    params[1].grad[0, 0] = math.inf
    with pytest.raises(RuntimeError, match=r"group 1, parameter 0, of shape \(4, 4\)"):
        optimizer.step()


@every_class
def test_counts_are_saved(cls):
    params = named((6, 6))
    optimizer = cls(params, update_every=2)
    for seed in range(5):
        step(optimizer, params, seed, bad=["layer0"] if seed == 4 else [])
    others = copy.deepcopy(params)
    other = cls(others)
    other.load_state_dict(optimizer.state_dict())
    assert repr(other.diagnostics()) == repr(optimizer.diagnostics())  # NaN is not equal to itself
    assert optimizer.diagnostics()[0].bad_gradients == 1


@every_class
def test_memory_is_what_the_state_holds(cls):
    params = named((12, 9), (7,))
    optimizer = cls([(name, p.to(torch.bfloat16).detach().requires_grad_()) for name, p in params])
    params = list(zip(*[[n for n, _ in params], optimizer.param_groups[0]["params"]], strict=True))
    for _, p in params:
        p.grad = torch.ones_like(p)
    optimizer.step()
    matrix, vector = optimizer.memory()
    beside = "root" if cls in ROOTS else "basis"
    factors = 4 * (12 * 12 + 9 * 9)
    moments = {"bad_gradients": 4, "momentum": 4 * 108, "second_moment": 4 * 108}
    assert (matrix.parameter, matrix.elements) == ("layer0", 108)
    assert matrix.bytes == {**moments, "factor": factors, beside: factors, "health": 2 * 6 * 4}
    assert vector.bytes == {"bad_gradients": 4, "momentum": 28, "second_moment": 28}


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_a_long_run_with_failures_learns(cls):
    """300 steps; a fifth of the gradients are not finite, and now and then a factor is spoiled for a step."""
    torch.manual_seed(0)
    inputs = torch.randn(256, 12)
    targets = torch.tanh(inputs @ torch.randn(12, 3))
    network = torch.nn.Sequential(torch.nn.Linear(12, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3))
    own = {"relative_damping": 1e-4} if cls in ROOTS else {"tol": 0.0} if cls is EShampoo else {}
    optimizer = cls(network.named_parameters(), lr=0.01, update_every=5, **own)
    losses = []
    for t in range(300):
        optimizer.zero_grad()
        loss = (network(inputs) - targets).square().mean()
        loss.backward()
        losses.append(loss.item())
        for p in network.parameters():
            if torch.rand(()) < 0.2:
                p.grad.view(-1)[0] = (math.nan, math.inf, 1e30)[t % 3]
        state = optimizer.state[network[0].weight]
        healthy = {key: value.clone() for key, value in state.items() if key.startswith("factor")}
        if t % 30 == 20:
            state["factor.0.0"][0, 0] = math.nan
        optimizer.step()
        if t % 30 == 20:
            assert optimizer.diagnostics()[0].failures > 0
            state.update(healthy)
    assert all(map(math.isfinite, losses))
    assert losses[-1] < 0.2 * losses[0]
    assert max(row.refreshes for row in optimizer.diagnostics()) > 20


@pytest.mark.parametrize("other", [{"foreach": False}, {"dtype": torch.float64}], ids=["foreach=False", "mixed"])
def test_the_alarm_hears_every_call_of_a_step(other):
    """Each parameter, or each dtype, in calls of its own: the last one's good counts do not hide the first one's."""
    bad = torch.nn.Parameter(torch.zeros(4, 4))
    good = torch.nn.Parameter(torch.zeros(4, 4, dtype=other.get("dtype", torch.float32)))
    optimizer = SOAP([bad, good], max_failures=3, foreach=other.get("foreach"))
    with pytest.raises(RuntimeError, match="The last 3 gradients"):
        for _ in range(4):
            bad.grad, good.grad = torch.full((4, 4), torch.nan), torch.ones_like(good)
            optimizer.step()


def test_the_state_of_another_optimizer_is_refused():
    def trained(cls, shape=(4, 3)):
        p = torch.nn.Parameter(torch.zeros(shape))
        optimizer = cls([p], **({"lr": 0.1} if cls is torch.optim.AdamW else {}))
        p.grad = torch.ones(shape)
        optimizer.step()
        return optimizer

    for cls, other in ((SOAP, Shampoo), (Shampoo, SOAP), (SOAP, torch.optim.AdamW)):
        with pytest.raises(ValueError, match="state of another optimizer"):
            trained(cls).load_state_dict(trained(other).state_dict())
    with pytest.raises(ValueError, match=r"of shape \(5, 3\) for one of \(4, 3\)"):
        trained(SOAP).load_state_dict(trained(SOAP, (5, 3)).state_dict())
