"""The workloads that every measurement uses: shapes by name, factors of those shapes, and tensors from fixed seeds."""

from functools import cache

import torch
from torch import Tensor

from kronla.testing import matrices

MAX_DIM = 1024

# n: how many n × n matrices are in the batch.
UNIFORM = {16: 512, 32: 256, 64: 128, 128: 64, 256: 32, 512: 8, 1024: 2}

_VIT_S16 = [(1152, 384), (384, 384), (1536, 384), (384, 1536)] * 4 + [(1000, 384)]
_GPT2 = [(2304, 768), (768, 768), (3072, 768), (768, 3072)] * 2
_RESNET18 = [(64, 576), (128, 1152), (256, 2304), (512, 4608)]
_CHARLM = [(384, 128), (128, 128), (512, 128), (128, 512)] * 4


def blocks(m: int, n: int, max_dim: int = MAX_DIM) -> list[tuple[int, int]]:
    """The shapes of an m × n matrix cut into blocks of at most max_dim × max_dim, as ``torch.split`` cuts."""

    def pieces(size: int) -> list[int]:
        return [min(max_dim, size - start) for start in range(0, size, max_dim)]

    return [(rows, columns) for rows in pieces(m) for columns in pieces(n)]


# The gradients of a model, as lists of matrices of different shapes.
RAGGED = {
    "vit-s16": _VIT_S16,
    "gpt2": [block for shape in _GPT2 for block in blocks(*shape)],
    "resnet18": [block for shape in _RESNET18 for block in blocks(*shape)],
    "charlm": _CHARLM,
}

WORKLOADS = [f"uniform-{n}" for n in UNIFORM] + list(RAGGED)
# One matrix alone: all that a library can do there is to share its parts over the threads.
SINGLE = [f"single-{n}" for n in (512, 1024)]
QUICK_WORKLOADS = ["uniform-32", "uniform-128", "uniform-512", "charlm"]


def gradient_shapes(workload: str) -> list[tuple[int, ...]]:
    """One batched shape [B, n, n] for ``uniform-n``, else a shape [m, n] for each gradient."""
    if workload in RAGGED:
        return list(RAGGED[workload])
    n = _uniform_size(workload)
    return [(UNIFORM[n], n, n)]


def factor_shapes(workload: str) -> list[tuple[int, ...]]:
    """The shapes of the factors: one batch for ``uniform-n``, one matrix for ``single-n``, else L and R by gradient."""
    if workload in RAGGED:
        return [(size, size) for shape in RAGGED[workload] for size in shape]
    if workload in SINGLE:
        n = int(workload.removeprefix("single-"))
        return [(n, n)]
    return gradient_shapes(workload)


def gradient(shape: tuple[int, ...], seed: int, device: torch.device | str = "cpu") -> Tensor:
    """H₁ diag(i^-½) Z diag(j^-½) H₂ with Gaussian Z and reflections H: spectra that decay, in a dense basis."""
    *batch, m, n = shape
    generator = torch.Generator(device).manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, device=device)

    rows, columns = (torch.arange(1, size + 1, device=device) ** -0.5 for size in (m, n))
    G = rows[:, None] * normal(*batch, m, n) * columns
    u, v = (torch.nn.functional.normalize(normal(*batch, size, 1), dim=-2) for size in (m, n))
    G = G - 2 * u @ (u.mT @ G)
    return G - 2 * (G @ v) @ v.mT


def gradients(workload: str, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Gradients with decaying row and column spectra, as trained layers have."""
    return [gradient(shape, seed).to(dtype) for seed, shape in enumerate(gradient_shapes(workload))]


def factors(workload: str, dtype: torch.dtype = torch.float32, damping: float = 1e-4) -> list[Tensor]:
    """Symmetric factors GGᵀ/n, G of decaying spectra, with ``damping``·mean eigenvalue on the diagonal."""
    return [factor(shape, seed, damping).to(dtype) for seed, shape in enumerate(factor_shapes(workload))]


def factor(shape: tuple[int, ...], seed: int, damping: float = 1e-4, device: torch.device | str = "cpu") -> Tensor:
    """One of :func:`factors`, float32."""
    G = gradient(shape, seed, device)
    A = G @ G.mT / shape[-1]
    mean = A.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None]
    return _symmetrized(A + damping * mean * torch.eye(shape[-1], device=device))


def drifted_bases(workload: str, beta: float = 0.95, steps: int = 10) -> tuple[list[Tensor], list[Tensor]]:
    """Factors A, float32, and the eigenbases Q that they had some steps of a moving average before.

    The drift is that of one factor of each size; the matrices of a batch differ by a reflection. Columns descend.
    """
    As, Qs = [], []
    for seed, shape in enumerate(factor_shapes(workload)):
        A, Q = _drift(shape[-1], beta, steps)
        v = torch.randn(*shape[:-1], 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        v = v / v.norm(dim=-2, keepdim=True)
        turned = A - 2 * v @ (v.mT @ A)
        As.append(_symmetrized(turned - 2 * (turned @ v) @ v.mT).float())
        Qs.append((Q - 2 * v @ (v.mT @ Q)).float())
    return As, Qs


@cache
def _drift(n: int, beta: float, steps: int, columns: int = 64) -> tuple[Tensor, Tensor]:
    """A, float64, and the eigenbasis that it had some steps of A ← βA + (1-β)GGᵀ/columns before.

    The average has settled before: it is a weighted sum of Wishart matrices, here one Wishart matrix of the same mean
    and variance, columns·(1+β)/(1-β) degrees of freedom, drawn by its Cholesky factor (Bartlett 1933). Running the
    average from 0 takes 3/(1-β) steps. G [n, columns] has the covariance of `matrices.ema_drift`.
    """
    generator = torch.Generator().manual_seed(n)
    root = _covariance_root(n)
    freedom = columns * (1 + beta) / (1 - beta)
    T = torch.randn(n, n, generator=generator, dtype=torch.float64).tril(-1)
    # χ² of many degrees of freedom is close to normal (Wilson and Hilferty 1931).
    degrees = freedom - torch.arange(n, dtype=torch.float64)
    spread = 2 / (9 * degrees)
    normal = torch.randn(n, generator=generator, dtype=torch.float64)
    T.diagonal().copy_((degrees * (1 - spread + spread.sqrt() * normal) ** 3).sqrt())
    A = _symmetrized((root @ T) @ (root @ T).mT) / freedom
    Q = torch.linalg.eigh(A)[1].flip(-1)
    G = root @ torch.randn(n, steps * columns, generator=generator, dtype=torch.float64)
    ages = torch.arange(steps - 1, -1, -1, dtype=torch.float64).repeat_interleave(columns)
    new = (G * ((1 - beta) / columns * beta**ages)) @ G.mT
    return _symmetrized(beta**steps * A + new), Q


@cache
def _covariance_root(n: int) -> Tensor:
    """U diag(σ)^½, of a decaying spectrum down to 1e-4 in a Haar basis."""
    return matrices.orthogonal(n, seed=1) * matrices.spectrum("decaying", n, 1e4).sqrt()


def _uniform_size(workload: str) -> int:
    n = workload.removeprefix("uniform-")
    if not n.isdigit() or int(n) not in UNIFORM:
        raise ValueError(f"workload is {workload!r}; it must be one of {', '.join(WORKLOADS)}")
    return int(n)


def _symmetrized(A: Tensor) -> Tensor:
    return (A + A.mT) / 2
