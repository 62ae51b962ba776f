"""The demo as a user starts it: the quick run from end to end, and the one sentence where a package is missing."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
PACKAGES = ("rich", "matplotlib", "mlxtend")


def run_demo(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "kronla", "demo", *arguments],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "160", **environment},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )


def need_packages():
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"the demo needs {', '.join(missing)}")


def test_quick_run_prints_both_tables_and_draws_both_pictures(tmp_path):
    need_packages()
    done = run_demo("--quick", "--out", str(tmp_path / "pictures"))
    assert done.returncode == 0, done.stderr
    for name in ("torch AdamW", "kronla Shampoo", "kronla EShampoo", "kronla SOAP", "SOAP on torch.linalg"):
        row = re.search(rf"{re.escape(name)} +([\d.]+) +([\d.]+)% +([\d.]+) ", done.stdout)
        assert row, done.stdout
        assert float(row[1]) < 1.0 and float(row[2]) > 80.0
    for family in ("factors", "inverse root, p = 4", "eigenbasis, QR step", "rearrangement", "apply"):
        rows = re.findall(rf"{re.escape(family)} +\S.*? +(\S+e\S+) +(\S+e\S+) +[\d.]+ +[\d.]+ +([\d.]+)×", done.stdout)
        assert rows, done.stdout
        for ours, theirs, ratio in rows:
            assert float(ours) <= max(2 * float(theirs), 3e-6)
            assert float(ratio) > 0
    assert "…" not in done.stdout  # a figure that is cut says nothing
    for name in ("training.png", "families.png"):
        data = (tmp_path / "pictures" / name).read_bytes()
        assert data.startswith(b"\x89PNG") and len(data) > 20_000


@pytest.mark.parametrize("missing", PACKAGES)
def test_a_missing_package_is_one_sentence(missing, monkeypatch, capsys, tmp_path):
    from kronla import __main__ as program

    find_spec = importlib.util.find_spec
    monkeypatch.setattr("kronla.commands.demo.find_spec", lambda name: None if name == missing else find_spec(name))
    assert program.main(["demo", "--out", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert missing in said and said.endswith('pip install "kronla[demo]"\n') and said.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_epochs_are_checked(capsys):
    need_packages()
    from kronla import __main__ as program

    assert program.main(["demo", "--epochs", "0"]) == 2
    assert capsys.readouterr().err == "--epochs must be a whole number ≥ 1, but is 0.\n"


def test_the_baseline_takes_the_same_steps():
    from kronla.commands.demo_baseline import TorchSOAP
    from kronla.optim import SOAP

    class Silent:
        def __enter__(self):
            return None

        def __exit__(self, *_):
            return None

    shapes = [(6, 6), (5,)]
    ours = [torch.nn.Parameter(torch.zeros(shape, dtype=torch.float64)) for shape in shapes]
    theirs = [torch.nn.Parameter(torch.zeros(shape, dtype=torch.float64)) for shape in shapes]
    settings = {"lr": 0.1, "eps": 1e-4, "update_every": 3}
    optimizers = SOAP(ours, **settings), TorchSOAP(theirs, **settings, measure=lambda _: Silent())
    for _ in range(10):
        for p, q in zip(ours, theirs, strict=True):
            p.grad = torch.randn(p.shape, dtype=torch.float64)
            q.grad = p.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for p, q in zip(ours, theirs, strict=True):
        assert p.abs().max() > 0.1
        torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-6)
