"""``python -m bench.gpu.run <family>``: the cases of one family, in a process of its own.

A kernel that fails on the device takes the process with it; what was measured before is in the file already.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import torch

from bench.gpu.case import Row, first_line, measure
from bench.gpu.families import FAMILIES, module
from bench.gpu.report import line_of

# A case is begun where at least this is left of the family's time.
LEAST_SECONDS = 2.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu.run", description=__doc__)
    parser.add_argument("family", choices=FAMILIES)
    parser.add_argument("--seconds", type=float, default=60.0, help="for all cases together")
    parser.add_argument("--json", type=Path, help="write the rows to this file, after each case")
    parser.add_argument("--first", type=int, default=0, help="begin with this case")
    parser.add_argument("--tiny", action="store_true", help="on the CPU, a few small matrices: is the code right?")
    args = parser.parse_args()
    device = torch.device("cpu" if args.tiny else "cuda")
    rows, failed, lost = [], 0, False
    end = time.perf_counter() + args.seconds
    cases = module(args.family).cases(args.tiny)[args.first :]
    for number, case in enumerate(cases):
        left = end - time.perf_counter()
        if left < LEAST_SECONDS:
            found = [Row(case.family, case.name, against, note="not measured: out of time") for against in case.goals]
        else:
            found = []
            try:
                # Half of a fair share for the rounds: inputs, errors and warm-up take the rest.
                for row in measure(case, device, 0.01 if args.tiny else 0.5 * left / (len(cases) - number)):
                    found.append(row)
            except Exception as error:
                failed += 1
                lost = is_lost(device)
                found.append(Row(case.family, case.name, "", note=f"FAILED: {first_line(error)}"))
        rows += found
        for row in found:
            print(line_of(row.as_dict()), flush=True)
        write(args.json, rows)
        if lost:
            print(
                f"lost the device; next is {args.first + number + 1}" if number + 1 < len(cases) else "lost the device"
            )
            return 1
        if device.type == "cuda":
            torch.cuda.empty_cache()
    inaccurate = sum(row.equally_accurate is False for row in rows)
    print(f"{len(rows)} rows, {failed} cases failed, {inaccurate} not equally accurate")
    return 1 if failed or inaccurate else 0


def is_lost(device: torch.device) -> bool:
    """Whether an error on the device has spoilt the process: then every later call fails as well."""
    try:
        return device.type == "cuda" and float(torch.ones(2, device=device).sum()) != 2.0
    except RuntimeError:
        return True


def write(path: Path | None, rows: list[Row]) -> None:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps([row.as_dict() for row in rows], allow_nan=False), encoding="utf-8")
        partial.replace(path)


if __name__ == "__main__":
    sys.exit(main())
