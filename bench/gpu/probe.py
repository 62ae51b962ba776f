"""``python -m bench.gpu.probe``: what this machine has, as one JSON object on the last line."""

from __future__ import annotations

import importlib
import importlib.util
import json
import platform
import sys
from importlib import metadata
from typing import Any

PACKAGES = [
    "torch",
    "numpy",
    "cupy-cuda13x",
    "cupy-cuda12x",
    "cupy",
    "pybind11",
    "ninja",
    "setuptools",
]
PACKAGES += ["pytest", "hypothesis", "rich"]


def versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def device_facts() -> dict[str, Any]:
    try:
        torch = importlib.import_module("torch")
    except Exception as error:
        return {"torch_problem": f"{type(error).__name__}: {error}"}
    facts: dict[str, Any] = {"torch_cuda": torch.version.cuda}
    try:
        if torch.cuda.is_available():
            properties = torch.cuda.get_device_properties(0)
            facts |= {
                "device": properties.name,
                "capability": f"{properties.major}.{properties.minor}",
                "multiprocessors": properties.multi_processor_count,
                "memory_bytes": properties.total_memory,
                "l2_bytes": getattr(properties, "L2_cache_size", None),
            }
            x = torch.ones(1024, device="cuda")
            facts["runs"] = float((x + x).sum()) == 2048.0
    except Exception as error:
        facts["device_problem"] = f"{type(error).__name__}: {error}"
    return facts


def importable() -> dict[str, bool]:
    names = ("torch", "pybind11", "ninja", "cupy", "pytest", "hypothesis", "rich")
    return {name: importlib.util.find_spec(name) is not None for name in names}


def main() -> int:
    facts = {"python": platform.python_version(), "executable": sys.executable, "platform": platform.platform()}
    facts |= {"packages": versions(), "importable": importable(), **device_facts()}
    print(json.dumps(facts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
