"""Calls from several Python threads at once: each gets what it would get alone, to the bit."""

from concurrent.futures import ThreadPoolExecutor

import torch

import kronla


def results(n: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(n)
    G = torch.randn(3, n, n + 5, generator=generator)
    L, R = torch.zeros(3, n, n), torch.zeros(3, n + 5, n + 5)
    kronla.update_factors_(L, R, G, beta=0.5)
    basis = kronla.update_eigenbasis(L, torch.eye(n).expand(3, n, n), max_steps=3)
    root = kronla.inverse_root(L, 4, relative_damping=1e-4)
    H = L[0] @ L[0]
    nearest = kronla.nearest_kronecker(torch.kron(H[:6, :6], H[:5, :5]), 6, 5)
    return [L, R, *basis, *root, *kronla.eigh(R), kronla.kron_apply(root.X, G, R), *nearest]


def test_calls_from_several_threads_at_once():
    sizes = [8, 33, 70, 130, 300] * 4
    expected = {n: results(n) for n in set(sizes)}
    with ThreadPoolExecutor(6) as pool:
        for n, found in zip(sizes, pool.map(results, sizes), strict=True):
            for x, y in zip(found, expected[n], strict=True):
                assert torch.equal(x, y)
