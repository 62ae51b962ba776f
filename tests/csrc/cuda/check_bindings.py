"""Checks the CUDA bindings against the headers of the torch at hand, with the toolkit's, where that torch has no CUDA.

A torch without CUDA has all the headers of the stable ABI, so the bindings compile, though they cannot be linked.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pybind11
import torch
from torch.utils import cpp_extension

ROOT = Path(__file__).resolve().parents[3]


def setup_module():
    spec = importlib.util.spec_from_file_location("kronla_setup", ROOT / "setup.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> int:
    setup = setup_module()
    setup.find_toolkit()
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    if home is None:
        raise SystemExit("the CUDA toolkit was not found: put nvcc on the PATH or set CUDA_HOME")
    folders = [str(ROOT / "csrc"), pybind11.get_include(), *cpp_extension.include_paths(), f"{home}/include"]
    includes = [f"-I{folders[0]}", *(part for folder in folders[1:] for part in ("-isystem", folder))]
    includes += ["-isystem", setup.sysconfig.get_path("include")]
    flags = [*setup.CXX_FLAGS, "-DUSE_CUDA", "-DKRONLA_CUDA_ARCHITECTURES=9.0", "-DTORCH_EXTENSION_NAME=_cuda"]
    compiler = os.environ.get("CXX", "c++")

    def check(source: Path) -> bool:
        command = [compiler, *flags, *includes, "-Wall", "-Wextra", "-Werror", "-fsyntax-only", str(source)]
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        print(f"{'ok' if result.returncode == 0 else 'FAILED':7}{source.relative_to(ROOT)}\n{result.stdout}", end="")
        return result.returncode == 0

    sources = sorted((ROOT / "csrc" / "bindings" / "cuda").glob("*.cpp"))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        passed = list(pool.map(check, sources))
    print(f"{len(passed)} files with the headers of torch {torch.__version__}")
    return 0 if sources and all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
