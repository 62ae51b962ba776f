"""``python -m bench.crossovers``: measures again what ``kronla/ops/policy.py`` chooses by, and says where it disagrees.

Both methods of a choice take turns on the same matrices; what is printed is the median ratio of their times by size.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

import kronla
from bench import shapes

SIZES = (16, 32, 64, 128, 256, 512)
#: A choice counts as wrong only where the other method is faster by more than this.
CLEAR = 1.1


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.crossovers", description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="of the matrices")
    parser.add_argument("--rounds", type=int, default=9, help="of the two methods, interleaved")
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error(f"--rounds is {args.rounds}; it must be at least 1.")
    table = Table(title="time of the method that policy.py takes / of the other (above 1: the other is faster)")
    for heading in ("choice", "n", "taken", "other", "ratio", ""):
        table.add_column(heading, justify="right" if heading in ("n", "ratio") else "left")
    wrong = 0
    for n in args.sizes:
        As, Qs = drifted(n)
        for choice, taken, other, ways in choices(n, As, Qs):
            ratio = median_ratio(ways[taken], ways[other], args.rounds)
            wrong += ratio > CLEAR
            table.add_row(choice, str(n), taken, other, f"{ratio:.2f}", "wrong here" if ratio > CLEAR else "")
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    return 0 if wrong == 0 else 1


def drifted(n: int) -> tuple[Tensor, Tensor]:
    """Some factors, and eigenbases that they had ten steps of a moving average before."""
    count = max(2, min(64, 2 * 512**2 // n**2))
    A, Q = shapes.drifted_bases(f"uniform-{n}") if n in shapes.UNIFORM else ([], [])
    if not A:
        raise SystemExit(f"bench.crossovers: no workload has n = {n}; sizes are {', '.join(map(str, shapes.UNIFORM))}.")
    return A[0][:count].contiguous(), Q[0][:count].contiguous()


def choices(n: int, A: Tensor, Q: Tensor) -> list[tuple[str, str, str, dict[str, Callable[[], object]]]]:
    """(choice, what the policy takes, the other, both ways by name)"""
    roots = {
        "inverse root, p = 4": (A, None),
        "inverse root, p = 4, rtol = 0.1": (A, 0.1),
        "inverse root, p = 4, float64": (A.double(), None),
    }
    bases = {
        method: lambda method=method: kronla.update_eigenbasis(A, Q, tol=0.01, max_steps=8, method=method)
        for method in ("auto", "eigh", "rotation")
    }
    return [
        *((choice, "auto", other, root_ways(*roots[choice])) for choice in roots for other in ("eigh", "polynomial")),
        *(("basis to 0.01", "auto", other, bases) for other in ("eigh", "rotation")),
    ]


def root_ways(A: Tensor, rtol: float | None) -> dict[str, Callable[[], object]]:
    return {
        method: lambda method=method: kronla.inverse_root(A, 4, relative_damping=1e-6, method=method, rtol=rtol)
        for method in ("auto", "eigh", "polynomial")
    }


def median_ratio(taken: Callable[[], object], other: Callable[[], object], rounds: int) -> float:
    def seconds(way: Callable[[], object]) -> float:
        start = time.perf_counter()
        way()
        return time.perf_counter() - start

    seconds(taken), seconds(other)
    return statistics.median(seconds(taken) / seconds(other) for _ in range(rounds))


if __name__ == "__main__":
    torch.manual_seed(0)
    sys.exit(main())
