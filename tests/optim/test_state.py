"""State: saved and loaded to the bit, across dtypes, in plain values; hooks on loading."""

import copy

import numpy as np
import pytest
import torch
from stepping import CLASSES, advance, parameters, same, saved

from kronla.optim import SOAP, Shampoo

DTYPES = [torch.float32, torch.float64, torch.bfloat16]

pytestmark = pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)


def test_numbers_of_numpy_are_saved(cls):
    """Given to the constructor, to a later group, and set between steps."""
    params = parameters()
    optimizer = cls(
        params[:3], lr=np.float64(0.5), betas=(np.float32(0.5), 0.75), eps=np.float32(0.25), update_every=np.int64(2)
    )
    optimizer.add_param_group({"params": params[3:], "weight_decay": np.float16(0.5), "max_failures": np.uint8(7)})
    first, second = optimizer.param_groups
    assert [type(first[name]) for name in ("lr", "eps", "update_every")] == [float, float, int]
    assert (first["betas"], [type(beta) for beta in first["betas"]]) == ((0.5, 0.75), [float, float])
    assert (second["weight_decay"], second["max_failures"]) == (0.5, 7)
    first["lr"], second["betas"] = np.float64(0.125), [np.float64(0.5), np.float32(0.5)]
    advance(optimizer, params, range(2))
    loaded = saved(optimizer)["param_groups"]
    assert (loaded[0]["lr"], loaded[1]["betas"]) == (0.125, [0.5, 0.5])
    assert [type(value) for value in (loaded[0]["lr"], *loaded[1]["betas"])] == [float] * 3


@pytest.mark.parametrize(("dtype", "kept"), [(torch.float64, torch.float64), (torch.bfloat16, torch.float32)], ids=str)
def test_a_state_is_loaded_beside_parameters_of_another_dtype(cls, dtype, kept):
    params = parameters()
    optimizer = cls(params, lr=0.02)
    advance(optimizer, params, range(3))
    others = [torch.nn.Parameter(p.detach().to(dtype)) for p in params]
    other = cls(others, lr=0.02)
    other.load_state_dict(saved(optimizer))
    for p, q in zip(params, others, strict=True):
        for name, value in optimizer.state[p].items():
            found = other.state[q][name]
            assert found == value if name == "step" else torch.equal(found, value.to(kept)) and found.dtype == kept
    advance(optimizer, params, range(3, 5))
    advance(other, others, range(3, 5))
    for p, q in zip(params, others, strict=True):
        torch.testing.assert_close(q.float(), p, rtol=2**-6, atol=2**-6)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_loaded_state_continues_to_the_bit(cls, dtype):
    params = parameters(dtype)
    optimizer = cls(params, lr=0.02, update_every=3, max_dim=16)
    advance(optimizer, params, range(5))
    others = [torch.nn.Parameter(p.detach().clone()) for p in params]
    other = cls(others, lr=1.0)
    other.load_state_dict(saved(optimizer))
    for p, q in zip(params, others, strict=True):
        assert optimizer.state[p].keys() == other.state[q].keys()
        for name, value in optimizer.state[p].items():
            assert type(value) is type(other.state[q][name])
            if isinstance(value, torch.Tensor):
                assert value.dtype == other.state[q][name].dtype
                assert value.data_ptr() != other.state[q][name].data_ptr()
                assert torch.equal(value, other.state[q][name])
    advance(optimizer, params, range(5, 12))
    advance(other, others, range(5, 12))
    assert same(params, others)


def test_copies_and_pickles_continue_to_the_bit(cls):
    params = parameters()
    optimizer = cls(params)
    advance(optimizer, params, range(3))
    copied_params, copied = copy.deepcopy((params, optimizer))
    advance(optimizer, params, range(3, 6))
    advance(copied, copied_params, range(3, 6))
    assert same(params, copied_params)


def test_hooks_on_loading_are_heard(cls):
    params = parameters()
    optimizer = cls(params)
    advance(optimizer, params, range(2))
    state = optimizer.state_dict()
    heard = []

    def halve(_, arriving):
        arriving["state"] = {i: {**s, "momentum": s["momentum"] / 2} for i, s in arriving["state"].items()}
        return arriving

    optimizer.register_load_state_dict_pre_hook(halve)
    optimizer.register_load_state_dict_post_hook(lambda o: heard.append(o.state[params[0]]["momentum"].clone()))
    before = state["state"][0]["momentum"].clone()
    optimizer.load_state_dict(state)
    assert torch.equal(heard[0], before / 2)


def test_state_has_known_keys_and_plain_values(cls):
    params = parameters()
    optimizer = cls(params, max_dim=32)
    advance(optimizer, params, range(2))
    own = ("factor", "root" if issubclass(cls, Shampoo) else "basis", "health")
    names = {"step", "momentum", "second_moment", "bad_gradients"}
    keys = lambda block, modes: {f"{kind}.{block}.{mode}" for kind in own for mode in range(modes)}  # noqa: E731
    matrix = names | keys(0, 2)
    convolution = names | keys(0, 4) if cls is SOAP else matrix
    expected = [matrix, names, convolution, names, matrix, matrix | keys(1, 2)]
    assert [set(optimizer.state[p]) for p in params] == expected
    for value in (value for p in params for value in optimizer.state[p].values()):
        assert type(value) is int or (type(value) is torch.Tensor and not value.requires_grad)
