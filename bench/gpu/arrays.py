"""CuPy's routines on torch's tensors, without a copy; on the CPU, for a dry run, NumPy takes its place."""

from __future__ import annotations

import importlib
from functools import cache
from types import ModuleType

import torch
from torch import Tensor


@cache
def cupy() -> ModuleType | None:
    if not torch.cuda.is_available():
        return None
    try:
        return importlib.import_module("cupy")
    except Exception:  # CuPy for another CUDA fails in more ways than ImportError
        return None


def missing_arrays() -> str:
    """Why there is no batched eigh here; empty where there is."""
    return "" if cupy() is not None or not torch.cuda.is_available() else "CuPy is not installed"


def eigh(A: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues and vectors of a batch, by cuSOLVER's batched routine through CuPy. Both use the default stream."""
    module = cupy()
    if module is None:
        numpy = importlib.import_module("numpy")
        eigenvalues, Q = numpy.linalg.eigh(A.numpy())
        return torch.from_numpy(eigenvalues), torch.from_numpy(Q)
    eigenvalues, Q = module.linalg.eigh(module.from_dlpack(A))
    return torch.from_dlpack(eigenvalues), torch.from_dlpack(Q)
