"""Compiles every .cu with nvcc for all architectures, without torch or a GPU, and prints what each kernel uses.

Fails where a file does not compile, and where a kernel that must be fast spills registers on sm_90.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[3]
ARCHITECTURES = ("sm_80", "sm_90", "sm_100")
HOT_ON = "sm_90"
#: Kernels in which a spilled register would cost: by the beginning of their names, as printed.
HOT = (
    "gram_kernel<Tf32<",
    "gram_kernel<Bf16",
    "gram_kernel<Fp16",
    "finish_kernel<float",
    "pair_kernel<",
    "product_kernel<Tf32<",
    "pass_kernel<float",
    "product_kernel<float",
    "rayleigh_kernel<float",
    "form_kernel<float",
    "gram_kernel<TaskList<QrGroup",
    "update_kernel<TaskList<QrGroup",
    "solve_kernel<float",
    "update_block_kernel<false, float",
    "update_wide_kernel",
    "root_kernel<float, 1",
    "root_kernel<float, 2",
    "root_kernel<float, 3",
    "root_kernel<float, 4",
    "root_kernel<float, 6",
    "root_kernel<float, 8",
    "tiles_kernel<",
    "column_kernel",
)

#: Sources that compile for long: they come first, so that none is left for the end.
SLOW = ("inverse_root_block", "eigenbasis_block", "eigenbasis_tiled", "factors")

FLAGS = ["-std=c++17", "-O3", "-Werror=all-warnings", f"-I{ROOT / 'csrc'}"]
TEST_FLAGS = [f"-I{ROOT / 'tests' / 'csrc'}"]


class Kernel(NamedTuple):
    name: str
    registers: int
    shared: int
    spills: int


def short_name(demangled: str) -> str:
    """``kronla::cuda::(anonymous namespace)::gram_kernel<kronla::cuda::Fp64>(...)`` is gram_kernel<Fp64>."""
    name = demangled.replace("(anonymous namespace)::", "").replace("kronla::cuda::", "").replace("kronla::", "")
    depth = 0
    for i, letter in enumerate(name):
        depth += (letter == "<") - (letter == ">")
        if letter == "(" and depth == 0:
            name = name[:i]
            break
    return name.removeprefix("void ")


def kernels(report: str) -> list[Kernel]:
    """The kernels in what ``ptxas -v`` says."""
    found = []
    for part in report.split("Compiling entry function '")[1:]:
        spills = sum(int(count) for count in re.findall(r"(\d+) bytes spill", part))
        registers = int(re.search(r"Used (\d+) registers", part).group(1))
        shared = re.search(r"(\d+) bytes smem", part)
        found.append(Kernel(short_name(part.split("'")[0]), registers, int(shared.group(1)) if shared else 0, spills))
    return found


def compile_one(nvcc: str, source: Path, architecture: str, folder: Path) -> list[Kernel]:
    is_test = "tests" in source.relative_to(ROOT).parts
    stage = "-c" if architecture == HOT_ON else "-cubin"  # the host's part is the same for all
    command = [nvcc, *FLAGS, *(TEST_FLAGS if is_test else ["-Xptxas=-v"]), f"-arch={architecture}", stage, str(source)]
    target = folder / f"{source.stem}-{architecture}.o"
    result = subprocess.run([*command, "-o", str(target)], capture_output=True, text=True)
    said = subprocess.run(["c++filt"], input=result.stderr + result.stdout, capture_output=True, text=True).stdout
    if result.returncode != 0:
        raise SystemExit(f"{said}\n{source.relative_to(ROOT)} does not compile for {architecture}")
    return kernels(said)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nvcc", default=os.environ.get("NVCC", "nvcc"))
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    options = parser.parse_args()
    sources = sorted((ROOT / "csrc" / "kernels" / "cuda").rglob("*.cu"))
    tests = sorted((ROOT / "tests" / "csrc" / "cuda").glob("*.cu"))
    jobs = [(source, architecture) for source in sources for architecture in ARCHITECTURES]
    jobs += [(source, HOT_ON) for source in tests]
    jobs.sort(key=lambda job: job[0].stem not in SLOW)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(options.jobs) as pool:
        results = list(pool.map(lambda job: compile_one(options.nvcc, *job, Path(folder)), jobs))
    print(f"{'kernel':44} {'':8} registers  shared  spills (bytes)")
    spilled, seen = [], set()
    for (_, architecture), found in zip(jobs, results, strict=True):
        for kernel in found:
            hot = architecture == HOT_ON and kernel.name.startswith(HOT)
            seen.add(kernel.name)
            mark = " *" if hot else ""
            print(f"{kernel.name + mark:44} {architecture:8} {kernel.registers:9} {kernel.shared:7} {kernel.spills:7}")
            if hot and kernel.spills > 0:
                spilled.append(kernel.name)
    missing = [name for name in HOT if not any(kernel.startswith(name) for kernel in seen)]
    if spilled:
        print(f"must not spill on {HOT_ON}, but does: {', '.join(spilled)}")
    if missing:
        print(f"in the list of hot kernels, but not in the sources: {', '.join(missing)}")
    print(f"{len(jobs)} compilations, * must not spill")
    return 1 if spilled or missing else 0


if __name__ == "__main__":
    sys.exit(main())
