"""rearrangement: the products with a rearranged H, and the nearest Kronecker product to H and to sampled gradients."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import kronla
from bench import cases, shapes

STEPS = 5
# batch, m, n of H [batch, mn, mn].
STORED = {"16x16": (64, 16, 16), "32x32": (8, 32, 32), "48x48": (2, 48, 48)}
# N samples of gradients [N, m, n].
SAMPLED = {"128x64x96": (128, 64, 96), "32x384x384": (32, 384, 384), "16x768x768": (16, 768, 768)}


def covariances(batch: int, m: int, n: int) -> Tensor:
    """Covariances of 2mn gradients with Kronecker structure."""
    G = torch.stack([shapes.gradient((2 * m * n, m, n), seed) for seed in range(batch)]).flatten(-2)
    return G.mT @ G / (2 * m * n)


# ---- one product, L_ii' = ⟨H_ii', R⟩ ----


def product_inputs(batch: int, m: int, n: int) -> cases.Inputs:
    R = torch.randn(batch, n, n, generator=torch.Generator().manual_seed(1))
    return [covariances(batch, m, n)], [R + R.mT]


def product_by_kronla(Hs: list[Tensor], Rs: list[Tensor]) -> list[Tensor]:
    return [kronla.rearranged_matvec(H, R) for H, R in zip(Hs, Rs, strict=True)]


def _split(H: Tensor, n: int) -> Tensor:
    m = H.shape[-1] // n
    return H.unflatten(-1, (m, n)).unflatten(-3, (m, n))  # [..., i, j, i', j']


def product_by_matmul(Hs: list[Tensor], Rs: list[Tensor]) -> list[Tensor]:
    """H seen as rows of [i', j'] times the rows of R: nothing as large as H is written."""
    return [(_split(H, R.shape[-1]) @ R[:, None, :, :, None]).squeeze(-1).sum(-2) for H, R in zip(Hs, Rs, strict=True)]


def product_by_einsum(Hs: list[Tensor], Rs: list[Tensor]) -> list[Tensor]:
    return [torch.einsum("biajc,bac->bij", _split(H, R.shape[-1]), R) for H, R in zip(Hs, Rs, strict=True)]


def judge_product(inputs: cases.Inputs) -> cases.Judge:
    Hs, Rs = inputs
    truth = product_by_einsum([H.double() for H in Hs], [R.double() for R in Rs])
    return lambda results: cases.worst_relative_error(results, truth)


def passes(count: int) -> Callable[[cases.Inputs, list[Tensor]], cases.Work]:
    """H read as often; more than memory gives where H stays in the cache."""
    return lambda inputs, results: cases.Work(float(count * inputs[0][0].nbytes), "byte")


# ---- nearest Kronecker product ----


def judge_nearest(truth: list[Tensor]) -> cases.Judge:
    """By sigma · L and R, which have norm 1 and are PSD (no sign to choose), and the cosine."""

    def error(results: list[Tensor]) -> float:
        cosines = float((results[2] - truth[2]).abs().max())
        return max(cases.worst_relative_error(results[:2], truth[:2]), cosines)

    return error


def nearest_by_kronla(Hs: list[Tensor], sizes: list[Tensor]) -> list[Tensor]:
    m, n = sizes[0].shape
    result = kronla.nearest_kronecker(Hs[0], m, n, steps=STEPS)
    return [result.L * result.sigma[:, None, None], result.R, result.cosine]


def nearest_by_bmm(Hs: list[Tensor], sizes: list[Tensor]) -> list[Tensor]:
    """The rearrangement stored once, then two batched products a step."""
    return _nearest_stored(Hs[0], sizes[0], torch.bmm)


def nearest_by_mv(Hs: list[Tensor], sizes: list[Tensor]) -> list[Tensor]:
    """The same with a matrix–vector product for each matrix, which has a kernel of its own in BLAS."""

    def product(M: Tensor, v: Tensor) -> Tensor:
        return torch.stack([torch.mv(matrix, vector) for matrix, vector in zip(M, v[..., 0], strict=True)])[..., None]

    return _nearest_stored(Hs[0], sizes[0], product)


def _nearest_stored(H: Tensor, size: Tensor, product: Callable[[Tensor, Tensor], Tensor]) -> list[Tensor]:
    m, n = size.shape
    M = _split(H, n).transpose(-3, -2).reshape(-1, m * m, n * n)
    L = torch.eye(m, dtype=H.dtype).flatten().repeat(H.shape[0], 1)[..., None] / m**0.5
    R = torch.eye(n, dtype=H.dtype).flatten().repeat(H.shape[0], 1)[..., None] / n**0.5
    for _ in range(STEPS):
        L, R = product(M, R), product(M.mT, L)
        L, R = L / L.norm(dim=-2, keepdim=True), R / R.norm(dim=-2, keepdim=True)
    sigma = L.mT @ product(M, R)
    cosine = sigma.flatten() / H.flatten(-2).norm(dim=-1)
    return [(L * sigma).reshape(-1, m, m), R.reshape(-1, n, n), cosine]


# ---- nearest Kronecker product to the covariance of gradients ----


def sampled_by_kronla(Gs: list[Tensor]) -> list[Tensor]:
    result = kronla.nearest_kronecker_from_gradients(Gs[0], steps=STEPS)
    return [result.L * result.sigma, result.R, result.cosine]


def sampled_by_bmm(Gs: list[Tensor]) -> list[Tensor]:
    """Two products a side and step; the sums over samples inside one large product."""
    G = Gs[0]
    samples, m, n = G.shape
    wide, tall = G.permute(1, 0, 2).reshape(m, samples * n), G.reshape(samples * m, n)

    def forward(R: Tensor) -> Tensor:  # Σ G R Gᵀ
        return (tall @ R).reshape(samples, m, n).permute(1, 0, 2).reshape(m, samples * n) @ wide.mT / samples

    def backward(L: Tensor) -> Tensor:  # Σ Gᵀ L G
        return tall.mT @ (L @ wide).reshape(m, samples, n).permute(1, 0, 2).reshape(samples * m, n) / samples

    L, R = torch.eye(m, dtype=G.dtype) / m**0.5, torch.eye(n, dtype=G.dtype) / n**0.5
    for _ in range(STEPS):
        L, R = forward(R), backward(L)
        L, R = L / L.norm(), R / R.norm()
    sigma = (L * forward(R)).sum()
    gram = G.flatten(1) @ G.flatten(1).mT
    return [L * sigma, R, sigma / (gram.norm() / samples)]


def sampled_work(inputs: cases.Inputs, results: list[Tensor]) -> cases.Work:
    """A step: GR, half of (GR)Gᵀ, LG, half of Gᵀ(LG); at the end one side for sigma, and half of GGᵀ for the norm."""
    N, m, n = inputs[0][0].shape
    side = 2 * N * m * n * n + N * m * m * n
    step = side + 2 * N * m * m * n + N * m * n * n
    return cases.Work(float(STEPS * step + side + N * N * m * n))


def product_case(name: str) -> cases.Case:
    return cases.Case(
        "rearranged_matvec",
        f"{STORED[name][0]}x{name}",
        lambda: product_inputs(*STORED[name]),
        product_by_kronla,
        {"rearranged_matvec": {"matmul": product_by_matmul, "einsum": product_by_einsum}},
        judge_product,
        passes(1),
    )


def nearest_case(name: str) -> cases.Case:
    batch, m, n = STORED[name]
    return cases.Case(
        "nearest_kronecker",
        f"{batch}x{name}",
        lambda: ([covariances(batch, m, n)], [torch.empty(m, n)]),  # the second only carries m and n
        nearest_by_kronla,
        {"nearest_kronecker": {"stored, bmm": nearest_by_bmm, "stored, mv": nearest_by_mv}},
        lambda inputs: judge_nearest(nearest_by_bmm([inputs[0][0].double()], inputs[1])),
        passes(STEPS + 1),  # a pass gives both sides of a step; one more gives sigma and cosine
    )


def sampled_case(name: str) -> cases.Case:
    return cases.Case(
        "nearest from gradients",
        name,
        lambda: ([shapes.gradient(SAMPLED[name], 0)],),
        sampled_by_kronla,
        {"nearest from gradients": {"bmm": sampled_by_bmm}},
        lambda inputs: judge_nearest(sampled_by_bmm([inputs[0][0].double()])),
        sampled_work,
    )


CASES = [make(name) for make in (product_case, nearest_case) for name in STORED]
CASES += [sampled_case(name) for name in SAMPLED]


@pytest.mark.parametrize(("case", "side"), cases.sides(CASES), ids=str)
def test_rearrangement(benchmark, case, side):
    cases.run_with(benchmark, case, side)
