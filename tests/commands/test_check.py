"""python -m kronla info, check and bench: check covers every op, and it fails where an op is wrong."""

import json
import os
import subprocess
import sys

import pytest
import torch

import kronla
from kronla.__main__ import COMMANDS, main
from kronla.commands import bench, check, comparisons, info, op_checks


def test_every_public_op_is_checked():
    assert check.unchecked_ops() == []


def test_an_op_without_a_check_is_a_failure(monkeypatch, capsys):
    monkeypatch.delitem(op_checks.CHECKS, "kron_apply")
    assert main(["check", "--dtype", "float32", "rearrange"]) == 1
    assert "kron_apply: no check is written for it" in capsys.readouterr().out


def test_a_good_op_passes(capsys):
    assert main(["check", "--device", "cpu", "kron_apply", "rearrange"]) == 0
    out = capsys.readouterr().out
    assert out.count(" ok ") == 4 and "all passed" in out


def spoiled(op, factor: float):
    """The op, with the first tensor of its result or of its arguments off by a factor."""

    def first_tensor(x):
        return x if isinstance(x, torch.Tensor) else first_tensor(x[0])

    def wrapper(*args, **options):
        result = op(*args, **options)
        first_tensor(args if result is None else result).mul_(factor)
        return result

    return wrapper


@pytest.mark.parametrize("name", list(op_checks.CHECKS))
@pytest.mark.parametrize("factor", [1.01, float("nan")])
def test_a_wrong_op_fails(monkeypatch, capsys, name, factor):
    monkeypatch.setattr(kronla, name, spoiled(getattr(kronla, name), factor))
    assert main(["check", "--device", "cpu", "--dtype", "float32", name]) == 1
    assert "FAILED" in capsys.readouterr().out


def test_an_op_that_raises_fails_and_the_others_go_on(monkeypatch, capsys):
    def broken(*args):
        raise RuntimeError("no luck")

    monkeypatch.setattr(kronla, "kron_apply", broken)
    assert main(["check", "--dtype", "float64", "kron_apply", "rearrange"]) == 1
    out = capsys.readouterr().out
    assert "RuntimeError: no luck" in out and "rearrange" in out


def test_comparing_nothing_is_a_failure():
    assert not comparisons.Verdict.of([]).passed


def test_what_a_device_has_no_kernel_for_is_told_and_no_failure():
    """The CPU has everything; elsewhere the rest of the check goes on."""

    def absent(A):
        raise NotImplementedError("A must have at most 64 rows on CUDA")

    setting = comparisons.Setting(torch.device("cuda"), torch.float32)
    assert setting.attempt(absent, 1) is None
    assert setting.attempt(len, "four") == 4
    verdict = comparisons.Verdict.of([], sorted(setting.missing))
    assert verdict.passed and "not there: A must have at most 64 rows" in str(verdict)
    assert not comparisons.Verdict.of([comparisons.Comparison(2.0, 1.0)], setting.missing).passed
    with pytest.raises(NotImplementedError):
        comparisons.Setting(torch.device("cpu"), torch.float32).attempt(absent, 1)


@pytest.mark.parametrize(
    ("architecture", "device", "runs"),
    [
        ("9.0", (9, 0), True),
        ("8.0", (8, 9), True),
        ("8.9", (8, 0), False),
        ("8.0", (9, 0), False),
        ("8.0+PTX", (9, 0), True),
        ("9.0+PTX", (8, 0), False),
        ("9.0a", (9, 0), True),
        ("10.0a", (10, 3), False),
        ("Hopper", (9, 0), True),
    ],
)
def test_which_devices_an_architecture_runs_on(architecture, device, runs):
    assert info.runs_on(architecture, device) == runs


def test_an_unknown_op_is_told(capsys):
    assert main(["check", "no_such_op"]) == 2
    assert "No check is called no_such_op" in capsys.readouterr().out


def test_info_prints_what_matters(capsys):
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    for name in ("kronla", "python", "torch", "devices", "BLAS", "instruction set", "CUDA kernels"):
        assert f"\n{name}" in f"\n{out}"


def test_info_as_json(capsys):
    assert main(["info", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == info.collect()


def test_bench_without_a_checkout_says_so(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(bench, "CHECKOUT", tmp_path)
    assert main(["bench"]) == 2
    assert "come with the source checkout" in capsys.readouterr().err


def test_bench_passes_its_arguments_on(monkeypatch):
    called = []
    monkeypatch.setattr(bench.subprocess, "call", lambda command, **_: called.append(command) or 0)
    assert main(["bench", "--quick", "--family", "apply"]) == 0
    assert called[0][-3:] == ["--quick", "--family", "apply"]


def test_help_imports_no_command():
    listing = "print([name for name in sys.modules if name.startswith('kronla.commands')])"
    program = f"import sys, kronla.__main__ as m\ntry: m.main(['--help'])\nfinally: {listing}"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=os.environ)
    assert result.returncode == 0
    assert result.stdout.rstrip().endswith("[]")
    assert all(name in result.stdout for name in COMMANDS)


@pytest.mark.parametrize("argv", [[], ["no-such-command"], ["info", "--no-such-option"]])
def test_a_wrong_command_is_a_usage_error(argv):
    with pytest.raises(SystemExit) as end:
        main(argv)
    assert end.value.code == 2
