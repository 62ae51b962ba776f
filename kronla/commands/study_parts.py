"""Parts of a study: each is measured once, written to a JSON file, and read from there when the study runs again."""

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

Results = dict[str, Any]


class Bar:
    """How far a part is: a line on the screen."""

    def __init__(self, progress: Progress, name: str) -> None:
        self._progress = progress
        self._task = progress.add_task(f"{name:<12}", total=None, note="")

    def expect(self, total: int) -> None:
        """Say how many steps there will be."""
        self._progress.update(self._task, total=total)

    def advance(self, note: str = "") -> None:
        """One step done."""
        self._progress.update(self._task, advance=1, note=note)

    def finish(self, note: str) -> None:
        """The part is done."""
        task = self._progress.tasks[self._task]
        total = task.total or 1
        self._progress.update(self._task, total=total, completed=total, note=note)


@dataclass(frozen=True)
class Part:
    """One part: what it is called, what its result depends on, and how to measure it."""

    name: str
    settings: Mapping[str, Any]
    """Whatever the result depends on, as JSON: a result of other settings is measured anew."""
    measure: Callable[[Bar], Results]


def run_parts(study: str, parts: list[Part], out: Path, draw: Callable[[dict[str, Results], Path], list[Path]]) -> None:
    """Measure what has not been measured, and draw what there is; ``out`` is a folder."""
    console, start = Console(), time.perf_counter()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
    )
    results: dict[str, Results] = {}
    with Progress(*columns, console=console) as progress:
        for part in parts:
            results[part.name] = _result(part, out, Bar(progress, part.name))
    for path in draw(results, out):
        console.print(f"Picture: {path}", soft_wrap=True)
    console.print(f"Study {study} done in {time.perf_counter() - start:.0f} s; results and pictures in {out}.")


def _result(part: Part, out: Path, bar: Bar) -> Results:
    path = out / f"{part.name}.json"
    settings = json.loads(json.dumps(part.settings))
    known = _read(path)
    if known is not None and known.get("settings") == settings:
        bar.finish("known from before")
        return known["result"]
    start = time.perf_counter()
    result = part.measure(bar)
    seconds = time.perf_counter() - start
    _write(path, {"settings": settings, "seconds": round(seconds, 1), "result": result})
    bar.finish(f"{seconds:.0f} s")
    # As a later run will read it: keys are strings, tuples are lists.
    return json.loads(json.dumps(result))


def _read(path: Path) -> dict[str, Any] | None:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return known if isinstance(known, dict) and "result" in known else None


def _write(path: Path, value: Any) -> None:
    """All of the file or none of it, whenever the program is interrupted."""
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(value, indent=1), encoding="utf-8")
    os.replace(draft, path)
