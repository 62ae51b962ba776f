"""kronla/ops/eigenbasis.py on the emulated kernels."""

from __future__ import annotations

import math

import pytest
import torch
from emulated.ops import array, in_every_order, native, skip_if_too_large, stages_of, tiles

EIGH = 3  # the method
#: Of one matrix, in tiles over a stage of depth: a step, and the sweeps of a decomposition.
STEP, SWEEPS = 12, 40
LARGEST_JACOBI = 64


class Eigenbasis:
    def update_eigenbasis(self, A, Q, method, tol, max_steps):
        return tuple(field[0] for field in self.foreach_update_eigenbasis([A], [Q], [method], tol, max_steps))

    def foreach_update_eigenbasis(self, As, Qs, methods, tol, max_steps):
        work = 0
        for A, method in zip(As, methods, strict=True):
            eigh = method == EIGH and max_steps > 0
            work += self._work(A, SWEEPS if eigh else STEP * (max_steps + 1), eigh)
        skip_if_too_large(work)
        return self._run(As, Qs, methods, lambda bases: native().update_eigenbasis(bases, tol, max_steps))

    def eigh(self, A):
        return tuple(field[0] for field in self.foreach_eigh([A]))

    def foreach_eigh(self, As):
        skip_if_too_large(sum(self._work(A, SWEEPS, True) for A in As))
        return self._run(As, [None] * len(As), [EIGH] * len(As), lambda bases: native().eigh(bases))

    def off_diagonal_ratio(self, A, Q):
        skip_if_too_large(self._work(A, STEP // 2, False))
        batch, n = A.shape[:-2], A.shape[-1]

        def call():
            ratio = torch.empty(batch, dtype=A.dtype)
            native().off_diagonal_ratio(math.prod(batch), n, array(A), array(Q), ratio.numpy())
            return [ratio]

        return in_every_order(call)[0]

    def orthonormalize(self, S):
        *batch, m, n = S.shape
        skip_if_too_large(math.prod(batch) * STEP * tiles(m) * tiles(n) * stages_of(n))

        def call():
            Q, info = torch.empty(S.shape, dtype=S.dtype), torch.empty(batch, dtype=torch.int32)
            native().orthonormalize(math.prod(batch), m, n, array(S), Q.numpy(), info.numpy())
            return [Q, info]

        return tuple(in_every_order(call))

    @staticmethod
    def _work(A, products, eigh):
        n = A.shape[-1]
        if eigh and n > LARGEST_JACOBI and A.numel():
            pytest.skip("the emulator has no cuSOLVER")
        return math.prod(A.shape[:-2]) * products * tiles(n) ** 2 * stages_of(n)

    @staticmethod
    def _run(As, Qs, methods, run):
        def call():
            fields, bases = [], []
            for A, Q, method in zip(As, Qs, methods, strict=True):
                batch, n = A.shape[:-2], A.shape[-1]
                shapes = ((A.shape, A.dtype), ((*batch, n), A.dtype), (batch, A.dtype))
                results = [torch.empty(shape, dtype=dtype) for shape, dtype in shapes]
                results += [torch.empty(batch, dtype=torch.int32) for _ in range(2)]
                old = None if Q is None else array(Q)
                bases.append((array(A), old, method, math.prod(batch), n, *[x.numpy() for x in results]))
                fields += results
            run(bases)
            return fields

        fields = in_every_order(call)
        return tuple([fields[i + j] for i in range(0, len(fields), 5)] for j in range(5))


OPS = Eigenbasis()
