"""The ops of ``torch.ops.kronla`` on the emulated CUDA kernels: the same names and arguments, on CPU tensors.

A test of a family runs on them by putting an object of :data:`FAMILIES` in the place of ``torch.ops.kronla`` in
``kronla.ops.<family>``: the public functions and their checks are the very same. Every call runs in all three orders of
turns, which must agree to the bit. What would take too long is skipped, visibly.
"""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

#: Where `make emulated` builds the module; a folder in KRONLA_EMULATED comes first.
FOLDERS = [os.environ.get("KRONLA_EMULATED"), Path(__file__).parents[2] / "build" / "cmake"]
#: Tiles of 64 × 64 times stages of 32 in depth, each some milliseconds: 257 × 129 is allowed, a batch of 1000 is not.
MOST_WORK = 300
ORDERS = (("forward", 0), ("reverse", 0), ("shuffled", 1))
TYPES = {torch.float64: 0, torch.float32: 1, torch.bfloat16: 2, torch.float16: 3}


@cache
def native():
    """The module of emulated kernels, or None where it is not built."""
    for folder in filter(None, FOLDERS):
        for path in sorted(Path(folder).glob("kronla_emulated*.so")):
            spec = importlib.util.spec_from_file_location("kronla_emulated", path)
            if spec is None or spec.loader is None:
                continue
            module = importlib.util.module_from_spec(spec)
            try:
                spec.loader.exec_module(module)
            except ImportError:  # built for another Python
                continue
            return module
    return None


def in_every_order(call: Callable[[], list[Tensor]]) -> list[Tensor]:
    """The results of a call, after a check that the order of turns does not change a bit of them."""
    results = []
    for order, seed in ORDERS:
        native().set_order(order, seed)
        results.append(call())
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert torch.equal(bits(a), bits(b)), "the order of turns changes the result: a barrier is missing"
    return results[0]


def bits(tensor: Tensor) -> Tensor:
    return tensor.contiguous().view({8: torch.int64, 4: torch.int32, 2: torch.int16}[tensor.element_size()])


def array(tensor: Tensor):
    """A contiguous copy for the kernels; 16-bit floats as their bits, for which NumPy has not both types."""
    copy = tensor.detach().clone(memory_format=torch.contiguous_format)
    return (copy.view(torch.int16) if copy.element_size() == 2 else copy).numpy()


def tiles(size: int) -> int:
    return -(-size // 64)


def stages_of(depth: int) -> int:
    return 1 + depth // 32


def skip_if_too_large(work: int) -> None:
    if work > MOST_WORK:
        pytest.skip(f"too large for the emulator ({work} tiles and stages, {MOST_WORK} allowed)")


class Factors:
    """kronla/ops/factors.py"""

    def update_factors_(self, L, R, G, beta, alpha, WL, WR):
        self._run([(F, G, mode, W) for F, mode, W in ((L, 0, WR), (R, 1, WL)) if F is not None], beta, alpha)

    def foreach_update_factors_(self, factors, Gs, gradients, modes, weights, weights_of, beta, alpha):
        chosen = [weights[i] if i >= 0 else None for i in weights_of]
        sources = [Gs[i] for i in gradients]
        self._run(list(zip(factors, sources, modes, chosen, strict=True)), beta, alpha)

    def update_mode_factors_(self, factors, G, modes, beta, alpha):
        self._run([(F, G, mode, None) for F, mode in zip(factors, modes, strict=True)], beta, alpha)

    def foreach_update_mode_factors_(self, factors, Gs, gradients, modes, beta, alpha):
        self.foreach_update_factors_(factors, Gs, gradients, modes, [], [-1] * len(factors), beta, alpha)

    def kron_power_step(self, G, L, R):
        *batch, samples, m, n = G.shape
        count = math.prod(batch)
        stages = stages_of(m) + stages_of(n)
        skip_if_too_large(count * samples * (tiles(m) * tiles(n) * stages + tiles(m) ** 2 + tiles(n) ** 2))

        def call():
            results = torch.empty_like(L).numpy(), torch.empty_like(R).numpy()
            native().kron_power_step(array(G), TYPES[G.dtype], count, samples, m, n, array(L), array(R), *results)
            return [torch.from_numpy(x) for x in results]

        return tuple(in_every_order(call))

    def _run(self, updates, beta, alpha):
        work = 0
        for F, G, _, _ in updates:
            matrices = math.prod(F.shape[:-2])
            depth = G.numel() // max(matrices * F.shape[-1], 1)
            work += matrices * tiles(F.shape[-1]) ** 2 * stages_of(depth)
        skip_if_too_large(work)

        def call():
            groups, arrays = [], []
            for F, G, mode, W in updates:
                first = F.ndim - 2
                dims = G.shape[first:]
                outer, inner = math.prod(dims[:mode]), math.prod(dims[mode + 1 :])
                arrays.append(array(F))
                weight = None if W is None else array(W)
                batch = math.prod(F.shape[:-2])
                groups.append((arrays[-1], array(G), TYPES[G.dtype], batch, outer, dims[mode], inner, weight))
            native().update_factors(groups, beta, alpha)
            return [torch.from_numpy(x) for x in arrays]

        for (F, *_), result in zip(updates, in_every_order(call), strict=True):
            F.copy_(result)


class Apply:
    """kronla/ops/apply.py"""

    def kron_apply(self, L, G, R):
        return self._run([(G, [(L, 0, False), (R, 1, True)])])[0]

    def foreach_kron_apply(self, Ls, Gs, Rs):
        return self._run([(G, [(L, 0, False), (R, 1, True)]) for L, G, R in zip(Ls, Gs, Rs, strict=True)])

    def mode_apply(self, matrices, modes, G):
        return self._run([(G, [(M, mode, False) for M, mode in zip(matrices, modes, strict=True)])])[0]

    def foreach_mode_apply(self, matrices, tensors, modes, Gs):
        given = list(zip(tensors, matrices, modes, strict=True))
        return self._run([(G, [(M, mode, False) for t, M, mode in given if t == i]) for i, G in enumerate(Gs)])

    def _run(self, applications):
        work = 0
        for G, modes in applications:
            first = modes[0][0].ndim - 2
            dims, batch = list(G.shape[first:]), math.prod(G.shape[:first])
            for M, mode, _ in modes:  # in this order, which need not be the kernels'
                outer, inner = math.prod(dims[:mode]), math.prod(dims[mode + 1 :])
                products = tiles(outer) if inner == 1 else outer * tiles(inner)
                work += batch * products * tiles(max(M.shape[-2:])) * stages_of(dims[mode])
                dims[mode] = max(M.shape[-2:])
        skip_if_too_large(work)

        def call():
            outs, groups = [], []
            for G, modes in applications:
                first = modes[0][0].ndim - 2
                shape, given = list(G.shape), []
                for M, mode, transposed in modes:
                    rows = M.shape[-1] if transposed else M.shape[-2]
                    shape[first + mode] = rows
                    given.append((mode, rows, array(M), transposed))
                outs.append(torch.empty(shape, dtype=modes[0][0].dtype))
                batch = math.prod(G.shape[:first])
                groups.append((array(G), TYPES[G.dtype], batch, list(G.shape[first:]), given, outs[-1].numpy()))
            native().apply_modes(groups)
            return outs

        return in_every_order(call)


#: The families that have emulated kernels, by the name of their module in kronla.ops.
FAMILIES = {"factors": Factors(), "apply": Apply()}
