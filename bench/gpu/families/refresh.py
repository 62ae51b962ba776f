"""A whole refresh of a model's gradients: factors, their roots and bases, and the gradients multiplied by the roots."""

from __future__ import annotations

import torch
from torch import Tensor

import kronla
from bench.bench_eigenbasis import step_by_qr
from bench.cases import first_of_each_shape, worst_relative_error
from bench.gpu import inputs, roofline
from bench.gpu.case import Case, Goal, Way
from bench.gpu.families.inverse_root import DAMPING, damped, from_eigh
from bench.gpu.timing import Inputs

BETA, P = 0.95, 4
TARGET = 10.0


def make(sizes: list[tuple[int, int]], device: torch.device) -> Inputs:
    """L, R, G of each gradient, and for L and R the bases of the factors before the update."""
    Gs = inputs.gradients(list(sizes), device)
    Ls = [inputs.factor((m, m), device, seed) for seed, (m, _) in enumerate(sizes)]
    Rs = [inputs.factor((n, n), device, 1000 + seed) for seed, (_, n) in enumerate(sizes)]
    bases = [torch.linalg.eigh(A)[1].flip(-1).contiguous() for A in [*Ls, *Rs]]
    return Ls, Rs, Gs, bases


def by_kronla(Ls: list[Tensor], Rs: list[Tensor], Gs: list[Tensor], bases: list[Tensor]) -> list[Tensor]:
    kronla.foreach_update_factors_(Ls, Rs, Gs, beta=BETA)
    roots = kronla.foreach_inverse_root([*Ls, *Rs], P, relative_damping=DAMPING, method="polynomial")
    moved = kronla.foreach_update_eigenbasis([*Ls, *Rs], bases)
    left, right = [root.X for root in roots[: len(Ls)]], [root.X for root in roots[len(Ls) :]]
    return [*kronla.foreach_kron_apply(left, Gs, right), *(basis.Q for basis in moved)]


def by_torch(Ls: list[Tensor], Rs: list[Tensor], Gs: list[Tensor], bases: list[Tensor]) -> list[Tensor]:
    """One matrix at a time."""
    for L, R, G in zip(Ls, Rs, Gs, strict=True):
        L.addmm_(G, G.mT, beta=BETA, alpha=1 - BETA)
        R.addmm_(G.mT, G, beta=BETA, alpha=1 - BETA)
    roots = [from_eigh(*torch.linalg.eigh(damped(A)), P) for A in [*Ls, *Rs]]
    products = [roots[i] @ G @ roots[len(Ls) + i] for i, G in enumerate(Gs)]
    return products + step_by_qr([*Ls, *Rs], bases)


def error(given: Inputs, results: list[Tensor]) -> float:
    """Of the preconditioned gradient, for one of each shape."""
    Ls, Rs, Gs, _ = given
    chosen = first_of_each_shape(Gs)
    truth = []
    for i in chosen:
        L, R, G = (x[i].double() for x in (Ls, Rs, Gs))
        sides = [BETA * L + (1 - BETA) * G @ G.mT, BETA * R + (1 - BETA) * G.mT @ G]
        X, Y = (from_eigh(*torch.linalg.eigh(damped(A)), P) for A in sides)
        truth.append(X @ G @ Y)
    return worst_relative_error([results[i] for i in chosen], truth)


def work(given: Inputs) -> roofline.Work:
    Ls, Rs, Gs, _ = given
    total = roofline.NOTHING
    for G in Gs:
        total += roofline.factors(*G.shape) + roofline.apply(*G.shape)
    roots = kronla.foreach_inverse_root([*Ls, *Rs], P, relative_damping=DAMPING, method="polynomial")
    for root in roots:
        n = root.X.shape[-1]
        total += roofline.inverse_root(n, P, float(root.steps)) + roofline.basis_step(n)
    return total


def case(name: str, sizes: list[tuple[int, int]]) -> Case:
    return Case(
        "refresh",
        name,
        lambda device: make(sizes, device),
        by_kronla,
        {"looped torch": Goal({"torch": Way(by_torch, capturable=False)}, TARGET)},
        error,
        work,
    )


def cases(tiny: bool) -> list[Case]:
    return [case(name, inputs.ragged(name, tiny)) for name in ("gpt2", "vit-s16")]
