"""torch.optim's manners: groups, hooks, schedulers, closures, bad arguments, bad gradients, compiled steps."""

import copy
from collections import Counter

import pytest
import torch
from stepping import CLASSES, SHAPES, advance, feed, parameters, same, saved

import kronla
from kronla.optim import OptimalKronecker, Shampoo

pytestmark = pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)


def test_native_calls_do_not_grow_with_the_model(cls, monkeypatch):
    calls = Counter()

    def counted(name, original):
        def call(*args, **kwargs):
            calls[name] += 1
            return original(*args, **kwargs)

        return call

    for name in [name for name in dir(kronla) if callable(getattr(kronla, name))]:
        monkeypatch.setattr(kronla, name, counted(name, getattr(kronla, name)))
    counts = []
    for copies in (1, 6):
        params = parameters(shapes=SHAPES * copies)
        settings = {"update_every": 2, "early_steps": 1}
        # Groups that agree on what an op needs share its calls; lr and weight decay are no op's business.
        optimizer = cls([{"params": params[::2]}, {"params": params[1::2], "lr": 1.0, "weight_decay": 0.1}], **settings)
        advance(optimizer, params, [0])
        calls.clear()
        advance(optimizer, params, range(1, 5))
        counts.append(dict(calls))
    refresh = "foreach_inverse_root" if issubclass(cls, Shampoo) else "foreach_update_eigenbasis"
    # Into the basis and back in each of 4 steps; once more in each of 2 refreshes, to carry the momentum.
    applied = 4 if issubclass(cls, Shampoo) else 12
    factors = "foreach_update_factors_" if cls is OptimalKronecker else "foreach_update_mode_factors_"
    assert counts[0] == counts[1] == {factors: 4, refresh: 2, "foreach_mode_apply": applied}


def test_foreach_false_gives_the_same_bits(cls):
    params, others = parameters(), parameters()
    advance(cls(params, update_every=2), params, range(5))
    advance(cls(others, update_every=2, foreach=False), others, range(5))
    assert same(params, others)


def test_groups_have_settings_of_their_own(cls):
    params, alone = parameters(), parameters()
    groups = [{"params": params[:2], "lr": 0.5}, {"params": params[2:], "betas": (0.5, 0.7), "update_every": 2}]
    optimizer = cls(groups, lr=0.1)
    first, second = cls(alone[:2], lr=0.5), cls(alone[2:], lr=0.1, betas=(0.5, 0.7), update_every=2)
    for seed in range(4):
        feed(params, seed)
        feed(alone, seed)
        optimizer.step()
        first.step()
        second.step()
    assert same(params, alone)


def test_a_parameter_belongs_to_one_place(cls):
    p, q = parameters(shapes=[(4, 3), (3,)])
    with pytest.raises(ValueError, match="more than one parameter group"):
        cls([{"params": [p, q]}, {"params": [p]}])
    with pytest.warns(UserWarning, match="duplicate"), pytest.raises(ValueError, match="holds one of them twice"):
        cls([p, q, p])
    optimizer = cls([p])
    with pytest.warns(UserWarning, match="duplicate"), pytest.raises(ValueError, match="holds one of them twice"):
        optimizer.add_param_group({"params": [q, q]})
    assert [group["params"] for group in optimizer.param_groups] == [[p]]


def test_groups_may_join_later(cls):
    params, alone = parameters(), parameters()
    optimizer = cls(params[:3])
    advance(optimizer, params[:3], range(2))
    optimizer.add_param_group({"params": params[3:]})
    early, late = cls(alone[:3]), cls(alone[3:])
    advance(early, alone[:3], range(2))
    for seed in range(2, 6):
        feed(params, seed)
        feed(alone, seed)
        optimizer.step()
        early.step()
        late.step()
    assert same(params, alone)


def test_weight_decay_is_decoupled(cls):
    params, others = parameters(), parameters()
    with_decay, without = cls(params, lr=0.1, weight_decay=0.5), cls(others, lr=0.1, weight_decay=0.0)
    advance(with_decay, params, [0])
    advance(without, others, [0])
    for seed in (1, 2):
        starts = [p.detach().clone() for p in params]
        for p, q in zip(params, others, strict=True):
            q.data.copy_(p.data)
        advance(with_decay, params, [seed])
        advance(without, others, [seed])
        for p, q, start in zip(params, others, starts, strict=True):
            torch.testing.assert_close(p.detach(), q.detach() - 0.1 * 0.5 * start, rtol=1e-5, atol=1e-5)


def test_maximize_climbs(cls):
    params, others = parameters(), parameters()
    down, up = cls(params), cls(others, maximize=True)
    for seed in range(4):
        advance(down, params, [seed])
        for p, q in zip(params, others, strict=True):
            q.grad = -p.grad
        up.step()
    assert same(params, others)


def test_closure_and_hooks_run(cls):
    params = parameters()
    optimizer = cls(params)
    heard = []
    optimizer.register_step_pre_hook(lambda *_: heard.append("before"))
    optimizer.register_step_post_hook(lambda *_: heard.append("after"))

    def closure():
        optimizer.zero_grad()
        heard.append("closure")
        loss = sum(p.square().sum() for p in params)
        loss.backward()
        return loss

    losses = [optimizer.step(closure).item() for _ in range(3)]
    assert heard == ["before", "closure", "after"] * 3
    assert losses[2] < losses[1]


def test_schedulers_set_the_rate(cls):
    params, others = parameters(), parameters()
    optimizer, by_hand = cls(params, lr=0.4), cls(others, lr=0.4)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    for seed in range(4):
        advance(optimizer, params, [seed])
        scheduler.step()
        advance(by_hand, others, [seed])
        by_hand.param_groups[0]["lr"] *= 0.5
    assert optimizer.param_groups[0]["lr"] == 0.025
    assert same(params, others)


def test_a_cycle_moves_the_betas_too(cls):
    params = parameters()
    optimizer = cls(params)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=6)
    rates = []
    for seed in range(5):
        advance(optimizer, params, [seed])
        scheduler.step()
        rates.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["betas"][0]))
    assert max(rates)[0] == pytest.approx(0.1, rel=0.1) and len({beta for _, beta in rates}) > 3
    saved(optimizer)


def test_a_tensor_rate_is_its_number(cls):
    params, others = parameters(), parameters()
    advance(cls(params, lr=torch.tensor(0.25)), params, range(3))
    advance(cls(others, lr=0.25), others, range(3))
    assert same(params, others)


def test_parameters_without_gradient_rest(cls):
    params = parameters()
    optimizer = cls(params, lr=0.1, weight_decay=0.1)
    feed(params, 0)
    params[0].grad = None
    start = params[0].detach().clone()
    optimizer.step()
    assert torch.equal(params[0], start) and not optimizer.state[params[0]]
    assert optimizer.state[params[2]]["step"] == 1
    advance(optimizer, params, [1, 2])
    assert optimizer.state[params[0]]["step"] == 2 and optimizer.state[params[2]]["step"] == 3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_low_precision_parameters_have_float32_state(cls, dtype):
    params = parameters(dtype)
    exact = [torch.nn.Parameter(p.detach().float()) for p in params]
    optimizer, reference = cls(params, lr=0.1), cls(exact, lr=0.1)
    for seed in range(3):
        feed(params, seed)
        for p, q in zip(params, exact, strict=True):
            q.grad = p.grad.float()
            q.data.copy_(p.data)
        optimizer.step()
        reference.step()
        for p, q in zip(params, exact, strict=True):
            torch.testing.assert_close(p.float(), q, rtol=2**-7, atol=2**-7)
    for p, q in zip(params, exact, strict=True):
        for name, value in optimizer.state[p].items():
            if name != "step":
                assert value.dtype == torch.float32 and torch.equal(value, reference.state[q][name])


# The squares of 1.5e19 are finite, but nearly as large as float32 goes: a sum of them might not be.
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e30, 1.5e19])
def test_a_bad_gradient_is_survived(cls, bad):
    params = parameters()
    optimizer = cls(params, lr=0.01, update_every=1)
    advance(optimizer, params, range(3))
    others = copy.deepcopy((params, optimizer))
    feed(params, 3)
    feed(others[0], 3)
    params[0].grad[2, 3] = bad
    params[1].grad[0] = bad
    others[0][0].grad.zero_()
    others[0][1].grad.zero_()
    optimizer.step()
    others[1].step()
    assert same(params, others[0])  # as if those gradients had been zero, and nobody else noticed
    advance(optimizer, params, range(4, 8))
    kept = "root" if issubclass(cls, Shampoo) else "basis"
    for p in params:
        assert p.isfinite().all()
        assert all(torch.as_tensor(value).isfinite().all() for value in optimizer.state[p].values())
    assert not torch.equal(optimizer.state[params[0]][f"{kept}.0.0"], torch.eye(12))


def test_a_bad_first_gradient_is_survived(cls):
    params = parameters()
    optimizer = cls(params, lr=0.01, update_every=1)
    feed(params, 0)
    params[0].grad[:] = float("nan")
    optimizer.step()
    advance(optimizer, params, range(1, 6))
    assert all(p.isfinite().all() for p in params)
    assert not torch.equal(params[0], parameters()[0])


@pytest.mark.parametrize("eps", [1e-8, 0.0])
def test_zero_gradients_change_nothing(cls, eps):
    params = parameters()
    optimizer = cls(params, eps=eps, weight_decay=0.0)
    for _ in range(12):
        for p in params:
            p.grad = torch.zeros_like(p)
        optimizer.step()
    assert same(params, parameters())


def test_complex_and_sparse_are_refused(cls):
    with pytest.raises(NotImplementedError, match=r"takes real parameters, but one is torch\.complex64"):
        cls([torch.nn.Parameter(torch.zeros(3, 3, dtype=torch.complex64))])
    embedding = torch.nn.Embedding(5, 3, sparse=True)
    embedding(torch.tensor([1, 2])).sum().backward()
    optimizer = cls(embedding.parameters())
    with pytest.raises(NotImplementedError, match=r"takes dense gradients, but one has layout torch\.sparse_coo"):
        optimizer.step()
    assert not optimizer.state


@pytest.mark.parametrize("eps", [0.0, 1e-60])  # 1e-60 is 0 in float32
def test_without_eps_entries_that_were_never_seen_rest(cls, eps):
    """Also one whose square is 0 in float32. (In a basis, rounding noise is no zero: nothing is promised there.)"""
    params = parameters(shapes=[(6, 4), (5,)])
    optimizer = cls(params, eps=eps, lr=0.1, weight_decay=0.0)
    starts = [p.detach().clone() for p in params]
    for seed in range(4):
        feed(params, seed)
        params[0].grad[:, 2] = 0
        params[1].grad[:3] = torch.tensor([0.0, 1e-30, 0.0])
        optimizer.step()
    assert all(p.isfinite().all() for p in params)
    assert torch.equal(params[1][:3], starts[1][:3]) and not torch.equal(params[1], starts[1])
    if issubclass(cls, Shampoo):
        torch.testing.assert_close(params[0][:, 2], starts[0][:, 2], rtol=0, atol=1e-5)
    assert not torch.equal(params[0], starts[0])


def test_cutting_anew_is_refused(cls):
    params = parameters()
    optimizer = cls(params)
    advance(optimizer, params, [0])
    optimizer.param_groups[0]["max_dim"] = 4
    feed(params, 1)
    with pytest.raises(ValueError, match="max_dim, merge_dims, large and vectors cannot change once"):
        optimizer.step()


def test_a_compiled_step_is_the_step(cls):
    """What users of torch.optim write: it works, and compiles nothing."""
    torch._dynamo.reset()
    params, others = parameters(), parameters()
    optimizer, other = cls(params, lr=0.1), cls(others, lr=0.1)
    compiled = torch.compile(optimizer.step)
    for seed in range(3):
        feed(params, seed)
        compiled()
        advance(other, others, [seed])
    assert same(params, others)


def test_a_compiled_training_step_takes_the_same_steps(cls):
    compiled = []
    torch._dynamo.reset()

    def backend(graph, inputs):
        compiled.append(graph)
        return graph.forward

    def training_step(optimizer, model, inputs):
        optimizer.zero_grad()
        model(inputs).square().mean().backward()
        optimizer.step()

    results = []
    for run in (training_step, torch.compile(training_step, backend=backend)):
        torch.manual_seed(0)
        model = torch.nn.Linear(6, 4)
        optimizer = cls(model.parameters(), lr=0.1, update_every=2)
        for seed in range(4):
            torch.manual_seed(seed)
            run(optimizer, model, torch.randn(5, 6))
        results.append(list(model.parameters()))
    assert same(*results)
    assert 1 <= len(compiled) <= 3  # the model, and not a graph for each step
