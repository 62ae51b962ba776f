"""rearrangement: products with a rearranged H that is never stored, against torch's with one that is."""

from __future__ import annotations

import torch
from torch import Tensor

import kronla
from bench import shapes
from bench.cases import worst_relative_error
from bench.gpu import inputs, roofline
from bench.gpu.case import Case, Goal, Less, Way
from bench.gpu.timing import Inputs

TARGET = 1.8
STEPS = 5
# batch, m, n of H[batch, mn, mn].
SIZES = [(16, 32, 32), (4, 64, 32), (64, 16, 16), (1, 96, 64)]
TINY_SIZES = [(2, 3, 4)]


def covariances(batch: int, m: int, n: int, device: torch.device) -> Tensor:
    """Covariances of gradients with decaying spectra, and a little of the identity."""
    G = shapes.gradient((batch, 256, m, n), m + n, device).flatten(-2)
    return G.mT @ G / 256 + 1e-3 * torch.eye(m * n, device=device)


def make(batch: int, m: int, n: int, device: torch.device) -> Inputs:
    """H, its rearrangement, and symmetric L and R of norm 1."""
    H = covariances(batch, m, n, device)
    sides = []
    for size in (m, n):
        x = torch.randn(batch, size, size, device=device, generator=inputs.generator(device, size))
        x = x @ x.mT
        sides.append(x / x.flatten(-2).norm(dim=-1)[:, None, None])
    return [H], [kronla.rearrange(H, m, n)], [sides[0]], [sides[1]]


def steps(count: int):
    def run(Hs: list[Tensor], Ms: list[Tensor], Ls: list[Tensor], Rs: list[Tensor]) -> list[Tensor]:
        m, n = Ls[0].shape[-1], Rs[0].shape[-1]
        result = kronla.nearest_kronecker(Hs[0], m, n, steps=count, start=(Ls[0], Rs[0]))
        return [result.L, result.R]

    return run


def columns(x: Tensor) -> Tensor:
    return x.flatten(-2).unsqueeze(-1)


def two_products(Hs: list[Tensor], Ms: list[Tensor], Ls: list[Tensor], Rs: list[Tensor]) -> list[Tensor]:
    """What a step needs, and nothing else."""
    return [Ms[0] @ columns(Rs[0]), Ms[0].mT @ columns(Ls[0])]


def stored_steps(Hs: list[Tensor], Ms: list[Tensor], Ls: list[Tensor], Rs: list[Tensor]) -> list[Tensor]:
    M, L, R = Ms[0], columns(Ls[0]), columns(Rs[0])
    for _ in range(STEPS):
        L, R = M @ R, M.mT @ L
        L, R = L / L.norm(dim=-2, keepdim=True), R / R.norm(dim=-2, keepdim=True)
    (L.mT @ (M @ R)).squeeze() / M.flatten(-2).norm(dim=-1)  # sigma and cosine, which kronla also gives
    return [L.reshape(Ls[0].shape), R.reshape(Rs[0].shape)]


def steps_error(given: Inputs, results: list[Tensor]) -> float:
    """Of L and R after all steps; of two bare products, which are columns, with what they are in float64."""
    if results[0].dim() == 3 and results[0].shape[-1] == 1:
        Hs, Ms, Ls, Rs = ([x.double() for x in tensors] for tensors in given)
        return worst_relative_error(results, two_products(Hs, Ms, Ls, Rs))
    Hs, Ms, Ls, Rs = ([x.double() for x in tensors] for tensors in given)
    return worst_relative_error(results, stored_steps(Hs, Ms, Ls, Rs))


def by_matvec(Hs: list[Tensor], Ms: list[Tensor], Ls: list[Tensor], Rs: list[Tensor]) -> list[Tensor]:
    return [kronla.rearranged_matvec(Hs[0], Rs[0])]


def stored_matvec(Hs: list[Tensor], Ms: list[Tensor], Ls: list[Tensor], Rs: list[Tensor]) -> list[Tensor]:
    return [(Ms[0] @ columns(Rs[0])).reshape(Ls[0].shape)]


def by_rmatvec(Hs: list[Tensor], Ms: list[Tensor], Ls: list[Tensor], Rs: list[Tensor]) -> list[Tensor]:
    return [kronla.rearranged_rmatvec(Hs[0], Ls[0])]


def stored_rmatvec(Hs: list[Tensor], Ms: list[Tensor], Ls: list[Tensor], Rs: list[Tensor]) -> list[Tensor]:
    return [(Ms[0].mT @ columns(Ls[0])).reshape(Rs[0].shape)]


def product_error(way, given: Inputs, results: list[Tensor]) -> float:
    return worst_relative_error(results, way(*([x.double() for x in tensors] for tensors in given)))


def cases_of(batch: int, m: int, n: int) -> list[Case]:
    name = f"{batch}x({m}x{n})²"

    def inputs_of(device: torch.device) -> Inputs:
        return make(batch, m, n, device)

    one_pass = roofline.rearranged_pass(m, n, 1, symmetric=True) * batch
    whole = roofline.rearranged_pass(m, n, 1, symmetric=False) * batch
    return [
        Case(
            "rearrangement",
            f"one pass, {name}",
            inputs_of,
            steps(STEPS),
            {"two matvecs, stored": Goal({"matmul": Way(two_products)}, TARGET)},
            steps_error,
            lambda given: one_pass,
            Less(steps(0), STEPS),
        ),
        Case(
            "rearrangement",
            f"{STEPS} steps, {name}",
            inputs_of,
            steps(STEPS),
            {"stored": Goal({"matmul": Way(stored_steps)})},
            steps_error,
            lambda given: one_pass * (STEPS + 1),
        ),
        *(
            Case(
                "rearrangement",
                f"{product}, {name}",
                inputs_of,
                way,
                {"stored": Goal({"matmul": Way(stored)})},
                lambda given, results, stored=stored: product_error(stored, given, results),
                lambda given: whole,
            )
            for product, way, stored in (("matvec", by_matvec, stored_matvec), ("rmatvec", by_rmatvec, stored_rmatvec))
        ),
    ]


def cases(tiny: bool) -> list[Case]:
    by_size = [cases_of(*size) for size in (TINY_SIZES if tiny else SIZES)]
    return [case for kind in zip(*by_size, strict=True) for case in kind]
