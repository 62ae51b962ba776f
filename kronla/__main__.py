"""``python -m kronla <command>``: imports the module of that command alone, with its packages."""

import argparse
import importlib
import sys
from collections.abc import Sequence

COMMANDS = {
    "info": "print versions, devices and instruction set",
    "check": "verify every op on every available device against the float64 references",
    "demo": "train on real data with three optimizers and compare with torch.linalg",
    "bench": "run the benchmarks against torch (from a checkout)",
    "study": "draw the figures of two papers on Kronecker preconditioners, from trainings here",
}


def main(argv: Sequence[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = argparse.ArgumentParser(prog="python -m kronla", description="Kernels for Kronecker-factored curvature.")
    subparsers = parser.add_subparsers(dest="command", metavar="command", required=True)
    run = None
    for name, summary in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=summary, description=summary)
        if argv[:1] == [name]:
            module = importlib.import_module(f"kronla.commands.{name}")
            module.add_arguments(subparser)
            run = module.run
    args, unknown = parser.parse_known_args(argv)
    assert run is not None  # argparse has left for an unknown or missing command
    if unknown and not hasattr(args, "passed_on"):
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    args.passed_on = unknown
    return run(args)


if __name__ == "__main__":
    sys.exit(main())
