"""apply: L G R for all gradients of a workload."""

import pytest
import torch
from torch import Tensor

import kronla
from bench import cases, shapes


def inputs(workload: str) -> cases.Inputs:
    Gs = shapes.gradients(workload)
    generator = torch.Generator().manual_seed(0)
    sides = [[torch.randn(*G.shape[:-2], *[G.shape[dim]] * 2, generator=generator) for G in Gs] for dim in (-2, -1)]
    return sides[0], Gs, sides[1]


def by_kronla(Ls: list[Tensor], Gs: list[Tensor], Rs: list[Tensor]) -> list[Tensor]:
    return kronla.foreach_kron_apply(Ls, Gs, Rs)


def by_matmul(Ls: list[Tensor], Gs: list[Tensor], Rs: list[Tensor]) -> list[Tensor]:
    """Square L and R: both orders cost the same."""
    return [L @ G @ R for L, G, R in zip(Ls, Gs, Rs, strict=True)]


def judge(inputs: cases.Inputs) -> cases.Judge:
    chosen = cases.first_of_each_shape(inputs[1])
    truth = by_matmul(*([tensors[i].double() for i in chosen] for tensors in inputs))
    return lambda results: cases.worst_relative_error([results[i] for i in chosen], truth)


def work(inputs: cases.Inputs, results: list[Tensor]) -> cases.Work:
    """Nothing is symmetric here: two whole products."""
    return cases.Work(2.0 * sum(G.numel() * (G.shape[-2] + G.shape[-1]) for G in inputs[1]))


def case(workload: str) -> cases.Case:
    groups = {"apply": {"matmul": by_matmul}}
    return cases.Case("apply", workload, lambda: inputs(workload), by_kronla, groups, judge, work)


CASES = [case(workload) for workload in shapes.WORKLOADS]


@pytest.mark.parametrize(("case", "side"), cases.sides(CASES), ids=str)
def test_apply(benchmark, case, side):
    cases.run_with(benchmark, case, side)
