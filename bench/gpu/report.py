"""The short tables at the end, and the lines as they come. Rows are the dictionaries of the JSON file."""

from __future__ import annotations

import math
from typing import Any

HEADINGS = (
    f"{'family':13} {'workload':26} {'against':34} {'kronla':>9} {'it':>9} {'ratio':>7} {'target':>6} {'floor':>5}"
    "  errors"
)


def line_of(row: dict[str, Any]) -> str:
    """Milliseconds, the baseline's time over kronla's, its target, and which part of kronla's time the floor is."""
    against = f"{row['against']}: {row['way']}" if row["way"] else row["against"]
    figures = [
        _milliseconds(row["kronla_seconds"]),
        _milliseconds(row["baseline_seconds"]),
        _number(row["ratio"], ".2f"),
        _number(row["target"], "g"),
        _number(row["fraction"], ".0%"),
    ]
    errors = f"{_number(row['kronla_error'], '.1e')} {_number(row['baseline_error'], '.1e')}"
    note = "NOT EQUALLY ACCURATE " if row["equally_accurate"] is False else ""
    note += row["note"][:110]
    cells = [f"{text:>{width}}" for text, width in zip(figures, (9, 9, 7, 6, 5), strict=True)]
    return f"{row['family']:13} {row['name']:26} {against:34} {' '.join(cells)}  {errors} {note}".rstrip()


def means(rows: list[dict[str, Any]]) -> list[str]:
    """The geometric mean of the ratios of each family against each group, and the smallest."""
    groups: dict[tuple[str, str, Any], list[float]] = {}
    for row in rows:
        if row["ratio"] and row["equally_accurate"] is not False:
            groups.setdefault((row["family"], row["against"], row["target"]), []).append(row["ratio"])
    lines = []
    for (family, against, target), ratios in groups.items():
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
        wanted = f"target {target:g}" if target else "for information"
        lines.append(
            f"{family:13} {against:26} mean {mean:7.2f}  least {min(ratios):7.2f}  of {len(ratios)}  ({wanted})"
        )
    return lines


def table(stages: list[dict[str, Any]], rows: list[dict[str, Any]], dry_run: bool) -> str:
    """The rows, their means, and how the stages went."""
    lines = ["", "DRY RUN: small matrices on a CPU. The times mean nothing."] if dry_run and rows else []
    if rows:
        lines += ["", "milliseconds; ratio: its time over kronla's; floor: the roofline's over kronla's", HEADINGS]
        lines += [line_of(row) for row in rows]
        lines += ["", *means(rows)]
    lines += ["", f"{'stage':19} {'status':10} {'s':>6}  note"]
    lines += [f"{s['name']:19} {s['status']:10} {s['seconds']:6.1f}  {s['note']}".rstrip() for s in stages]
    return "\n".join(lines)


def _milliseconds(seconds: float | None) -> str:
    return _number(None if seconds is None else 1e3 * seconds, ".4g")


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
