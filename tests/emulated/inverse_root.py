"""kronla/ops/inverse_root.py on the emulated kernels."""

from __future__ import annotations

import math

import pytest
import torch
from emulated.ops import ORDERS, array, in_every_order, native

from kronla.ops import policy

#: Products of 16 × 16 blocks, of which a polynomial takes some thirty times as many as a matrix product.
MOST_BLOCKS = 300
MOST_IN_EVERY_ORDER = 60  # beyond, one order of turns is enough here: tests/csrc/cuda takes such sizes through all
LARGEST_EIGH = 64  # beyond it is cuSOLVER's


class InverseRoot:
    def inverse_root(self, A, fallback, method, *options):
        return tuple(x[0] for x in self.foreach_inverse_root([A], [fallback], [method], *options))

    def foreach_inverse_root(self, As, fallbacks, methods, *options):
        blocks = 0
        for A, method in zip(As, methods, strict=True):
            n = A.shape[-1]
            eigh = method != policy.ROOT_METHODS["polynomial"]
            if eigh and n > LARGEST_EIGH:
                pytest.skip(f"n = {n}: eigh beyond {LARGEST_EIGH} is cuSOLVER's")
            blocks += (2 if eigh else 1) * math.prod(A.shape[:-2]) * (-(-n // 16)) ** 3
        alone = [A.shape[-1] for A in As if A.numel() > 0] == [129]  # one that is worked on by tiles in global memory
        if blocks > MOST_BLOCKS and not alone:
            pytest.skip(f"too large for the emulator ({blocks} products of blocks, {MOST_BLOCKS} allowed)")

        def call():
            groups, results = [], []
            for A, fallback, method in zip(As, fallbacks, methods, strict=True):
                batch, n = A.shape[:-2], A.shape[-1]
                X, residual = torch.empty(A.shape, dtype=A.dtype), torch.empty(batch, dtype=A.dtype)
                steps, info = torch.empty(batch, dtype=torch.int32), torch.empty(batch, dtype=torch.int32)
                results.append((X, residual, steps, info))
                old = None if fallback is None else array(fallback)
                groups.append((array(A), old, method, math.prod(batch), n, *(x.numpy() for x in results[-1])))
            native().inverse_root(groups, options)
            return [x for result in results for x in result]

        if blocks > MOST_IN_EVERY_ORDER:
            native().set_order(*ORDERS[blocks % len(ORDERS)])
            flat = call()
        else:
            flat = in_every_order(call)
        return tuple(flat[field::4] for field in range(4))


OPS = InverseRoot()
