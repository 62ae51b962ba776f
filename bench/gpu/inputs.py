"""Inputs on the device: gradients and factors of the named workloads, and uniform batches that fill a large GPU."""

from __future__ import annotations

import torch
from torch import Tensor

from bench import shapes

# n: how many n × n matrices are in a batch, tens of megabytes and more than one for each multiprocessor up to 512.
UNIFORM = {32: 8192, 64: 4096, 128: 1024, 256: 264, 512: 132, 1024: 32}
TINY_UNIFORM = {4: 3, 6: 2}
TINY_RAGGED = [(5, 3), (4, 4), (5, 3)]
BETA = 0.95


def uniform(tiny: bool) -> dict[int, int]:
    return TINY_UNIFORM if tiny else UNIFORM


def ragged(workload: str, tiny: bool) -> list[tuple[int, int]]:
    return TINY_RAGGED if tiny else shapes.RAGGED[workload]


def generator(device: torch.device, seed: int) -> torch.Generator:
    return torch.Generator(device).manual_seed(seed)


def gradients(sizes: list[tuple[int, ...]], device: torch.device) -> list[Tensor]:
    return [shapes.gradient(size, seed, device) for seed, size in enumerate(sizes)]


def factor(shape: tuple[int, ...], device: torch.device, seed: int = 0) -> Tensor:
    """GGᵀ/n of a gradient with decaying spectra, 1e-4 of the mean eigenvalue on the diagonal."""
    return shapes.factor(shape, seed, device=device)


def drifted(batch: int, n: int, device: torch.device, steps: int = 10) -> tuple[Tensor, Tensor]:
    """Moving averages A[batch, n, n] of GGᵀ, float32, and the eigenbases Q that they had some steps before.

    The drift of kronla.testing.matrices.ema_drift as one product; the matrices of the batch differ by a reflection.
    """
    settled, columns = round(3 / (1 - BETA)), 64
    index = torch.arange(n, device=device, dtype=torch.float64)
    scale = 1e4 ** (-index / max(n - 1, 1) / 2)  # eigenvalues from 1 to 1e-4
    Z = torch.randn(n, settled + steps, columns, device=device, dtype=torch.float64, generator=generator(device, n))
    ages = torch.arange(settled + steps - 1, -1, -1, device=device, dtype=torch.float64)
    G = scale[:, None, None] * Z * ((1 - BETA) / columns * BETA**ages).sqrt()[:, None]
    A = G.flatten(1) @ G.flatten(1).mT
    before = G[:, :settled].flatten(1)
    Q = torch.linalg.eigh(before @ before.mT)[1].flip(-1)
    v = torch.randn(batch, n, 1, device=device, dtype=torch.float64, generator=generator(device, n + 1))
    v = v / v.norm(dim=-2, keepdim=True)
    turned = A - 2 * v @ (v.mT @ A)
    turned = turned - 2 * (turned @ v) @ v.mT
    return ((turned + turned.mT) / 2).float(), (Q - 2 * v @ (v.mT @ Q)).float()


def sample(batch: int, most: int = 4) -> list[int]:
    """Indices of a few matrices of a batch, first and last among them: enough to judge accuracy on, in float64."""
    return sorted({round(i * (batch - 1) / max(most - 1, 1)) for i in range(most)})
