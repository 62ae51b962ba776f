"""The arrows: kernels → bindings → ops → optim, while diagnostics and testing read ops."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "kronla"


def imports(path: Path) -> set[str]:
    """Modules that a file imports, in full; ``from a import b`` counts as both a and a.b."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            found |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return found


def files(room: str) -> list[Path]:
    found = sorted((PACKAGE / room).rglob("*.py"))
    assert found, f"kronla/{room} has no Python file"
    return found


def reaches(module: str, target: str) -> bool:
    return module == target or module.startswith(target + ".")


FORBIDDEN = [
    ("ops", ["kronla.optim", "kronla.diagnostics", "kronla.testing", "kronla.commands", "kronla.__main__"]),
    ("optim", ["kronla._native", "kronla._C", "kronla.diagnostics", "kronla.testing", "kronla.commands"]),
    ("testing", ["kronla._native", "kronla._C", "kronla.optim", "kronla.diagnostics", "kronla.commands"]),
    ("diagnostics", ["kronla._native", "kronla._C", "kronla.optim", "kronla.testing", "kronla.commands"]),
]


@pytest.mark.parametrize(("room", "targets"), FORBIDDEN, ids=[room for room, _ in FORBIDDEN])
def test_rooms_import_only_what_lies_below(room, targets):
    wrong = {
        f"{path.relative_to(ROOT)}: {module}"
        for path in files(room)
        for module in imports(path)
        if any(reaches(module, target) for target in targets)
    }
    assert not wrong


def test_only_commands_import_diagnostics():
    readers = {
        path.relative_to(PACKAGE).parts[0]
        for path in PACKAGE.rglob("*.py")
        if any(reaches(module, "kronla.diagnostics") for module in imports(path))
    }
    assert readers <= {"diagnostics", "commands"}


def test_only_native_loads_the_extension():
    def loads(path):
        return any(reaches(module, f"kronla.{name}") for module in imports(path) for name in ("_C", "_cuda"))

    assert [path.name for path in PACKAGE.rglob("*.py") if loads(path)] == ["_native.py"]


def test_kernels_include_no_torch_header():
    wrong = [
        f"{path.relative_to(ROOT)}: {line}"
        for path in (ROOT / "csrc" / "kernels").rglob("*")
        if path.is_file()
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.match(r"\s*#\s*include\s*[<\"](torch|ATen|c10|pybind11|Python\.h|bindings/)", line)
    ]
    assert not wrong


def test_the_same_stem_in_every_room():
    for family in ("factors", "inverse_root", "eigenbasis", "rearrangement", "apply"):
        for path in (
            f"csrc/kernels/{family}.h",
            f"csrc/kernels/cpu/{family}.cpp",
            f"csrc/bindings/{family}.cpp",
            f"kronla/ops/{family}.py",
            f"tests/ops/test_{family}.py",
        ):
            assert (ROOT / path).is_file(), f"{path} is missing"
