"""``python -m bench.gpu``, or ``bench/gpu.sh``: build, test, sanitize and measure, in at most 9 minutes."""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.gpu import machine, process, stages
from bench.gpu.process import Outcome
from bench.gpu.session import Session

SECONDS = 525.0


def main() -> int:
    args = parse_arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # children are ended, what was found is written
    facts = machine.provenance()
    out = Path(os.environ.get("OUT") or default_folder(facts, args.dry_run)).resolve()
    out.mkdir(parents=True, exist_ok=True)
    for name in ("environment", "build", "programs", "tests", "sanitizers", "benchmarks"):
        (out / f"{name}.log").unlink(missing_ok=True)
    session = Session(out, args.seconds, args.dry_run, facts=facts)
    site = machine.unpacked_wheels(session.scratch / "site")
    session.environment = machine.environment("9.0", site, os.cpu_count() or 1)
    print(f"logs and results: {out}", flush=True)
    try:
        attempt(session, "environment", stages.environment)
        for step in stages.STEPS:
            names = [name for name in step if not args.only or name in args.only]
            side_by_side(session, names)
    except KeyboardInterrupt:
        session.add(Outcome("interrupted", "FAILED"))
    return session.finish()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench/gpu.sh", description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="what can be done without a GPU, on small inputs")
    parser.add_argument("--only", nargs="+", choices=stages.STAGES, help="these stages (default: all)")
    parser.add_argument("--seconds", type=float, help=f"for everything (default: {SECONDS:g}; a dry run: an hour)")
    args = parser.parse_args()
    args.seconds = args.seconds or (3600.0 if args.dry_run else SECONDS)
    return args


def default_folder(facts: dict, dry_run: bool) -> Path:
    if dry_run:
        return machine.ROOT / "build" / "gpu" / "dry-run"
    name = facts["nvidia_smi"][0].split(",")[0] if facts["nvidia_smi"] else "unknown-device"
    return machine.ROOT / "bench" / "results" / re.sub(r"[^A-Za-z0-9.-]+", "-", name.strip()).lower()


def side_by_side(session: Session, names: list[str]) -> None:
    with ThreadPoolExecutor(max(len(names), 1)) as pool:
        futures = [pool.submit(attempt, session, name, stages.STAGES[name]) for name in names]
        try:
            for future in futures:
                future.result()
        except KeyboardInterrupt:
            session.seconds = 0  # nothing new is begun
            process.end_all()
            raise


def attempt(session: Session, name: str, stage) -> None:
    """A fault in a stage itself is an outcome too."""
    try:
        stage(session)
    except Exception as error:
        traceback.print_exc()
        session.add(Outcome(name, "FAILED", note=f"{type(error).__name__}: {error}"))


if __name__ == "__main__":
    sys.exit(main())
