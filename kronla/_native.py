"""Loads the compiled extension, which registers ``torch.ops.kronla``. The only file that does."""

from __future__ import annotations

from typing import Any

import torch  # noqa: F401  (the extension links against the libraries that torch brings)

try:
    from kronla import _C
except ImportError as error:
    raise ImportError(
        f"kronla's extension could not be loaded ({error}): build it with `pip install --no-build-isolation .`"
        " in an environment that has torch."
    ) from error


def build_info() -> dict[str, Any]:
    """What was built and which BLAS is in use: blas_config, blas_core, isa, compiler, torch_target, cuda."""
    return _C.build_info()
