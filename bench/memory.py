"""Peak memory of a refresh, each side in a process of its own: what is resident at most beyond the inputs.

``python -m bench.memory`` prints the figures of all.
"""

import ctypes
import subprocess
import sys
from pathlib import Path

import torch

from bench import bench_inverse_root, bench_refresh

WORKLOAD = "gpt2"
RTOL = bench_inverse_root.RTOL
WAYS = {
    "kronla": lambda Ls, Rs, Gs: bench_refresh.by_kronla(Ls, Rs, Gs, rtol=None),
    f"kronla rtol={RTOL}": lambda Ls, Rs, Gs: bench_refresh.by_kronla(Ls, Rs, Gs, rtol=RTOL),
    "torch": bench_refresh.by_torch,
}
RESET = Path("/proc/self/clear_refs")  # "5" sets the peak back to what is resident (Linux)


def measure(workload: str = WORKLOAD) -> dict | None:
    """Bytes by way, and whether kronla's are no more than torch's; None where the system does not say."""
    if not RESET.exists():
        return None
    ways = {way: _in_a_process(way, workload) for way in WAYS}
    met = all(peak <= ways["torch"] for peak in ways.values())
    return {"workload": workload, "threads": torch.get_num_threads(), "bytes": ways, "met": met}


def sentence(found: dict) -> str:
    peaks = ", ".join(f"{way} {peak / 2**20:.0f} MiB" for way, peak in found["bytes"].items())
    verdict = "✓" if found["met"] else "✗"
    return (
        f"Peak memory of a refresh of `{found['workload']}` beyond the inputs, results included: {peaks};"
        f" target: no more than torch's {verdict}."
    )


def peak_of(way: str, workload: str) -> int:
    """Of this process while it works, less what was resident before."""
    inputs = bench_refresh.inputs(workload)
    WAYS[way](*([torch.eye(8)] for _ in range(3)))  # loads the libraries
    getattr(ctypes.CDLL(None), "malloc_trim", lambda pad: None)(0)  # what inputs were made of is no free memory
    RESET.write_text("5", encoding="ascii")
    before = _resident("VmRSS")
    results = WAYS[way](*inputs)
    assert results
    return _resident("VmHWM") - before


def _in_a_process(way: str, workload: str) -> int:
    command = [sys.executable, "-m", "bench.memory", way, workload, str(torch.get_num_threads())]
    root = Path(__file__).resolve().parents[1]
    return int(subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout)


def _resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def main() -> None:
    if len(sys.argv) == 1:
        found = measure()
        print("This system has no /proc/self/clear_refs." if found is None else sentence(found))
        return
    way, workload, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    print(peak_of(way, workload))


if __name__ == "__main__":
    main()
