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
generator = torch.Generator().manual_seed(0)
results = []
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
torch.save([kronla._native.build_info()["isa"], results], sys.argv[1])
"""


def run_with(isa: str, path) -> subprocess.CompletedProcess:
    environment = {**os.environ, "KRONLA_ISA": isa}
    return subprocess.run([sys.executable, "-c", PROGRAM, str(path)], env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    path = tmp_path_factory.mktemp("sets") / "portable.pt"
    done = run_with("portable", path)
    assert done.returncode == 0, done.stderr
    return torch.load(path)[1]


@pytest.mark.parametrize("isa", SETS[:2])
def test_results_agree_with_the_portable_ones(isa, reference, tmp_path):
    if SETS.index(isa) < SETS.index(_native.build_info()["isa"]):
        pytest.skip(f"this processor does not run {isa}")
    done = run_with(isa, tmp_path / "results.pt")
    assert done.returncode == 0, done.stderr
    name, results = torch.load(tmp_path / "results.pt")
    assert name == isa
    for ours, expected in zip(results, reference, strict=True):
        allowed = 5e-6 if ours.dtype == torch.float32 else 1e-13
        assert (ours - expected).norm() <= allowed * expected.norm()


def test_an_unknown_set_is_refused_at_import(tmp_path):
    done = run_with("sse9", tmp_path / "results.pt")
    assert done.returncode != 0
    assert "KRONLA_ISA is 'sse9', and must be avx512, avx2 or portable" in done.stderr
