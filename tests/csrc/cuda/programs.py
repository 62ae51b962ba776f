"""Builds the C++ tests of the CUDA kernels with nvcc, one program a file, to be run where there is a GPU.

Kernels and tests are compiled side by side, each once, and again only where a source is newer than the result.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
FLAGS = ["-std=c++17", "-O2", "-lineinfo", f"-I{ROOT / 'csrc'}", f"-I{ROOT / 'tests' / 'csrc'}"]
HEADERS = ("*.h", "*.cuh")


def newest(folders: list[Path], patterns: tuple[str, ...]) -> float:
    return max(path.stat().st_mtime for folder in folders for pattern in patterns for path in folder.rglob(pattern))


def is_current(target: Path, since: float) -> bool:
    return target.exists() and target.stat().st_mtime >= since


class Build:
    """The objects and programs of one folder, for one architecture."""

    def __init__(self, nvcc: str, architecture: str, folder: Path) -> None:
        self.nvcc = nvcc
        self.target = [f"-gencode=arch=compute_{architecture},code=sm_{architecture}"]
        self.folder = folder / f"sm_{architecture}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.headers = newest([ROOT / "csrc", ROOT / "tests" / "csrc"], HEADERS)

    def run(self, *arguments: str) -> None:
        command = [self.nvcc, *FLAGS, *self.target, *arguments]
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        print(result.stdout, end="", flush=True)
        if result.returncode != 0:
            raise SystemExit(f"failed: {' '.join(command)}")

    def compile(self, source: Path) -> Path:
        target = self.folder / f"{source.stem}.o"
        if not is_current(target, max(self.headers, source.stat().st_mtime)):
            self.run("-c", str(source), "-o", str(target))
        return target

    def link(self, test: Path, kernels: list[Path]) -> Path:
        program = self.folder / test.stem
        if not is_current(program, newest([self.folder], ("*.o",))):
            self.run("-o", str(program), str(test), *map(str, kernels))
        return program


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nvcc", default=os.environ.get("NVCC", "nvcc"))
    parser.add_argument("--architecture", default="90", help="compute capability without its dot (default: 90)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "cuda-tests")
    options = parser.parse_args()
    build = Build(options.nvcc, options.architecture, options.folder)
    kernels = sorted((ROOT / "csrc" / "kernels" / "cuda").rglob("*.cu"))
    tests = sorted((ROOT / "tests" / "csrc" / "cuda").glob("test_*.cu"))
    with ThreadPoolExecutor(options.jobs) as pool:
        objects = list(pool.map(build.compile, [*kernels, *tests]))
        libraries = objects[: len(kernels)]
        for program in pool.map(lambda test: build.link(test, libraries), objects[len(kernels) :]):
            print(program)
    return 0


if __name__ == "__main__":
    sys.exit(main())
