"""The stages, each with a limit of its own; one that fails or cannot run is told, and the next one comes."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from bench.gpu import machine
from bench.gpu.families import FAMILIES
from bench.gpu.process import Outcome, last_line
from bench.gpu.session import Job, Session

# Seconds. The benchmarks have what is left.
LIMITS = {"environment": 120, "build": 150, "programs": 150, "check": 60, "tests": 110, "sanitizers": 120}
DRY_LIMITS = {"build": 900, "programs": 900}
START_SECONDS = 12  # of a Python with torch, CUDA and cuSOLVER
TOOLS = ("memcheck", "racecheck", "synccheck")
SANITIZER_EXIT = 77
COPIED = (
    "csrc",
    "kronla",
    "tests",
    "bench",
    "setup.py",
    "pyproject.toml",
    "README.md",
    "CMakeLists.txt",
    "MANIFEST.in",
)
PYTHON = sys.executable


def environment(session: Session) -> None:
    """What the machine has; nothing later depends on more than `runs` and `capability`."""
    outcome = session.run("environment", [PYTHON, "-m", "bench.gpu.probe"], LIMITS["environment"], "environment.log")
    try:
        session.facts |= json.loads(last_json(outcome.output))
    except ValueError:
        outcome.status = "FAILED"
    facts = session.facts
    torch = facts.get("packages", {}).get("torch", "none")
    outcome.note = f"{facts.get('device', 'no CUDA device')}, torch {torch}, nvcc {facts.get('nvcc') or 'none'}"
    if facts.get("nvidia_smi"):
        outcome.note += f", {facts['nvidia_smi'][0]}"
    for problem in ("torch_problem", "device_problem"):
        if problem in facts:
            outcome.note += f"; {facts[problem]}"
    if not session.has_gpu and not session.dry_run:
        outcome.status = "FAILED"
    session.environment["TORCH_CUDA_ARCH_LIST"] = facts.get("capability", "9.0")
    session.add(outcome)


def last_json(output: str) -> str:
    return next((line for line in reversed(output.splitlines()) if line.startswith("{")), "")


def build(session: Session) -> None:
    """The extension, in place; in a dry run in a copy, and only where torch and nvcc are of one CUDA."""
    if session.dry_run:
        if not session.facts.get("torch_cuda") or not session.facts.get("nvcc"):
            session.add(Outcome("build", "not run", note="torch without CUDA, or no nvcc: kronla is taken as it is"))
            return
        session.folder = copy_of_the_checkout(session.scratch / "copy")
    command = [PYTHON, "setup.py", "build_ext", "--inplace"]
    outcome = session.run("build", command, limit_of("build", session), "build.log")
    said = re.search(r"kronla: builds for .*", outcome.output)
    outcome.note = "; ".join(filter(None, [outcome.note, said.group(0)[:80] if said else last_line(outcome.output)]))
    if outcome.status == "ok":
        loads = session.run("info", [PYTHON, "-m", "kronla", "info"], 60, "build.log")
        if "CUDA kernels" not in loads.output or loads.status != "ok":
            outcome.status, outcome.note = "FAILED", f"built, but does not load: {last_line(loads.output)}"
    session.add(outcome)


def limit_of(stage: str, session: Session) -> float:
    return DRY_LIMITS.get(stage, LIMITS[stage]) if session.dry_run else LIMITS[stage]


def copy_of_the_checkout(folder: Path) -> Path:
    for name in COPIED:
        source, target = machine.ROOT / name, folder / name
        if source.is_dir():
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.so", "results"))
        else:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    return folder


def programs(session: Session) -> None:
    """The C++ tests of the kernels, with nvcc."""
    if not session.facts.get("nvcc"):
        session.add(Outcome("programs", "not run", note="no nvcc"))
        return
    architecture = session.facts.get("capability", "9.0").replace(".", "")
    script = str(machine.ROOT / "tests" / "csrc" / "cuda" / "programs.py")
    command = [PYTHON, script, "--architecture", architecture, "--nvcc", machine.toolkit_program("nvcc") or "nvcc"]
    outcome = session.run("programs", command, limit_of("programs", session), "programs.log")
    outcome.note = outcome.note or f"{len(built_programs(session))} programs"
    session.add(outcome)


def built_programs(session: Session) -> list[Path]:
    architecture = session.facts.get("capability", "9.0").replace(".", "")
    folder = machine.ROOT / "build" / "cuda-tests" / f"sm_{architecture}"
    return sorted(path for path in folder.glob("test_*") if path.suffix == "")


def run_programs(session: Session) -> None:
    """Plainly, and then under compute-sanitizer."""
    found = built_programs(session)
    if not found or not session.has_gpu or session.failed("programs"):
        reason = "no GPU" if not session.has_gpu else "the programs were not built"
        for name in ("C++ tests", *TOOLS):
            session.add(Outcome(name, "not run", note=reason))
        return
    limit = LIMITS["sanitizers"]
    started = session.left()
    plain = session.run_all([Job(path.name, [str(path)]) for path in found], 60, "programs.log", at_once=4)
    session.add(together("C++ tests", plain))
    sanitizer = machine.toolkit_program("compute-sanitizer")
    if sanitizer is None:
        for tool in TOOLS:
            session.add(Outcome(tool, "not run", note="compute-sanitizer was not found"))
        return
    options = ["--error-exitcode", str(SANITIZER_EXIT), "--print-limit", "8"]
    jobs = [
        Job(f"{tool}-{path.name}", [sanitizer, "--tool", tool, *options, str(path)]) for tool in TOOLS for path in found
    ]
    outcomes = session.run_all(jobs, limit - (started - session.left()), "sanitizers.log", at_once=6)
    for tool in TOOLS:
        session.add(together(tool, [outcome for outcome in outcomes if outcome.name.startswith(f"{tool}-")]))


def together(name: str, outcomes: list[Outcome]) -> Outcome:
    """One line for several commands, which names those that are not ok."""
    worst = next((s for s in ("FAILED", "timed out", "not run") if any(o.status == s for o in outcomes)), "ok")
    bad = [f"{outcome.name} {outcome.status}" for outcome in outcomes if outcome.status != "ok"]
    note = f"{len(outcomes) - len(bad)} of {len(outcomes)} clean" + (f"; {', '.join(bad)}" if bad else "")
    return Outcome(name, worst, max((outcome.seconds for outcome in outcomes), default=0.0), note)


def check(session: Session) -> None:
    """Every op against its float64 reference on the device."""
    if not session.has_gpu and not session.dry_run:
        session.add(Outcome("check", "not run", note="no GPU"))
        return
    device = "cuda" if session.has_gpu else "cpu"
    command = [PYTHON, "-m", "kronla", "check", "--device", device]
    (outcome,) = session.run_all([Job("check", command)], LIMITS["check"], "tests.log", at_once=1)
    outcome.note = f"on {device}: {len(re.findall(r' ok ', outcome.output))} ok, {last_failures(outcome.output)}"
    session.add(outcome)


def last_failures(output: str) -> str:
    failed = re.findall(r"^(?:cuda|cpu) +(\w+) +(\w+) +FAILED", output, re.MULTILINE)
    return f"{len(set(failed))} failed" + "".join(f", {op} {dtype}" for dtype, op in sorted(set(failed))[:6])


def tests(session: Session) -> None:
    """The parametrised tests of the ops, a process for each file: an error on the device ends only its own."""
    pytest = [PYTHON, "-m", "pytest", "-k", "cuda", "-p", "no:cacheprovider", "--tb=short", "--maxfail=40"]
    files = sorted(path.name for path in (machine.ROOT / "tests" / "ops").glob("test_*.py"))
    if session.dry_run and not session.has_gpu:
        command = [*pytest, "--collect-only", "tests/ops"]
        (outcome,) = session.run_all([Job("tests", command)], LIMITS["tests"], "tests.log", at_once=1)
        outcome.note = f"collected only: {last_line(outcome.output)}"
        session.add(outcome)
        return
    if not session.has_gpu:
        session.add(Outcome("tests", "not run", note="no GPU"))
        return
    jobs = [Job(f"tests-{name.removesuffix('.py')}", [*pytest, f"tests/ops/{name}"]) for name in files]
    outcomes = session.run_all(jobs, LIMITS["tests"], "tests.log", at_once=8)
    for outcome in outcomes:
        if outcome.note == "exit status 5":  # pytest: no test of this file has the parameter
            outcome.status, outcome.note = "ok", ""
    total = together("tests", outcomes)
    total.note = f"{counts(''.join(outcome.output for outcome in outcomes))}; {total.note}"
    session.add(total)


def counts(output: str) -> str:
    """The summaries of several pytests, added up."""
    found: dict[str, int] = {}
    for line in re.findall(r"^=*\s*((?:\d+ \w+,? ?)+)in [\d.]+s", output, re.MULTILINE):
        for number, what in re.findall(r"(\d+) (passed|failed|skipped|errors?)", line):
            found[what.rstrip("s") if what.startswith("error") else what] = found.get(what, 0) + int(number)
    return ", ".join(f"{count} {what}" for what, count in found.items()) or "no summary"


def benchmarks(session: Session) -> None:
    """A process for each family, the most important first, with its share of what is left."""
    if not session.has_gpu and not session.dry_run:
        session.add(Outcome("benchmarks", "not run", note="no GPU"))
        return
    weights = dict(FAMILIES)
    for family in FAMILIES:
        share = session.left() * weights[family] / sum(weights.values())
        del weights[family]
        end = session.left() - share
        first: int | None = 0
        while first is not None:
            first = benchmark(session, family, first, session.left() - end)


def benchmark(session: Session, family: str, first: int, seconds: float) -> int | None:
    """The cases from `first` on; where one lost the device, that of the next, for which a new process is needed."""
    path = session.scratch / f"{family}.json"
    path.unlink(missing_ok=True)
    command = [PYTHON, "-m", "bench.gpu.run", family, "--json", str(path), "--first", str(first)]
    command += ["--tiny"] if session.dry_run else ["--seconds", f"{max(seconds - START_SECONDS, 1.0):.0f}"]
    outcome = session.run(f"bench {family}", command, seconds, "benchmarks.log", echo=True)
    try:
        session.add_rows(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        outcome.note += " no rows"
    outcome.note = f"{outcome.note} {last_line(outcome.output)}".strip()
    session.add(outcome)
    following = re.search(r"^lost the device; next is (\d+)$", outcome.output, re.MULTILINE)
    return int(following.group(1)) if following else None


STAGES: dict[str, Callable[[Session], None]] = {
    "build": build,
    "programs": programs,
    "check": check,
    "tests": tests,
    "sanitizers": run_programs,
    "benchmarks": benchmarks,
}
# Side by side: compilers, then what checks; alone: what is timed.
STEPS = (("build", "programs"), ("check", "tests", "sanitizers"), ("benchmarks",))
