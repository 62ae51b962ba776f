"""A command with a limit of its own, its output in a log. Whatever happens to it is told, not raised."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

RUNNING: list[subprocess.Popen[bytes]] = []
GRACE_SECONDS = 8  # after an interrupt: pytest says what it has found


@dataclass
class Outcome:
    """How a stage went: ok, FAILED, timed out, or not run."""

    name: str
    status: str
    seconds: float = 0.0
    note: str = ""
    output: str = ""

    def as_dict(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if key != "output"}


def run(
    name: str,
    command: list[str],
    limit: float,
    log: Path,
    environment: dict[str, str],
    folder: Path,
    echo: bool = False,
) -> Outcome:
    """Appends to the log. `echo` prints the lines too, as they come."""
    start = time.monotonic()
    if limit < 1:
        return Outcome(name, "not run", note="out of time")
    with log.open("a", encoding="utf-8", errors="replace") as file:
        file.write(f"$ {' '.join(command)}\n")
        file.flush()
        begin = file.tell()
        group: dict[str, Any] = {"process_group": 0} if sys.version_info >= (3, 11) else {"start_new_session": True}
        try:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                **group,
            )
        except OSError as error:
            return Outcome(name, "not run", note=str(error))
        RUNNING.append(process)
        code = _wait(process, limit, (log, begin) if echo else None)
        RUNNING.remove(process)
    seconds = time.monotonic() - start
    with log.open("rb") as file:  # only what this command wrote, if nothing else writes to the log
        file.seek(begin)
        output = file.read().decode("utf-8", errors="replace")
    if code is None:
        return Outcome(name, "timed out", seconds, f"limit {limit:.0f} s", output)
    return Outcome(name, "ok" if code == 0 else "FAILED", seconds, "" if code == 0 else f"exit status {code}", output)


def _wait(process: subprocess.Popen[bytes], limit: float, follow: tuple[Path, int] | None) -> int | None:
    """The exit status; None where it had to be ended."""
    end = time.monotonic() + limit
    try:
        while time.monotonic() < end:
            try:
                return process.wait(timeout=0.5 if follow else max(end - time.monotonic(), 0.0))
            except subprocess.TimeoutExpired:
                follow = _print_new(follow)
        return None
    finally:
        _end(process)
        _print_new(follow)


def _print_new(follow: tuple[Path, int] | None) -> tuple[Path, int] | None:
    if follow is None:
        return None
    path, at = follow
    with path.open("rb") as file:
        file.seek(at)
        text = file.read()
    sys.stdout.write(text.decode("utf-8", errors="replace"))
    sys.stdout.flush()
    return path, at + len(text)


def _end(process: subprocess.Popen[bytes]) -> None:
    """The whole group: a test or a compiler leaves nothing running."""
    for number, patience in ((signal.SIGINT, GRACE_SECONDS), (signal.SIGKILL, 5)):
        if process.poll() is not None and number == signal.SIGINT:
            continue
        try:
            os.killpg(process.pid, number)
        except (ProcessLookupError, PermissionError):
            return
        try:
            process.wait(timeout=patience)
        except subprocess.TimeoutExpired:
            continue


def end_all() -> None:
    """Whatever still runs; the threads that wait for it then go on."""
    for process in list(RUNNING):
        _end(process)


def last_line(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1][:150] if lines else ""
