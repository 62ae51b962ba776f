"""What the stages need to know of the machine, and the environment that their commands get."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def output_of(*command: str) -> str:
    """What a command says, "" where it cannot run."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=30, cwd=ROOT)
    except (OSError, subprocess.SubprocessError):
        return ""
    return result.stdout.strip() if result.returncode == 0 else ""


def provenance() -> dict[str, Any]:
    git = ("git", "-c", f"safe.directory={ROOT}")
    query = "--query-gpu=name,driver_version,compute_cap,memory.total,clocks.max.sm,clocks.max.memory"
    release = re.search(r"release (\S+?),", output_of(toolkit_program("nvcc") or "nvcc", "--version"))
    return {
        "commit": output_of(*git, "rev-parse", "HEAD") or os.environ.get("KRONLA_COMMIT") or "unknown",
        "changed_files": len(output_of(*git, "status", "--porcelain", "--untracked-files=no").splitlines()),
        "sources": sources_digest(),
        "nvidia_smi": output_of("nvidia-smi", query, "--format=csv,noheader").splitlines(),
        "nvcc": release.group(1) if release else None,
        "cores": os.cpu_count(),
    }


def sources_digest() -> str:
    """Of everything that is compiled or measured, so that results name their code without git too."""
    digest = hashlib.sha256()
    for folder in ("csrc", "kronla", "bench"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".h", ".cuh", ".cu", ".cpp", ".py", ".sh") and path.is_file():
                digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def toolkit() -> Path | None:
    """The folder of the CUDA toolkit: CUDA_HOME, or where nvcc says that it lives."""
    given = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    candidates = [Path(given)] if given else []
    try:
        dryrun = ["nvcc", "--dryrun", "-E", "-x", "cu", os.devnull]
        said = subprocess.run(dryrun, capture_output=True, text=True, timeout=30).stderr
        here = re.search(r"_HERE_=(\S+)", said)
        candidates += [Path(here.group(1)).parent] if here else []
    except (OSError, subprocess.SubprocessError):
        pass
    candidates.append(Path("/usr/local/cuda"))
    return next((path for path in candidates if (path / "bin" / "nvcc").exists()), None)


def toolkit_program(name: str) -> str | None:
    found, home = shutil.which(name), toolkit()
    if found is None and home is not None:
        for path in (home / "bin" / name, home / name / name):
            if path.exists():
                return str(path)
    return found


def unpacked_wheels(folder: Path) -> str:
    """Unpacks the wheels of $WHEELS, which are zip files; the folder for PYTHONPATH, "" where there are none."""
    wheels = sorted(Path(os.environ["WHEELS"]).glob("*.whl")) if os.environ.get("WHEELS") else []
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
    return str(folder) if wheels else ""


def environment(capability: str, site: str, cores: int) -> dict[str, str]:
    """For all commands: CUDA on, this device's architecture alone, and this Python's own programs on the PATH."""
    result = dict(os.environ)
    scripts = [str(Path(sys.executable).parent), sysconfig.get_path("scripts")]
    home = toolkit()
    if home is not None:
        result.setdefault("CUDA_HOME", str(home))
        scripts.append(str(home / "bin"))
    result["PATH"] = os.pathsep.join([*scripts, os.environ.get("PATH", os.defpath)])
    result["PYTHONPATH"] = os.pathsep.join(filter(None, [site, os.environ.get("PYTHONPATH")]))
    result |= {
        "KRONLA_CUDA": "1",
        "TORCH_CUDA_ARCH_LIST": capability,
        "MAX_JOBS": str(cores),
        "PYTHONUNBUFFERED": "1",
        "OMP_WAIT_POLICY": "passive",
    }
    return result
