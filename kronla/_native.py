"""Loads the compiled extension, which registers ``torch.ops.kronla``. The only file that does."""

from __future__ import annotations

from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch  # noqa: F401  (the extension links against the libraries that torch brings)

try:
    from kronla import _C
except ImportError as error:
    raise ImportError(
        f"kronla's extension could not be loaded ({error}): build it with `pip install --no-build-isolation .`"
        " in an environment that has torch."
    ) from error

_cuda: ModuleType | None = None
if find_spec("kronla._cuda") is not None:  # only where setup.py built for CUDA
    try:
        from kronla import _cuda
    except ImportError as error:
        raise ImportError(
            f"kronla's CUDA extension could not be loaded ({error}): build it again with this torch, or with"
            " KRONLA_CUDA=0."
        ) from error


def has_cuda_kernels() -> bool:
    """Whether the CUDA kernels were built and loaded."""
    return _cuda is not None


def build_info() -> dict[str, Any]:
    """What was built, and the instruction set in use: isa, compiler, torch_target, cuda.

    With CUDA also cuda_compiled and cuda_runtime, the versions that it was compiled with and runs on,
    cuda_architectures, the compute capabilities that it was compiled for, an underscore between two, and cusolver, the
    version of that library ("" where it is not found).
    """
    return {**_C.build_info(), **(_cuda.build_info() if _cuda is not None else {}), "cuda": has_cuda_kernels()}
