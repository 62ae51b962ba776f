"""Builds kronla._C (CPU, always) and kronla._cuda (where KRONLA_CUDA says so); all else is in pyproject.toml.

Install with ``pip install --no-build-isolation .``: the extension is compiled against the torch that is already there.
"""

from __future__ import annotations

import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

import setuptools

ROOT = Path(__file__).resolve().parent
# Sources are found, never listed; CMakeLists.txt uses the same patterns for the torch-free part.
CPU_SOURCES = ("csrc/kernels/cpu/**/*.cpp", "csrc/bindings/*.cpp")
CUDA_SOURCES = ("csrc/kernels/cuda/**/*.cu", "csrc/bindings/cuda/*.cpp")
HEADERS = ("csrc/kernels/**/*.h", "csrc/kernels/**/*.cuh", "csrc/bindings/**/*.h")

# The oldest torch whose stable ABI is used: 2.10.
TORCH_TARGET = "0x020a000000000000"
# No -march=native: instruction sets are chosen at run time. No -ffast-math: the same bits are promised.
CXX_FLAGS = [
    "-O3",
    "-g0",
    "-std=c++17",
    "-fvisibility=hidden",
    "-fno-math-errno",
    f"-DTORCH_TARGET_VERSION={TORCH_TARGET}",
]
NVCC_FLAGS = ["-O3", "-std=c++17", "-Xcompiler=-fvisibility=hidden"]
CUDA_ARCHITECTURES = "8.0;9.0;10.0"

# What is imported here, and what pip calls it.
BUILD_PACKAGES = {"torch": "torch>=2.10", "pybind11": "pybind11"}
if tuple(map(int, setuptools.__version__.split(".")[:2])) < (70, 1):
    BUILD_PACKAGES["wheel"] = "wheel"  # later setuptools bring their own

# Commands that compile nothing: they work without torch and without a compiler.
SOURCE_COMMANDS = {"egg_info", "sdist", "clean"}


class BuildProblem(SystemExit):
    """Ends setup.py with one sentence that says what to do."""

    def __init__(self, sentence: str) -> None:
        super().__init__(f"kronla: {sentence}")


def find(patterns: tuple[str, ...]) -> list[str]:
    """The files of the checkout that match, relative to it and sorted, so that a build is reproducible."""
    return sorted(str(path.relative_to(ROOT)) for pattern in patterns for path in ROOT.glob(pattern))


def require_modules(packages: dict[str, str]) -> list[ModuleType]:
    """Imports the modules that the build needs; each stands with what pip calls it."""
    modules, missing = [], []
    for name, package in packages.items():
        try:
            modules.append(importlib.import_module(name))
        except ImportError:
            missing.append(package)
    if missing:
        raise BuildProblem(
            f"the build needs {', '.join(missing)}: run `pip install {' '.join(map(shlex.quote, missing))}`, then "
            "`pip install --no-build-isolation .` (an isolated build does not see what is installed)."
        )
    return modules


def require_torch_2_10(version: str) -> None:
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < (2, 10):
        raise BuildProblem(f"torch {version} is too old: run `pip install 'torch>=2.10'`.")


def require_compiler() -> None:
    """Checks for a C++ compiler and for Python's headers."""
    command = shlex.split(os.environ.get("CXX") or "c++")[0]
    if shutil.which(command) is None:
        raise BuildProblem(
            f"no C++ compiler: '{command}' is not on the PATH; install g++ or clang++ with C++17, or set CXX to one."
        )
    if not any((Path(sysconfig.get_path(kind)) / "Python.h").exists() for kind in ("include", "platinclude")):
        raise BuildProblem("Python.h is missing; install the headers of this Python (package python3-dev).")


def cuda_setting() -> str:
    """The value of KRONLA_CUDA: 'auto' (the default), '0' or '1'."""
    setting = os.environ.get("KRONLA_CUDA", "auto")
    if setting not in ("auto", "0", "1"):
        raise BuildProblem(f"KRONLA_CUDA is '{setting}', and must be 'auto', '0' or '1'.")
    return setting


def nvcc_release(cuda_home: str | None) -> str | None:
    """The release of nvcc ('13.0') under `cuda_home`, None where it does not run."""
    if cuda_home is None:
        return None
    try:
        answer = subprocess.run([os.path.join(cuda_home, "bin", "nvcc"), "--version"], capture_output=True, text=True)
    except OSError:
        return None
    release = re.search(r"release (\d+\.\d+)", answer.stdout)
    return release.group(1) if release else None


def find_toolkit() -> None:
    """Sets CUDA_HOME to where nvcc says it lives, which need not be beside its name on the PATH; as given, if given."""
    if os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH"):
        return
    try:
        answer = subprocess.run(["nvcc", "--dryrun", "-E", "-x", "cu", os.devnull], capture_output=True, text=True)
    except OSError:
        return
    folder = re.search(r"_HERE_=(\S+)", answer.stderr)
    if folder:
        os.environ["CUDA_HOME"] = os.path.dirname(folder.group(1))


def cuda_obstacle(torch_version: str, torch_cuda: str | None, cuda_home: str | None) -> str | None:
    """Why CUDA cannot be built here; None where it can."""
    if not find(CUDA_SOURCES[:1]):
        return "this version of kronla has no CUDA sources yet"
    if torch_cuda is None:
        return f"torch {torch_version} was built without CUDA"
    release = nvcc_release(cuda_home)
    if release is None:
        return "nvcc was not found: put it on the PATH or set CUDA_HOME"
    if release.split(".")[0] != torch_cuda.split(".")[0]:
        return f"nvcc is of CUDA {release} and torch of CUDA {torch_cuda}: their major versions must agree"
    return None


def decide_cuda(setting: str, obstacle: str | None) -> tuple[bool, str]:
    """Whether to build CUDA, and why, in words; raises where it is demanded and cannot be had."""
    if setting == "1" and obstacle is not None:
        raise BuildProblem(f"KRONLA_CUDA=1 asks for CUDA, but {obstacle}.")
    if setting == "0":
        return False, "KRONLA_CUDA=0"
    return obstacle is None, f"KRONLA_CUDA={setting}: {obstacle or 'torch, nvcc and the sources are here'}"


def cpu_extension(cpp_extension, pybind11):
    return cpp_extension.CppExtension(
        "kronla._C",
        find(CPU_SOURCES),
        depends=find(HEADERS),
        include_dirs=[str(ROOT / "csrc"), pybind11.get_include()],
        extra_compile_args={"cxx": CXX_FLAGS},
    )


def cuda_extension(cpp_extension, pybind11):
    # Without a device to ask, torch would compile for every architecture it knows.
    os.environ.setdefault("TORCH_CUDA_ARCH_LIST", CUDA_ARCHITECTURES)
    architectures = "_".join(re.split(r"[;\s]+", os.environ["TORCH_CUDA_ARCH_LIST"].strip()))  # no quotes for a shell
    flags = [*CXX_FLAGS, "-DUSE_CUDA", f"-DKRONLA_CUDA_ARCHITECTURES={architectures}"]
    return cpp_extension.CUDAExtension(
        "kronla._cuda",
        find(CUDA_SOURCES),
        depends=find(HEADERS),
        include_dirs=[str(ROOT / "csrc"), pybind11.get_include()],
        extra_compile_args={"cxx": flags, "nvcc": [*NVCC_FLAGS, "-DUSE_CUDA"]},
    )


def build_command(cpp_extension, says: str, torch_version: str):
    """torch's build_ext, which keeps its objects between builds."""

    class BuildExt(cpp_extension.BuildExtension):
        def finalize_options(self) -> None:
            keep_objects = self.build_temp is None
            super().finalize_options()
            if keep_objects:  # an editable install would compile in a temporary folder, and so always everything
                tag = f"{sysconfig.get_config_var('SOABI')}-torch{torch_version}"
                self.build_temp = str(ROOT / "build" / tag)

        def run(self) -> None:
            print(says, flush=True)
            super().run()

    return BuildExt


def extension_arguments() -> dict:
    """The arguments of setuptools.setup that need torch, a compiler and the rest of the tools."""
    setting = cuda_setting()
    torch, pybind11, *_ = require_modules(BUILD_PACKAGES)
    require_torch_2_10(torch.__version__)
    require_compiler()
    find_toolkit()  # before torch looks for it
    from torch.utils import cpp_extension

    obstacle = cuda_obstacle(torch.__version__, torch.version.cuda, cpp_extension.CUDA_HOME)
    with_cuda, reason = decide_cuda(setting, obstacle)
    extensions = [cpu_extension(cpp_extension, pybind11)]
    if with_cuda:
        extensions.append(cuda_extension(cpp_extension, pybind11))
    says = f"kronla: builds for {'CPU and CUDA' if with_cuda else 'CPU only'} ({reason})"
    command = build_command(cpp_extension, says, torch.__version__)
    return {"ext_modules": extensions, "cmdclass": {"build_ext": command}}


if __name__ == "__main__":
    compiles = not SOURCE_COMMANDS.intersection(sys.argv[1:2])
    setuptools.setup(**(extension_arguments() if compiles else {}))
