"""``python -m kronla check``: every public op against kronla.testing.reference, on every device and dtype."""

import argparse
import inspect
from collections.abc import Iterator

import torch

import kronla
from kronla.commands.comparisons import Setting, Verdict
from kronla.commands.info import collect, has_cuda_kernels
from kronla.commands.op_checks import CHECKS
from kronla.testing import reference

DTYPES = {"float32": torch.float32, "float64": torch.float64}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", action="append", help="check only this one; may be repeated (default: all)")
    parser.add_argument("--dtype", choices=DTYPES, action="append", help="check only this one (default: both)")
    parser.add_argument("ops", nargs="*", metavar="op", help="check only these (default: all)")


def run(args: argparse.Namespace) -> int:
    unknown = sorted(set(args.ops) - set(CHECKS))
    if unknown:
        print(f"No check is called {', '.join(unknown)}; there are: {', '.join(CHECKS)}.")
        return 2
    failures = [f"{name}: no check is written for it" for name in unchecked_ops()]
    devices = args.device or available_devices()
    print(f"kronla {collect()['kronla']} on {', '.join(devices)}: largest relative error, and what is allowed")
    for device in devices:
        for dtype in args.dtype or DTYPES:
            setting = Setting(torch.device(device), DTYPES[dtype])
            for name, verdict in verdicts(args.ops or list(CHECKS), setting):
                line = f"{device:<6} {dtype:<8} {name:<32} {verdict}"
                print(line, flush=True)
                if not verdict.passed:
                    failures.append(line)
    print("\n".join(["", f"{len(failures)} FAILED", *failures]) if failures else "all passed")
    return 1 if failures else 0


def available_devices() -> list[str]:
    """The CPU, and CUDA where torch and kronla have it."""
    return ["cpu", "cuda"] if torch.cuda.is_available() and has_cuda_kernels() else ["cpu"]


def unchecked_ops() -> list[str]:
    """Public ops without a check here or without a reference, so that a new one cannot be forgotten."""
    ops = {name for name in kronla.__all__ if inspect.isfunction(getattr(kronla, name))}
    return sorted(name for name in ops if name not in CHECKS or not hasattr(reference, name))


def verdicts(names: list[str], setting: Setting) -> Iterator[tuple[str, Verdict]]:
    """The verdict on each op; an exception is a failure, not an end."""
    for name in names:
        try:
            setting.missing.clear()
            compared = list(CHECKS[name](getattr(kronla, name), setting))
            yield name, Verdict.of(compared, sorted(setting.missing))
        except Exception as error:
            yield name, Verdict(float("nan"), 0.0, f"{type(error).__name__}: {error}")
