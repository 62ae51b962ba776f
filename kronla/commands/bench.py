"""``python -m kronla bench``: the benchmarks of the checkout; an installed package does not carry them."""

import argparse
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "All arguments are passed on: see python -m bench.report --help."
    parser.set_defaults(passed_on=[])


def run(args: argparse.Namespace) -> int:
    if not (CHECKOUT / "bench" / "report.py").exists():
        print("The benchmarks come with the source checkout, not with the installed package.", file=sys.stderr)
        return 2
    return subprocess.call([sys.executable, "-m", "bench.report", *args.passed_on], cwd=CHECKOUT)
