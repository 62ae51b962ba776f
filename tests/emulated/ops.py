"""The ops of ``torch.ops.kronla`` on the emulated CUDA kernels: the same names and arguments, on CPU tensors.

A test runs on them by putting the ``OPS`` of each module here that is named like a family in the place of
``torch.ops.kronla`` in ``kronla.ops.<family>``: the public functions and their checks are the very same. Every call
runs in all three orders of turns, which must agree to the bit. What would take too long is skipped, visibly.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

#: Where `make emulated` builds the module; a folder in KRONLA_EMULATED comes first.
FOLDERS = [os.environ.get("KRONLA_EMULATED"), Path(__file__).parents[2] / "build" / "cmake"]
#: Tiles of 64 × 64 times stages of 32 in depth, each some milliseconds: 257 × 129 is allowed.
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


def tiles(size: int) -> float:
    """The kernels leave out quarters of a tile that lie beyond a matrix."""
    return -(-size // 16) / 4


def stages_of(depth: int) -> float:
    """And quarters of a stage beyond the depth."""
    return (1 + -(-depth // 8)) / 4


def skip_if_too_large(work: float) -> None:
    if work > MOST_WORK:
        pytest.skip(f"too large for the emulator ({work:.0f} tiles and stages, {MOST_WORK} allowed)")


#: By test module whose name is not its family's.
FAMILY_OF = {
    "eigh": "eigenbasis",
    "null_columns": "eigenbasis",
    "root_status": "inverse_root",
    "rotations": "eigenbasis",
}


class Overloads:
    """Functions as torch has its ops: each has the overload ``default``."""

    def __init__(self, functions: object) -> None:
        self._functions = functions

    def __getattr__(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(default=getattr(self._functions, name))


def families() -> dict[str, Overloads]:
    """The ops of each family that has a module here."""
    names = [path.stem for path in sorted(Path(__file__).parent.glob("*.py")) if path.stem != "ops"]
    return {name: Overloads(importlib.import_module(f"emulated.{name}").OPS) for name in names}
