"""kronla/ops/rearrangement.py on the emulated kernels."""

from __future__ import annotations

import math

import torch
from emulated.factors import power_step_work
from emulated.ops import TYPES, array, in_every_order, native, skip_if_too_large, stages_of, tiles

#: Elements of H that take as long as a tile over a stage of depth.
ELEMENTS_OF_A_STAGE = 2048


class Rearrangement:
    def rearrange(self, H, m, n):
        return self._matrix("rearrange", H, m, n, (m * m, n * n))

    def unrearrange(self, M, m, n):
        return self._matrix("unrearrange", M, m, n, (m * n, m * n))

    def rearranged_matvec(self, H, R, m):
        return self._matrix("rearranged_matvec", H, m, R.shape[-1], (m, m), R)

    def rearranged_rmatvec(self, H, L, n):
        return self._matrix("rearranged_rmatvec", H, L.shape[-1], n, (n, n), L)

    def nearest_kronecker(self, H, L, R, steps):
        batch = math.prod(L.shape[:-2])
        skip_if_too_large(batch * self._work(H.numel() // max(batch, 1)) * (steps + 2))
        return self._nearest(L, R, lambda figures: native().nearest_kronecker(*figures, array(H), steps))

    def nearest_kronecker_from_gradients(self, G, L, R, steps):
        *batch, samples, m, n = G.shape
        gram = tiles(min(samples, m * n)) ** 2 * stages_of(max(samples, m * n))
        skip_if_too_large(math.prod(batch) * (power_step_work(samples, m, n) * (steps + 1) + gram))
        return self._nearest(
            L,
            R,
            lambda figures: native().nearest_kronecker_from_gradients(
                *figures, samples, array(G), TYPES[G.dtype], steps
            ),
        )

    @staticmethod
    def _work(elements):
        return 1 + elements // ELEMENTS_OF_A_STAGE

    def _matrix(self, name, H, m, n, shape, factor=None):
        batch = H.shape[:-2]
        count = math.prod(batch)
        skip_if_too_large(count * self._work(H.numel() // max(count, 1)))

        def call():
            result = torch.empty((*batch, *shape), dtype=H.dtype)
            factors = [] if factor is None else [array(factor)]
            getattr(native(), name)(count, m, n, array(H), *factors, result.numpy())
            return [result]

        return in_every_order(call)[0]

    @staticmethod
    def _nearest(L, R, run):
        batch = L.shape[:-2]

        def call():
            pair = array(L), array(R)
            figures = [torch.empty(batch, dtype=dtype).numpy() for dtype in (L.dtype, L.dtype, torch.int32)]
            run((math.prod(batch), L.shape[-1], R.shape[-1], *pair, *figures))
            return [torch.from_numpy(x) for x in (*pair, *figures)]

        return tuple(in_every_order(call))


OPS = Rearrangement()
