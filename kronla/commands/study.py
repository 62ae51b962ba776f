"""``python -m kronla study``: two papers' figures on Kronecker preconditioners, from trainings on this machine."""

import argparse
import os
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kronla.commands.study_parts import Part

_PACKAGES = ("rich", "matplotlib", "mlxtend")
STUDIES = {
    "kronecker": "Morwani et al. 2024, A New Perspective on Shampoo's Preconditioner (arXiv 2406.17748)",
    "staleness": "Eschenhagen et al. 2025, Purifying Shampoo (arXiv 2506.03595)",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The studies' options."""
    told = "; ".join(f"{name}: {paper}" for name, paper in STUDIES.items())
    parser.add_argument("study", help=told)
    parser.add_argument("--out", type=Path, default=Path("study_out"), help="folder of JSON and pictures (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="smaller and shorter: about 2 minutes on two cores")
    parser.add_argument("--steps", help="length of each training, in the place of the setting's own")
    parser.add_argument(
        "--part", action="append", metavar="NAME", help="only this part and its pictures; may be repeated"
    )


def run(args: argparse.Namespace) -> int:
    """Train, measure, draw. 0: all went well; 2: a package is missing or an option is wrong; 130: interrupted."""
    wrong = _wrong(args)
    if wrong is not None:
        print(wrong, file=sys.stderr)
        return 2
    from kronla.commands.study_parts import run_parts

    study = import_module(f"kronla.commands.study_{args.study}")
    settings = study.QUICK if args.quick else study.FULL
    parts = study.parts(settings if args.steps is None else study.shortened(settings, int(args.steps)))
    folder = args.out / args.study
    wrong = _unknown(args.part, parts) or _unwritable(folder)
    if wrong is not None:
        print(wrong, file=sys.stderr)
        return 2
    chosen = [part for part in parts if not args.part or part.name in args.part]
    try:
        run_parts(args.study, chosen, folder, study.draw)
    except KeyboardInterrupt:
        print(
            "Interrupted; the parts that are done are kept, and the same command goes on from there.", file=sys.stderr
        )
        return 130
    return 0


def _wrong(args: argparse.Namespace) -> str | None:
    """What is wrong with the arguments or the environment, in one sentence."""
    if args.study not in STUDIES:
        return f"The study must be one of {', '.join(STUDIES)}, but is {args.study!r}."
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        return f'The studies need {", ".join(missing)}: pip install "kronla[demo]"'
    if args.steps is not None and not (args.steps.isdecimal() and int(args.steps) >= 4):
        return f"--steps must be a whole number ≥ 4, but is {args.steps}."
    data = os.environ.get("KRONLA_FASHION_MNIST")
    if data is not None and not (Path(data) / "train-images-idx3-ubyte.gz").is_file():
        return f"KRONLA_FASHION_MNIST must be a folder with train-images-idx3-ubyte.gz in it, but is {data}."
    return None


def _unknown(chosen: list[str] | None, parts: "list[Part]") -> str | None:
    names = [part.name for part in parts]
    unknown = sorted(set(chosen or []) - set(names))
    return f"--part must be one of {', '.join(names)}, but is {', '.join(unknown)}." if unknown else None


def _unwritable(folder: Path) -> str | None:
    """Makes the folder. What is wrong where it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return f"--out must be a folder that can be written, but {error.filename}: {error.strerror}."
    return None if os.access(folder, os.W_OK) else f"--out must be a folder that can be written, but {folder} cannot."
