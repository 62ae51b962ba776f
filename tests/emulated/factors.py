"""kronla/ops/factors.py on the emulated kernels."""

from __future__ import annotations

import math

import torch
from emulated.ops import TYPES, array, in_every_order, native, skip_if_too_large, stages_of, tiles


def power_step_work(samples, m, n):
    left = tiles(samples * m) * tiles(n) * stages_of(n) + tiles(m) ** 2 * stages_of(samples * n)
    right = tiles(m) * tiles(samples * n) * stages_of(m) + tiles(n) ** 2 * stages_of(samples * m)
    return left + right


class Factors:
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
        skip_if_too_large(count * power_step_work(samples, m, n))

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


OPS = Factors()
