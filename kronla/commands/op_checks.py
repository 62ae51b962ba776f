"""What ``python -m kronla check`` compares, op by op.

A check takes the op and a setting, and yields `Comparison`s of its results with the float64 reference, or of a property
with what it must be. Inputs come from fixed seeds.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from kronla.commands.comparisons import Comparison, Setting, close, equal, product_tolerance, relative_error
from kronla.testing import matrices, reference

# (batch, m, n): single and batched, 1, primes, on both sides of 32 and 64.
SHAPES = [(1, 1, 1), (3, 7, 5), (2, 33, 31), (2, 64, 65)]

Check = Callable[[Callable, Setting], Iterator[Comparison]]
CHECKS: dict[str, Check] = {}


def checks(name: str) -> Callable[[Check], Check]:
    """Registers a check under the op's public name."""

    def register(check: Check) -> Check:
        CHECKS[name] = check
        return check

    return register


# factors


@checks("update_factors_")
def check_update_factors(op, setting):
    for batch, m, n in SHAPES:
        for gradient_dtype in setting.gradient_dtypes:
            G = setting.gradients(batch, m, n).to(gradient_dtype)
            for weighted in (False, True):
                L, R = setting.symmetric(m, batch=batch), setting.symmetric(n, batch=batch)
                weights = (L.clone(), R.clone()) if weighted else None
                L_expected, R_expected = L.double(), R.double()
                op(L, R, G, beta=0.9, weights=weights)
                reference.update_factors_(L_expected, R_expected, G, beta=0.9, weights=weights)
                tolerance = product_tolerance(setting, m, n)
                yield close(L, L_expected, tolerance)
                yield close(R, R_expected, tolerance)
                yield equal(L, L.mT)


@checks("foreach_update_factors_")
def check_foreach_update_factors(op, setting):
    Gs = [setting.gradients(*shape) for shape in SHAPES]
    Ls = [setting.symmetric(G.shape[-2], batch=G.shape[0]) for G in Gs]
    Rs = [setting.symmetric(G.shape[-1], batch=G.shape[0]) for G in Gs]
    expected = [x.double() for x in Ls], [x.double() for x in Rs]
    op(Ls, Rs, Gs, beta=0.5, alpha=2.0)
    reference.foreach_update_factors_(*expected, Gs, beta=0.5, alpha=2.0)
    for actual, truth in zip([*Ls, *Rs], [*expected[0], *expected[1]], strict=True):
        yield close(actual, truth, product_tolerance(setting, 65))


def mode_factor_lists(setting):
    Gs = [setting.gradients(4, 7, 33), setting.gradients(5, 3, 2, 4), setting.gradients(17)]
    return [[setting.symmetric(size, batch=1)[0] for size in G.shape] for G in Gs], Gs


@checks("update_mode_factors_")
def check_update_mode_factors(op, setting):
    for factors, G in zip(*mode_factor_lists(setting), strict=True):
        expected = [factor.double() for factor in factors]
        op(factors, G, beta=0.9)
        reference.update_mode_factors_(expected, G, beta=0.9)
        for actual, truth in zip(factors, expected, strict=True):
            yield close(actual, truth, product_tolerance(setting, G.numel()))


@checks("foreach_update_mode_factors_")
def check_foreach_update_mode_factors(op, setting):
    lists, Gs = mode_factor_lists(setting)
    expected = [[factor.double() for factor in factors] for factors in lists]
    op(lists, Gs, beta=0.9)
    reference.foreach_update_mode_factors_(expected, Gs, beta=0.9)
    for factors, truths in zip(lists, expected, strict=True):
        for actual, truth in zip(factors, truths, strict=True):
            yield close(actual, truth, product_tolerance(setting, 4 * 7 * 33))


@checks("kron_power_step")
def check_kron_power_step(op, setting):
    for samples, m, n in SHAPES:
        G = setting.gradients(2, samples, m, n)
        L, R = setting.symmetric(m), setting.symmetric(n)
        for actual, truth in zip(op(G, L, R), reference.kron_power_step(G, L, R), strict=True):
            yield close(actual, truth, product_tolerance(setting, samples * m, samples * n))


# inverse_root


CONDITION = 1e3


def root_comparisons(result, A, p, setting) -> Iterator[Comparison]:
    """No worse than twice torch.linalg.eigh in the same precision, or 50u (3e-6 in float32).

    In float64 the reference is no better than the op, and both may err by κu.
    """
    truth = reference.inverse_root(A, p)
    eigenvalues, Q = torch.linalg.eigh(A)
    by_eigh = (Q * eigenvalues.clamp_min(1e-30).unsqueeze(-2) ** (-1 / float(p))) @ Q.mT
    floor = (CONDITION if setting.dtype == torch.float64 else 50) * setting.rounding
    yield close(result.X, truth.X, max(2 * relative_error(by_eigh, truth.X), floor))
    yield equal(result.X, result.X.mT)
    yield equal(result.info, truth.info)
    yield Comparison(float(result.residual.max()), 0.01)


@checks("inverse_root")
def check_inverse_root(op, setting):
    for n in (1, 5, 33, 65):
        for p in (2, 3, 4, 4 / 3):
            A = setting.symmetric(n, CONDITION)
            for method in ("auto", "eigh", *(["polynomial"] if p != 4 / 3 else [])):
                result = setting.attempt(op, A, p, method=method)
                if result is not None:
                    yield from root_comparisons(result, A, p, setting)
    bad = setting.symmetric(8, batch=3)
    bad[1, 2, 3] = float("nan")
    bad[2] *= -1
    yield equal(op(bad, 4, fallback=bad).info, torch.tensor([0, 3, 2], device=setting.device))


@checks("foreach_inverse_root")
def check_foreach_inverse_root(op, setting):
    As = [setting.symmetric(n, CONDITION) for n in (33, 5, 1, 64)]
    for result, A in zip(op(As, 4), As, strict=True):
        yield from root_comparisons(result, A, 4, setting)


# eigenbasis


def orthogonality(Q: Tensor, setting: Setting) -> Comparison:
    """‖QᵀQ - I‖_F, at most 84·√n·u: 5e-6·√n in float32."""
    wide, n = Q.double(), Q.shape[-1]
    gap = wide.mT @ wide - torch.eye(n, dtype=torch.float64, device=Q.device)
    return Comparison(float(gap.flatten(-2).norm(dim=-1).max()), 84 * n**0.5 * setting.rounding)


def basis_comparisons(result, A, setting) -> Iterator[Comparison]:
    """The eigenvalues and the ratio are those of the basis that came back."""
    truth = reference.update_eigenbasis(A, result.Q, max_steps=0)
    n = A.shape[-1]
    yield orthogonality(result.Q, setting)
    yield close(result.eigenvalues, truth.eigenvalues, product_tolerance(setting, n))
    yield Comparison(float((result.ratio - truth.ratio).abs().max()), product_tolerance(setting, n))


def drifted(setting: Setting, n: int) -> tuple[Tensor, Tensor]:
    """A moving average, and the eigenbasis it had ten steps before."""
    A, Q = matrices.ema_drift(n, 0.95, 10, batch=(2,), dtype=torch.float64, seed=n)
    return setting.put(A), setting.put(Q)


@checks("off_diagonal_ratio")
def check_off_diagonal_ratio(op, setting):
    for n in (1, 5, 33, 65):
        A, Q = drifted(setting, n)
        gap = op(A, Q) - reference.off_diagonal_ratio(A, Q)
        yield Comparison(float(gap.abs().max()), product_tolerance(setting, n))


@checks("update_eigenbasis")
def check_update_eigenbasis(op, setting):
    for n in (1, 5, 33, 65):
        A, Q = drifted(setting, n)
        for method in ("auto", "rotation", "qr", "eigh"):
            result = setting.attempt(op, A, Q, method=method)
            if result is None:
                continue
            yield from basis_comparisons(result, A, setting)
            # As good a step as the reference's, up to rounding.
            truth = reference.update_eigenbasis(A, Q, method=method)
            excess = (result.ratio - 1.1 * truth.ratio).clamp_min(0)
            yield Comparison(float(excess.max()), 4 * product_tolerance(setting, n))
            yield Comparison(float((result.Q * Q).sum(-2).min().clamp_max(0).abs()), product_tolerance(setting, n))
    A, Q = drifted(setting, 16)
    A[1, 0, 0] = float("inf")
    result = op(A, Q)
    yield equal(result.info, torch.tensor([0, 3], device=setting.device))
    yield equal(result.Q[1], Q[1])


@checks("foreach_update_eigenbasis")
def check_foreach_update_eigenbasis(op, setting):
    As, Qs = zip(*(drifted(setting, n) for n in (33, 1, 65)), strict=True)
    for result, A in zip(op(As, Qs, max_steps=2), As, strict=True):
        yield from basis_comparisons(result, A, setting)


def eigh_comparisons(result, A, setting) -> Iterator[Comparison]:
    yield from basis_comparisons(result, A, setting)
    yield close(result.eigenvalues, reference.eigh(A).eigenvalues, product_tolerance(setting, A.shape[-1]))
    yield Comparison(float(result.ratio.max()), product_tolerance(setting, A.shape[-1]))
    yield equal(result.eigenvalues, result.eigenvalues.sort(-1).values)


@checks("eigh")
def check_eigh(op, setting):
    for n in (1, 5, 33, 65):
        A = setting.symmetric(n)
        result = setting.attempt(op, A)
        if result is not None:
            yield from eigh_comparisons(result, A, setting)


@checks("foreach_eigh")
def check_foreach_eigh(op, setting):
    for sizes in ((33, 1, 64), (5, 65)):
        As = [setting.symmetric(n) for n in sizes]
        results = setting.attempt(op, As)
        if results is not None:
            for result, A in zip(results, As, strict=True):
                yield from eigh_comparisons(result, A, setting)


@checks("orthonormalize")
def check_orthonormalize(op, setting):
    for batch, n, extra in SHAPES:
        S = setting.put(matrices.gradients(batch, n + extra, n, decay=0.0, dtype=torch.float64))
        (Q, info), (truth, truth_info) = op(S), reference.orthonormalize(S)
        yield orthogonality(Q, setting)
        yield close(Q, truth, 16 * product_tolerance(setting, n + extra))  # times the condition of S
        yield equal(info, truth_info)


# rearrangement


def kronecker_matrix(setting: Setting, m: int, n: int) -> Tensor:
    """L ⊗ R and a tenth of noise, batched, symmetric."""
    H = torch.stack([torch.kron(setting.symmetric(m)[i], setting.symmetric(n)[i]) for i in range(2)])
    return H + 0.1 * H.norm() / (m * n) * setting.symmetric(m * n)


KRON_SHAPES = [(1, 1), (3, 5), (7, 4), (8, 9)]


@checks("rearrange")
def check_rearrange(op, setting):
    for m, n in KRON_SHAPES:
        H = setting.gradients(2, m * n, m * n)
        yield equal(op(H, m, n), reference.rearrange(H, m, n))


@checks("unrearrange")
def check_unrearrange(op, setting):
    for m, n in KRON_SHAPES:
        M = setting.gradients(2, m * m, n * n)
        yield equal(op(M, m, n), reference.unrearrange(M, m, n))


@checks("rearranged_matvec")
def check_rearranged_matvec(op, setting):
    for m, n in KRON_SHAPES:
        H, R = setting.gradients(2, m * n, m * n), setting.gradients(2, n, n, seed=1)
        yield close(op(H, R), reference.rearranged_matvec(H, R), product_tolerance(setting, n * n))


@checks("rearranged_rmatvec")
def check_rearranged_rmatvec(op, setting):
    for m, n in KRON_SHAPES:
        H, L = setting.gradients(2, m * n, m * n), setting.gradients(2, m, m, seed=1)
        yield close(op(H, L), reference.rearranged_rmatvec(H, L), product_tolerance(setting, m * m))


def nearest_comparisons(result, truth, tolerance: float) -> Iterator[Comparison]:
    for field in ("L", "R", "sigma", "cosine"):
        yield close(getattr(result, field), getattr(truth, field), tolerance)
    yield equal(result.info, truth.info)


@checks("nearest_kronecker")
def check_nearest_kronecker(op, setting):
    for m, n in KRON_SHAPES:
        H = kronecker_matrix(setting, m, n)
        for steps in (0, 1, 5):
            truth = reference.nearest_kronecker(H, m, n, steps=steps)
            yield from nearest_comparisons(op(H, m, n, steps=steps), truth, product_tolerance(setting, m * m, n * n))


@checks("nearest_kronecker_from_gradients")
def check_nearest_kronecker_from_gradients(op, setting):
    for samples, m, n in SHAPES:
        G = setting.gradients(2, samples, m, n)
        truth = reference.nearest_kronecker_from_gradients(G, steps=3)
        yield from nearest_comparisons(op(G, steps=3), truth, product_tolerance(setting, samples * m, samples * n))


# apply


def apply_inputs(setting: Setting, batch: int, m: int, n: int) -> tuple[Tensor, Tensor, Tensor]:
    return (
        setting.gradients(batch, m + 2, m, seed=1),
        setting.gradients(batch, m, n),
        setting.gradients(batch, n, n + 1, seed=2),
    )


@checks("kron_apply")
def check_kron_apply(op, setting):
    for shape in SHAPES:
        L, G, R = apply_inputs(setting, *shape)
        for gradient_dtype in setting.gradient_dtypes:
            G = G.to(gradient_dtype)
            yield close(op(L, G, R), reference.kron_apply(L, G, R), product_tolerance(setting, *shape))


@checks("foreach_kron_apply")
def check_foreach_kron_apply(op, setting):
    Ls, Gs, Rs = zip(*(apply_inputs(setting, *shape) for shape in SHAPES), strict=True)
    for actual, truth in zip(op(Ls, Gs, Rs), reference.foreach_kron_apply(Ls, Gs, Rs), strict=True):
        yield close(actual, truth, product_tolerance(setting, 65))


def mode_inputs(setting: Setting) -> tuple[list[list[Tensor | None]], list[Tensor]]:
    Gs = [setting.gradients(4, 7, 33), setting.gradients(5, 3, 2, 4), setting.gradients(17)]
    lists: list[list[Tensor | None]] = [[setting.gradients(size + 1, size) for size in G.shape] for G in Gs]
    lists[0][1] = None
    return lists, Gs


@checks("mode_apply")
def check_mode_apply(op, setting):
    for matrix_list, G in zip(*mode_inputs(setting), strict=True):
        yield close(op(matrix_list, G), reference.mode_apply(matrix_list, G), product_tolerance(setting, 33))


@checks("foreach_mode_apply")
def check_foreach_mode_apply(op, setting):
    lists, Gs = mode_inputs(setting)
    for actual, truth in zip(op(lists, Gs), reference.foreach_mode_apply(lists, Gs), strict=True):
        yield close(actual, truth, product_tolerance(setting, 33))
