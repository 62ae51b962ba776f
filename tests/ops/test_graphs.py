"""CUDA graphs: every op can be captured, and a replay on other numbers in the same memory gives the bits of a call."""

from collections.abc import Callable

import pytest
import torch
from cases import CASES, FOREACH_CASES, Call, foreach, tensors
from compare import assert_same_bits
from torch import Tensor
from torch.utils import _pytree as pytree

import kronla
from kronla.testing import matrices

on_cuda = pytest.mark.parametrize("device", ["cuda"], indirect=True)


class Captured:
    """A function of tensors in a CUDA graph: its results for the numbers that the same tensors hold at each replay."""

    def __init__(self, function: Callable[..., list[Tensor]], inputs: list[Tensor]) -> None:
        self.inputs, start = inputs, [x.clone() for x in inputs]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # once before, so that nothing is loaded or set up within the capture
            function(*inputs)
        torch.cuda.current_stream().wait_stream(side)
        self.load(start)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.results = function(*inputs)
        assert_same_bits(inputs, start)  # nothing has run

    def load(self, values: list[Tensor]) -> None:
        for x, value in zip(self.inputs, values, strict=True):
            x.copy_(value)

    def __call__(self, values: list[Tensor]) -> list[Tensor]:
        self.load(values)
        self.graph.replay()
        torch.cuda.synchronize()
        return [x.clone() for x in self.results]


def replays_are_right(function: Callable[..., list[Tensor]], samples: list[list[Tensor]]) -> None:
    expected = [function(*(x.clone() for x in sample)) for sample in samples]
    captured = Captured(function, [x.clone() for x in samples[0]])
    for i in (1, 0, 1):
        assert_same_bits(captured(samples[i]), expected[i])


def calls(case, device, seed: int) -> list[tuple[str, Call]]:
    """The op alone and in a batch, and for those that have one, the op of lists."""
    sizes = ((20, 9), ()), ((70, 33), (2,)), ((5, 3), (1,))
    each = [case.call(*size, batch=batch, device=device, seed=seed) for size, batch in sizes]
    return each + ([foreach(case, each)] if case in FOREACH_CASES else [])


@on_cuda
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
def test_every_op_can_be_captured(case, device):
    for one, other in zip(calls(case, device, 0), calls(case, device, 1), strict=True):
        leaves, spec = pytree.tree_flatten((one.args, one.kwargs))
        where = [i for i, x in enumerate(leaves) if isinstance(x, Tensor)]

        def function(*inputs, one=one, leaves=leaves, spec=spec, where=where):
            filled = list(leaves)
            for i, x in zip(where, inputs, strict=True):
                filled[i] = x
            args, kwargs = pytree.tree_unflatten(filled, spec)
            return Call(one.name, args, kwargs).run()

        replays_are_right(function, [tensors((call.args, call.kwargs)) for call in (one, other)])


# Of gradients, one of them a batch; factors on both sides of 64, and of 128.
SHAPES = [(3, 5), (2, 20, 9), (66, 33), (150, 130), (64, 200)]


def refresh(*inputs: Tensor) -> list[Tensor]:
    """Factors, their roots and bases, and the gradients multiplied by the roots, each in one call for all shapes."""
    count = len(SHAPES)
    Ls, Rs, Gs, bases = inputs[:count], inputs[count : 2 * count], inputs[2 * count : 3 * count], inputs[3 * count :]
    kronla.foreach_update_factors_(Ls, Rs, Gs, beta=0.9)
    roots = kronla.foreach_inverse_root([*Ls, *Rs], 4, relative_damping=1e-6)
    moved = kronla.foreach_update_eigenbasis([*Ls, *Rs], bases)
    Xs = [root.X for root in roots]
    return [*Ls, *Rs, *tensors(roots), *tensors(moved), *kronla.foreach_kron_apply(Xs[:count], Gs, Xs[count:])]


def refresh_inputs(device, seed: int) -> list[Tensor]:
    def factor(dim: int) -> list[Tensor]:
        return [
            matrices.symmetric("log-uniform", shape[dim], 1e3, shape[:-2], seed=seed + i)
            for i, shape in enumerate(SHAPES)
        ]

    Ls, Rs = factor(-2), factor(-1)
    Gs = [matrices.gradients(*shape, seed=seed + i) for i, shape in enumerate(SHAPES)]
    bases = [matrices.orthogonal(A.shape[-1], A.shape[:-2], A.dtype, seed + i) for i, A in enumerate([*Ls, *Rs])]
    return [x.to(device) for x in [*Ls, *Rs, *Gs, *bases]]


@on_cuda
def test_a_whole_refresh(device):
    samples = [refresh_inputs(device, seed) for seed in (0, 100)]
    results = refresh(*(x.clone() for x in samples[0]))
    assert all(x.isfinite().all() for x in results)
    replays_are_right(refresh, samples)
