"""The machine of a measurement: what it is, what it can do at most, and who else used it."""

import datetime
import os
import platform
import resource
import statistics
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import torch

import kronla
from bench.targets import Peak
from kronla import _native
from kronla.commands.info import collect

ROOT = Path(__file__).resolve().parents[1]
# Settings of OpenMP that make torch's threads sleep between operations. That costs it a factor of up to 10 at n ≤ 128.
PASSIVE = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
# Other processes' share of the CPU above which figures are not to be trusted.
LARGEST_SHARE = 0.1
GEMM_SIZES = (1024, 2048)
STREAM_BYTES = 256 << 20


def facts() -> dict[str, object]:
    """What bears on speed; no host name and no path."""
    collected, build = collect(), _native.build_info()
    return {
        "cpu": collected["cpu"],
        "system": f"{platform.system()} {platform.machine()}",
        "threads": torch.get_num_threads(),
        "instruction set": build["isa"],
        "openmp": {name: value for name in PASSIVE if (value := os.environ.get(name))},
        "versions": {
            "kronla": collected["kronla"],
            "python": platform.python_version(),
            "torch": torch.__version__,
            "compiler": build["compiler"],
        },
        "commit": commit(),
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
    }


def commit() -> str:
    """The short hash, with + where tracked files other than results have been changed; empty outside git."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!bench/results", ":!README.md")
        return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def measure_peak(rounds: int = 5) -> tuple[Peak, dict[str, float]]:
    """The best float32 gemm of torch and of kronla, the best of copying and reading; and each of them by name.

    The best round of each counts: a peak that is too low would flatter.
    """
    rates = {"torch gemm GF/s": 0.0, "kronla gemm GF/s": 0.0}
    for n in GEMM_SIZES:
        A, B, C = (torch.randn(n, n) for _ in range(3))
        out = torch.empty_like(A)
        for name, flops, run in (
            ("torch gemm GF/s", 2 * n**3, lambda A=A, B=B, out=out: torch.mm(A, B, out=out)),
            ("kronla gemm GF/s", 4 * n**3, lambda A=A, B=B, C=C: kronla.kron_apply(A, B, C)),
        ):
            rates[name] = max(rates[name], flops / _best(run, rounds) / 1e9)
    source = torch.ones(STREAM_BYTES // 4)
    target = torch.empty_like(source)
    rates["copy GB/s"] = 2 * STREAM_BYTES / _best(lambda: target.copy_(source), rounds) / 1e9
    rates["read GB/s"] = STREAM_BYTES / _best(source.sum, rounds) / 1e9
    gemm = max(rate for name, rate in rates.items() if name.endswith("GF/s"))
    memory = max(rate for name, rate in rates.items() if name.endswith("GB/s"))
    return Peak(gemm * 1e9, memory * 1e9), rates


def _best(run, rounds: int) -> float:
    def once() -> float:
        start = time.perf_counter()
        run()
        return time.perf_counter() - start

    once()
    return min(once() for _ in range(rounds))


class Others:
    """The share of the CPU that other processes took since this was made; None where /proc/stat does not exist."""

    def __init__(self) -> None:
        self._start = self._now()
        self._loads = [os.getloadavg()[0]]

    @staticmethod
    def _now() -> tuple[float, float, float] | None:
        """Seconds of all CPUs that were used (stolen ones count), of this process, and on the clock."""
        try:
            first = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:]
        except OSError:
            return None
        user, nice, system, _idle, _wait, irq, softirq, steal = (int(x) for x in first[:8])
        used = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
        usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return used, sum(u.ru_utime + u.ru_stime for u in usages), time.perf_counter()

    def sample(self) -> None:
        """Notes the load average of the last minute."""
        self._loads.append(os.getloadavg()[0])

    def share(self) -> float | None:
        now = self._now()
        if self._start is None or now is None:
            return None
        used, own, clock = (b - a for a, b in zip(self._start, now, strict=True))
        return max(0.0, (used - own) / max(clock * (os.cpu_count() or 1), 1e-9))

    def record(self) -> dict[str, float | None]:
        return {"share": self.share(), "load average": statistics.median(self._loads)}


def warnings(machine: dict, others: Mapping[str, float | None]) -> list[str]:
    """Why the figures may not be what a quiet machine gives."""
    found = []
    share = others["share"]
    if share is not None and share > LARGEST_SHARE:
        found.append(
            f"other processes took {share:.0%} of the CPU (load average {others['load average']:.1f}):"
            " these figures are not those of a quiet machine"
        )
    if machine["openmp"]:
        names = ", ".join(f"{name}={value}" for name, value in machine["openmp"].items())
        found.append(f"{names} makes torch's threads sleep between operations: unset it to measure")
    return found
