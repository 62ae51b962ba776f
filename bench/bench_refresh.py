"""refresh: all factors of a model and all their inverse roots, one call each."""

from functools import partial

import pytest
from torch import Tensor

import kronla
from bench import bench_factors, bench_inverse_root, cases, shapes

WORKLOADS = ["vit-s16"]
P = 4


def by_kronla(Ls: list[Tensor], Rs: list[Tensor], Gs: list[Tensor], *, rtol: float | None) -> list[Tensor]:
    kronla.foreach_update_factors_(Ls, Rs, Gs, beta=bench_factors.BETA)
    return bench_inverse_root.by_kronla(Ls + Rs, p=P, rtol=rtol)


def by_torch(Ls: list[Tensor], Rs: list[Tensor], Gs: list[Tensor]) -> list[Tensor]:
    return bench_inverse_root.by_eigh(bench_factors.by_addmm(Ls, Rs, Gs), p=P)


def inputs(workload: str) -> cases.Inputs:
    """Factors as they are after some steps, and the next gradients."""
    As = shapes.factors(workload)
    return As[0::2], As[1::2], shapes.gradients(workload)


def judge(inputs: cases.Inputs) -> cases.Judge:
    Ls, Rs, Gs = inputs
    chosen = cases.first_of_each_shape(Gs)
    truth = by_torch(*([tensors[i].double() for i in chosen] for tensors in (Ls, Rs, Gs)))

    def error(results: list[Tensor]) -> float:
        return cases.worst_relative_error([results[side + i] for side in (0, len(Gs)) for i in chosen], truth)

    return error


def work(inputs: cases.Inputs, results: list[Tensor]) -> cases.Work:
    Ls, Rs, _ = inputs
    return cases.Work(bench_factors.work(inputs, results).amount + bench_inverse_root.flops(Ls + Rs))


def case(workload: str, rtol: float | None = None) -> cases.Case:
    """In kronla's default accuracy, or in that of float32 eigh."""
    family = "refresh" if rtol is None else f"refresh rtol={rtol}"
    groups = {family: {"addmm_, eigh": by_torch}}
    return cases.Case(family, workload, lambda: inputs(workload), partial(by_kronla, rtol=rtol), groups, judge, work)


CASES = [case(workload, rtol) for rtol in (None, bench_inverse_root.RTOL) for workload in WORKLOADS]


@pytest.mark.parametrize(("case", "side"), cases.sides(CASES), ids=str)
def test_refresh(benchmark, case, side):
    cases.run_with(benchmark, case, side)
