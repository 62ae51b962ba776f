"""The peers' algorithms and the judges of bench/, against float64 and against results made wrong."""

import pytest
import torch

from bench import (
    bench_apply,
    bench_eigenbasis,
    bench_factors,
    bench_inverse_root,
    bench_rearrangement,
    bench_refresh,
    cases,
    shapes,
    targets,
)
from kronla.testing import matrices, reference


@pytest.fixture
def tiny(monkeypatch):
    """Two workloads small enough for a test."""
    monkeypatch.setattr(shapes, "UNIFORM", {8: 3})
    monkeypatch.setitem(shapes.RAGGED, "tiny", [(12, 6), (6, 12), (12, 6)])
    monkeypatch.setattr(bench_rearrangement, "STORED", {"tiny": (2, 4, 3)})
    monkeypatch.setattr(bench_rearrangement, "SAMPLED", {"tiny": (5, 6, 4)})


MAKERS = {
    "factors": bench_factors.case,
    "factors bfloat16": lambda workload: bench_factors.case(workload, torch.bfloat16),
    "inverse_root p=4": lambda workload: bench_inverse_root.case(workload, 4),
    "inverse_root p=2": lambda workload: bench_inverse_root.case(workload, 2),
    "inverse_root rtol": lambda workload: bench_inverse_root.rtol_case(workload, 4),
    "eigenbasis step": bench_eigenbasis.step_case,
    "eigenbasis until": lambda workload: bench_eigenbasis.until_case(workload, 0.95),
    "off_diagonal_ratio": bench_eigenbasis.ratio_case,
    "eigh": bench_eigenbasis.eigh_case,
    "orthonormalize": bench_eigenbasis.orthonormalize_case,
    "apply": bench_apply.case,
    "refresh": bench_refresh.case,
    "rearranged_matvec": lambda _: bench_rearrangement.product_case("tiny"),
    "nearest_kronecker": lambda _: bench_rearrangement.nearest_case("tiny"),
    "nearest from gradients": lambda _: bench_rearrangement.sampled_case("tiny"),
}
# What float32 reaches on the tiny workloads; the bases by what one step of QR leaves of the drift.
BOUNDS = {
    "inverse_root p=4": 1e-2,
    "inverse_root rtol": 1e-2,
    "inverse_root p=2": 5e-2,
    "refresh": 1e-2,
    "eigenbasis step": 0.5,
}


@pytest.mark.parametrize("workload", ["uniform-8", "tiny"])
@pytest.mark.parametrize("family", MAKERS)
def test_every_way_is_accurate_and_none_is_refused(tiny, family, workload):
    if family == "refresh" and workload == "uniform-8":
        pytest.skip("a refresh is of a model")
    case = MAKERS[family](workload)
    inputs = case.inputs()
    verdict = cases.check_accuracy(case, inputs)
    assert not verdict.refused
    assert set(verdict.torch) == set(case.groups)
    for trials in verdict.torch.values():
        assert all(trial.error <= BOUNDS.get(family, 1e-5) for trial in trials.values())
    work = case.work(inputs, verdict.kronla.results)
    assert work.amount > 0 and work.unit in ("flop", "byte")


@pytest.mark.parametrize("family", MAKERS)
def test_every_judge_sees_a_wrong_result(tiny, family):
    """1% more in every result is far outside what counts as equal."""
    case = MAKERS[family]("tiny")
    inputs = case.inputs()
    judge = case.judge(inputs)
    right = case.kronla(*([x.clone() for x in tensors] for tensors in inputs))
    assert judge([1.01 * x for x in right]) > max(30 * cases.EQUAL_ERROR, 30 * judge(right))
    assert not judge([torch.full_like(x, torch.nan) if x.is_floating_point() else x for x in right]) <= 1e-3


@pytest.mark.parametrize("p", [2, 4])
@pytest.mark.parametrize("condition", [10.0, 1e3])
def test_newton_converges_to_the_root(p, condition):
    A = matrices.symmetric("log-uniform", 33, condition, batch=(3,), dtype=torch.float64)
    truth = reference.inverse_root(A, p, relative_damping=bench_inverse_root.DAMPING).X
    exact = bench_inverse_root.newton(A, p, tolerance=1e-12)
    assert cases.worst_relative_error([exact], [truth]) < 1e-10
    single = bench_inverse_root.newton(A.float(), p)
    assert cases.worst_relative_error([single], [truth]) < 2e-7 * condition


def test_newton_does_not_end_while_one_eigenvalue_is_far():
    """Its vector spread over 64 entries, no entry of M - I is large."""
    A = matrices.symmetric("one-small", 64, 1e5, dtype=torch.float64).unsqueeze(0)
    truth = reference.inverse_root(A, 4, relative_damping=bench_inverse_root.DAMPING).X
    assert cases.worst_relative_error([bench_inverse_root.newton(A, 4)], [truth]) < 1e-3


def test_newton_by_size_gives_every_matrix_its_own_root():
    As = [matrices.symmetric("log-uniform", n, 10.0, seed=i) for i, n in enumerate([5, 8, 5, 8])]
    As.append(matrices.symmetric("log-uniform", 6, 10.0, batch=(2,)))
    roots = bench_inverse_root.by_newton(As, p=4)
    truth = [reference.inverse_root(A, 4, relative_damping=bench_inverse_root.DAMPING).X for A in As]
    assert [X.shape for X in roots] == [A.shape for A in As]
    assert cases.worst_relative_error(roots, truth) < 1e-5


def test_only_the_bases_above_the_tolerance_are_computed_anew():
    A = matrices.symmetric("log-uniform", 8, 100.0, batch=(2,))
    Q = torch.linalg.eigh(A)[1]
    Q[1] = torch.eye(8)
    (new, quotients) = bench_eigenbasis.until_by_criterion_and_eigh([A], [Q])
    assert torch.equal(new[0], Q[0]) and not torch.equal(new[1], Q[1])
    assert (reference.off_diagonal_ratio(A, new) < 1e-5).all()
    assert torch.allclose(quotients, (new * (A @ new)).sum(-2), atol=1e-5)
    assert torch.equal(Q[1], torch.eye(8))


def test_sorted_qr_sorts():
    """From ascending columns it turns to descending ones; unsorted, a step leaves the order."""
    A = matrices.symmetric("log-uniform", 8, 100.0)
    ascending = torch.linalg.eigh(A)[1]
    (Q,) = bench_eigenbasis.step_by_sorted_qr([A], [ascending])
    quotients = (Q * (A @ Q)).sum(-2)
    assert (quotients[:-1] > quotients[1:]).all()


@pytest.mark.parametrize("field", [1, 2])
def test_a_basis_with_wrong_figures_is_refused(field):
    As, Qs = [matrices.symmetric("log-uniform", 8, 100.0)], [torch.eye(8)]
    results = bench_eigenbasis.step_by_kronla(As, Qs)
    judge = bench_eigenbasis.judge_bases((As, Qs))
    assert judge(results) < 1
    results[field] = results[field] + 0.01
    assert judge(results) == float("inf")


def test_a_basis_that_is_not_orthogonal_is_refused():
    """Also where it comes without figures that would be wrong."""
    A = matrices.symmetric("log-uniform", 8, 100.0)
    Q = torch.linalg.eigh(A)[1]
    judge = bench_eigenbasis.judge_bases(([A], [Q]))
    assert judge([Q]) < 1e-5
    assert judge([1.0001 * Q]) == float("inf")


@pytest.mark.parametrize("beta", [0.95, 0.99])
def test_the_drift_is_that_of_a_moving_average(monkeypatch, beta):
    """The average drawn at once drifts as far as one that was run, within what two samples differ."""
    monkeypatch.setattr(shapes, "UNIFORM", {24: 2})
    (As,), (Qs,) = shapes.drifted_bases("uniform-24", beta)
    A, Q = matrices.ema_drift(24, beta, 10)
    drawn, run = reference.off_diagonal_ratio(As, Qs), reference.off_diagonal_ratio(A, Q)
    assert (0.5 * run < drawn).all() and (drawn < 2 * run).all()
    assert (Qs.mT @ Qs - torch.eye(24)).abs().max() < 1e-5
    assert abs(As[0].trace() / A.trace() - 1) < 0.3


@pytest.mark.parametrize("beta", bench_eigenbasis.BETAS)
def test_only_the_fastest_average_needs_steps(monkeypatch, beta):
    """As the table says: at the others the old basis is good enough, and evaluating it is all there is to do."""
    monkeypatch.setattr(shapes, "UNIFORM", {64: 2})
    case = bench_eigenbasis.until_case("uniform-64", beta)
    steps = case.kronla(*case.inputs())[3]
    (group,) = [group for group in targets.GROUPS if group.name == case.family]
    assert (steps == 0).all() if "no step needed" in group.operation else (steps > 0).all()


def test_a_basis_without_drift_is_an_eigenbasis(monkeypatch):
    monkeypatch.setattr(shapes, "UNIFORM", {24: 2})
    (As,), (Qs,) = shapes.drifted_bases("uniform-24", steps=0)
    assert (reference.off_diagonal_ratio(As, Qs) < 1e-6).all()
