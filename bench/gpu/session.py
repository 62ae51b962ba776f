"""One run of all stages: what is left of the time, where logs go, and what has been found so far."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.gpu import machine, process, report
from bench.gpu.process import Outcome


@dataclass
class Job:
    """A command of a stage that runs several side by side."""

    name: str
    command: list[str]


@dataclass
class Session:
    out: Path
    seconds: float
    dry_run: bool
    started: float = field(default_factory=time.monotonic)
    folder: Path = machine.ROOT  # where the commands run
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    facts: dict[str, Any] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def scratch(self) -> Path:
        return machine.ROOT / "build" / "gpu"

    @property
    def has_gpu(self) -> bool:
        return bool(self.facts.get("runs"))

    def left(self) -> float:
        return self.seconds - (time.monotonic() - self.started)

    def failed(self, name: str) -> bool:
        """It was tried, and is not ok: what it left behind may be old."""
        return any(outcome.name == name and outcome.status != "ok" for outcome in self.outcomes)

    def add(self, outcome: Outcome) -> Outcome:
        with self.lock:
            self.outcomes.append(outcome)
            at = time.monotonic() - self.started
            print(
                f"[{at:5.0f} s] {outcome.name}: {outcome.status} in {outcome.seconds:.0f} s  {outcome.note}", flush=True
            )
            self._save()
        return outcome

    def run(self, name: str, command: list[str], limit: float, log: str, echo: bool = False) -> Outcome:
        """The outcome, which the stage adds when it has said what it means."""
        limit = min(limit, self.left())
        return process.run(name, command, limit, self.out / log, self.environment, self.folder, echo)

    def run_all(self, jobs: list[Job], limit: float, log: str, at_once: int) -> list[Outcome]:
        """Side by side, each with what is left of the limit; the logs one after the other."""
        end = min(limit, self.left()) + time.monotonic()
        self.scratch.mkdir(parents=True, exist_ok=True)
        environment = {**self.environment, "OMP_NUM_THREADS": "2"}  # they share the cores

        def one(job: Job) -> Outcome:
            own = self.scratch / f"{job.name}.log"
            own.unlink(missing_ok=True)
            return process.run(job.name, job.command, end - time.monotonic(), own, environment, self.folder)

        with ThreadPoolExecutor(at_once) as pool:
            outcomes = list(pool.map(one, jobs))
        with (self.out / log).open("a", encoding="utf-8") as file:
            for outcome in outcomes:
                text = outcome.output if outcome.status != "ok" else outcome.output[-8000:]
                file.write(f"==== {outcome.name}: {outcome.status}, {outcome.seconds:.1f} s {outcome.note}\n")
                file.write(text[-60_000:] + "\n")
        return outcomes

    def record(self) -> dict[str, Any]:
        return {
            "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "dry_run": self.dry_run,
            "facts": self.facts,
            "stages": [outcome.as_dict() for outcome in self.outcomes],
            "rows": self.rows,
        }

    def add_rows(self, rows: list[dict[str, Any]]) -> None:
        with self.lock:
            self.rows += rows
            self._save()

    def _save(self) -> None:
        partial = self.out / "results.json.partial"
        partial.write_text(json.dumps(self.record(), indent=1, default=str) + "\n", encoding="utf-8")
        partial.replace(self.out / "results.json")

    def finish(self) -> int:
        text = report.table([outcome.as_dict() for outcome in self.outcomes], self.rows, self.dry_run)
        device = self.facts.get("device") or "no GPU"
        text = (
            f"{text}\n\n{device}; commit {self.facts.get('commit', 'unknown')}; {time.monotonic() - self.started:.0f} s"
        )
        (self.out / "summary.txt").write_text(text.lstrip("\n") + "\n", encoding="utf-8")
        self._save()
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
        return 1 if any(outcome.status in ("FAILED", "timed out") for outcome in self.outcomes) else 0
