"""kronla/ops/apply.py on the emulated kernels."""

from __future__ import annotations

import math

import torch
from emulated.ops import TYPES, array, in_every_order, native, skip_if_too_large, stages_of, tiles


class Apply:
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
                work += batch * tiles(outer * inner) * tiles(max(M.shape[-2:])) * stages_of(dims[mode])
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


OPS = Apply()
