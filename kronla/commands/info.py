"""``python -m kronla info``: what this installation is made of, for bug reports and beside every measurement."""

import argparse
import json
import os
import platform
import re
import sys
from importlib import metadata
from typing import Any

import torch

from kronla import _native


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    facts = collect()
    if args.json:
        print(json.dumps(facts, indent=2))
    else:
        width = max(map(len, facts))
        print("\n".join(f"{name:<{width}}  {value}" for name, value in facts.items()))
    return 0


def collect() -> dict[str, str]:
    """Everything worth knowing, in the order in which it is read."""
    return {
        "kronla": _version("kronla"),
        "python": f"{platform.python_version()} ({sys.executable})",
        "torch": f"{torch.__version__} (CUDA {torch.version.cuda or 'no'})",
        "numpy": _version("numpy"),
        "platform": platform.platform(),
        "cpu": f"{_cpu_model()}, {os.cpu_count()} cores",
        "threads": f"{torch.get_num_threads()} (torch.get_num_threads)",
        "devices": ", ".join(device_names()),
        **_native_facts(),
    }


def device_names() -> list[str]:
    """The CPU, and the CUDA devices that torch sees."""
    names = ["cpu"]
    if torch.cuda.is_available():
        names += [f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())]
    return names


def has_cuda_kernels() -> bool:
    """Whether the CUDA part was built and loaded."""
    return bool(_native.build_info()["cuda"])


def _native_facts() -> dict[str, str]:
    build = _native.build_info()
    return {
        "BLAS": "none: kronla's own kernels (OPENBLAS_CORETYPE and the like change nothing)",
        "instruction set": f"{build['isa']}",
        "compiler": f"{build['compiler']}",
        "torch ABI": f"{build['torch_target']} and later",
        "CUDA kernels": _cuda_facts(build) if build["cuda"] else "no: built for CPU only",
        **({"cuSOLVER": build["cusolver"] or "not found: no eigh above 64 rows on CUDA"} if build["cuda"] else {}),
    }


def _cuda_facts(build: dict[str, Any]) -> str:
    """For which architectures, by which toolkit, and whether a device here is one of them."""
    architectures = build["cuda_architectures"].split("_")
    says = f"yes: for compute capability {', '.join(architectures)}, compiled with CUDA {build['cuda_compiled']}"
    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_capability(index)
        if not any(runs_on(name, device) for name in architectures):
            wanted = f"{device[0]}.{device[1]}"
            says += f"; NOT for cuda:{index}, which has {wanted}: build with TORCH_CUDA_ARCH_LIST={wanted}"
    return says


def runs_on(architecture: str, device: tuple[int, int]) -> bool:
    """Machine code of x.y runs on x.z with z ≥ y, of x.ya on x.y alone; PTX is compiled on anything later."""
    parts = re.fullmatch(r"(\d+)\.(\d+)(a?)f?(\+PTX)?", architecture)
    if parts is None:
        return True  # a name such as Hopper, which torch knows
    major, minor = int(parts[1]), int(parts[2])
    if parts[3]:
        return (major, minor) == device
    return (major == device[0] and minor <= device[1]) or (bool(parts[4]) and (major, minor) <= device)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _cpu_model() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
