"""The same matrix gives the same bits: alone, in any batch or list, at any strides, with any thread count.

One bad matrix changes no other by a bit, and symmetric results are symmetric to the bit.
"""

import math

import pytest
import torch
from cases import CASES, FOREACH_CASES, Call, foreach
from compare import assert_same_bits, is_symmetric, same_bits
from torch.utils import _pytree as pytree

SHAPES = [(1, 2), (33, 20), (130, 70)]


def every_case(cases=CASES):
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.label)


def rows(outputs: list[torch.Tensor], index) -> list[torch.Tensor]:
    return [x[index] for x in outputs]


@every_case()
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_alone_and_in_a_batch(case, shape, device, dtype):
    call = case.call(*shape, batch=(3,), dtype=dtype, device=device)
    together = call.clone().run()
    for i in range(3):
        assert_same_bits(rows(together, i), call[i].run())
    assert_same_bits(rows(together, slice(2, 3)), call[2:].run())


@every_case(FOREACH_CASES)
def test_in_a_list(case, device, dtype):
    """Ragged: matrices of several shapes, alone and batched."""
    layouts = [((9, 5), ()), ((40, 33), (2,)), ((1, 3), (1,)), ((130, 64), ()), ((9, 5), (0,)), ((16, 5), (2, 2))]
    calls = [
        case.call(*shape, batch=batch, dtype=dtype, device=device, seed=seed)
        for seed, (shape, batch) in enumerate(layouts)
    ]
    found = foreach(case, [call.clone() for call in calls]).run_each()
    for each, call in zip(found, calls, strict=True):
        assert_same_bits(each, call.run())


@every_case(FOREACH_CASES)
def test_in_a_long_list(case, device):
    """A hundred matrices of seventeen sizes, so that every worker has many."""
    calls = [case.call(1 + i % 17, 1 + i % 5, device=device, seed=i) for i in range(100)]
    found = foreach(case, [call.clone() for call in calls]).run_each()
    for each, call in zip(found, calls, strict=True):
        assert_same_bits(each, call.run())


@every_case()
def test_any_strides(case, device, dtype):
    """Transposed and at an odd offset in a larger storage: only the values count."""

    def scattered(x):
        storage = torch.full((2 * x.numel() + 1,), math.nan, dtype=x.dtype, device=device)
        view = storage[1::2].view(x.mT.shape).mT
        return view.copy_(x)

    call = case.call(17, 12, batch=(2,), dtype=dtype, device=device)
    assert_same_bits(call.map(scattered).run(), call.run())


@every_case()
@pytest.mark.parametrize("shape", [(33, 20), (257, 129)], ids=str)
def test_thread_count(case, shape, dtype, threads):
    call = case.call(*shape, batch=(3,), dtype=dtype)
    threads(1)
    one = call.clone().run()
    threads(2)
    assert_same_bits(call.run(), one)


@every_case()
def test_twice(case, device, dtype):
    call = case.call(65, 33, batch=(2,), dtype=dtype, device=device)
    assert_same_bits(call.clone().run(), call.run())


def poisoned(case, call: Call, value: float) -> Call:
    """The call with one entry of the middle matrix of three made bad."""
    call = call.clone()
    call.args[case.bad][1].flatten()[-1:].fill_(value)  # the last entry: on the diagonal of a square matrix
    assert pytree.tree_any(lambda x: isinstance(x, torch.Tensor) and not x.isfinite().all(), call.args)
    return call


@every_case()
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_bad_matrix_leaves_the_others(case, value, device, dtype):
    call = case.call(33, 20, batch=(3,), dtype=dtype, device=device)
    found = poisoned(case, call, value).run()
    expected = call.run()
    for i in (0, 2):
        assert_same_bits(rows(found, i), rows(expected, i))
    assert not all(same_bits(a[1], b[1]) for a, b in zip(found, expected, strict=True))


@every_case(FOREACH_CASES)
def test_a_bad_matrix_leaves_the_others_of_a_list(case, device, dtype):
    calls = [case.call(*shape, batch=(3,), dtype=dtype, device=device) for shape in ((33, 20), (8, 8), (33, 20))]
    bad = [calls[0].clone(), poisoned(case, calls[1], math.nan), calls[2].clone()]
    found = foreach(case, bad).run_each()
    expected = foreach(case, calls).run_each()
    for i in (0, 2):
        assert_same_bits(found[i], expected[i])
    assert_same_bits(rows(found[1], 2), rows(expected[1], 2))


SYMMETRIC = {
    "update_factors_": [0, 1],
    "update_mode_factors_": [0, 1],
    "kron_power_step": [0, 1],
    "inverse_root": [0],
    "nearest_kronecker": [0, 1],
    "nearest_kronecker_from_gradients": [0, 1],
}


@every_case([case for case in CASES if case.name in SYMMETRIC])
@pytest.mark.parametrize("shape", [(3, 2), (33, 20), (129, 65)], ids=str)
def test_symmetric_to_the_bit(case, shape, device, dtype):
    outputs = case.call(*shape, batch=(2,), dtype=dtype, device=device).run()
    for i in SYMMETRIC[case.name][: len(outputs)]:
        assert is_symmetric(outputs[i])
