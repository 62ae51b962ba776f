"""Every instruction set that this processor runs: the same results within rounding, in a process of its own."""

import os
import subprocess
import sys

import pytest
import torch

from kronla import _native

SETS = ["avx512", "avx2", "portable"]

PROGRAM = """
import sys, torch, kronla
from kronla.testing import matrices

generator = torch.Generator().manual_seed(0)
results, coarse, rotations = [], [], []


def rotate(spectrum, dtype, steps):
    # From a basis turned within its range: a step, and more.
    n, rank = len(spectrum), int((spectrum != 0).sum())
    Q = matrices.orthogonal(n, seed=n)
    A = ((Q * spectrum) @ Q.mT).to(dtype)
    Z = torch.randn(rank, rank, generator=generator, dtype=torch.float64)
    near = torch.cat([Q[:, :rank] @ torch.matrix_exp(0.05 / n**0.5 * (Z - Z.mT)), Q[:, rank:]], 1).to(dtype)
    one, more = (kronla.update_eigenbasis(A, near, method="rotation", max_steps=k) for k in (1, steps))
    assert more.ratio <= 8 * torch.finfo(dtype).eps
    rotations.append(one.ratio)
    results.extend([more.eigenvalues, (more.Q * more.eigenvalues) @ more.Q.mT, more.Q[:, rank:]])


for dtype in (torch.float32, torch.float64):
    for n in (5, 33, 130, 300):
        G = torch.randn(2, n, n + 7, generator=generator, dtype=torch.float64).to(dtype)
        L, R = torch.zeros(2, n, n, dtype=dtype), torch.zeros(2, n + 7, n + 7, dtype=dtype)
        kronla.update_factors_(L, R, G, beta=0.0, alpha=1.0 / n)
        kronla.update_factors_(L, R, G.bfloat16(), beta=0.5, alpha=0.5 / n)
        root = kronla.inverse_root(L, 2, relative_damping=1e-3).X
        basis = kronla.update_eigenbasis(L, kronla.eigh(L).Q)
        results += [L, R, root, basis.eigenvalues, kronla.kron_apply(root, G, R)]
        results += [kronla.orthonormalize(G.mT)[0]]
        if n > 128:
            root = kronla.inverse_root(L, 2, relative_damping=1e-3, rtol=1e-3)
            assert (root.info == 0).all()
            coarse += [root.X]
        rotate(torch.linspace(2, 1, n, dtype=torch.float64), dtype, 12)
        rotate((torch.arange(n) < n // 2) * torch.linspace(2, 1, n, dtype=torch.float64), dtype, 12)
        rotate(torch.where(torch.arange(n) < n // 2, 1, 1e-3).double(), dtype, 8)
rotations = torch.stack([x.double() for x in rotations])
torch.save([kronla._native.build_info()["isa"], results, coarse, rotations], sys.argv[1])
"""


def run_with(isa: str, path) -> subprocess.CompletedProcess:
    environment = {**os.environ, "KRONLA_ISA": isa}
    return subprocess.run([sys.executable, "-c", PROGRAM, str(path)], env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    path = tmp_path_factory.mktemp("sets") / "portable.pt"
    done = run_with("portable", path)
    assert done.returncode == 0, done.stderr
    return torch.load(path)[1:]


@pytest.mark.parametrize("isa", SETS[:2])
def test_results_agree_with_the_portable_ones(isa, reference, tmp_path):
    if SETS.index(isa) < SETS.index(_native.build_info()["isa"]):
        pytest.skip(f"this processor does not run {isa}")
    done = run_with(isa, tmp_path / "results.pt")
    assert done.returncode == 0, done.stderr
    name, results, coarse, ratios = torch.load(tmp_path / "results.pt")
    assert name == isa
    assert ((ratios / reference[2]).log2().abs() <= 0.1).all()  # of a rotation, rounded to bfloat16 or not
    for ours, expected in zip(results, reference[0], strict=True):
        allowed = 5e-6 if ours.dtype == torch.float32 else 1e-13
        assert (ours - expected).norm() <= allowed * expected.norm()
    for ours, expected in zip(coarse, reference[1], strict=True):  # from float32 reductions
        allowed = 1e-5 if ours.dtype == torch.float32 else 1e-13
        assert (ours - expected).norm() <= allowed * expected.norm()


def test_an_unknown_set_is_refused_at_import(tmp_path):
    done = run_with("sse9", tmp_path / "results.pt")
    assert done.returncode != 0
    assert "KRONLA_ISA is 'sse9', and must be avx512, avx2 or portable" in done.stderr
