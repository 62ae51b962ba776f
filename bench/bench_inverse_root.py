"""inverse_root: (A + 1e-6·‖A‖_F·I)^(-1/4) for all factors of a workload."""

import pytest
import torch
from torch import Tensor

import kronla
from bench import cases, shapes

P = 4
DAMPING = 1e-6


def by_kronla(As: list[Tensor]) -> list[Tensor]:
    return [result.X for result in kronla.foreach_inverse_root(As, P, relative_damping=DAMPING)]


def by_eigh(As: list[Tensor]) -> list[Tensor]:
    """On CPU faster than coupled Newton iterations, by 2–7 times; one product a root."""
    roots = []
    for A in As:
        eigenvalues, Q = torch.linalg.eigh(A)
        damped = eigenvalues + DAMPING * A.norm(dim=(-2, -1), keepdim=True).squeeze(-1)
        roots.append((Q * damped.clamp_min(1e-30).pow(-1 / P).unsqueeze(-2)) @ Q.mT)
    return roots


def error(inputs: cases.Inputs, results: list[Tensor]) -> float:
    (As,) = inputs
    chosen = cases.first_of_each_shape(As)
    return cases.worst_relative_error([results[i] for i in chosen], by_eigh([As[i].double() for i in chosen]))


def case(workload: str) -> cases.Case:
    return cases.Case(
        "inverse_root", workload, lambda: (shapes.factors(workload),), by_kronla, {"eigh": by_eigh}, error
    )


CASES = [case(workload) for workload in shapes.WORKLOADS]


@pytest.mark.parametrize(("case", "side"), cases.sides(CASES), ids=str)
def test_inverse_root(benchmark, case, side):
    cases.run_with(benchmark, case, side)
