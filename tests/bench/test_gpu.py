"""bench/gpu.sh without a GPU: its parts on small inputs, and that whatever goes wrong is told and ends nothing else."""

import json
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import torch

import kronla
from bench.gpu import machine, process, report, roofline, run, stages
from bench.gpu.case import Case, Goal, Way, measure
from bench.gpu.families import FAMILIES
from bench.gpu.process import Outcome
from bench.gpu.session import Session
from bench.gpu.timing import Difference, Function, Prepared, compare

ROOT = Path(__file__).resolve().parents[2]


def tiny(monkeypatch, tmp_path, family: str, *options: str) -> tuple[int, list[dict]]:
    path = tmp_path / "rows.json"
    monkeypatch.setattr(sys, "argv", ["run", family, "--tiny", "--json", str(path), *options])
    code = run.main()
    return code, json.loads(path.read_text())


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_on_small_inputs(monkeypatch, tmp_path, family):
    """Inputs, every baseline, errors, times and the file."""
    code, rows = tiny(monkeypatch, tmp_path, family)
    assert code == 0 and rows
    for row in rows:
        assert row["note"] == "" and row["equally_accurate"] is not False, row
        assert row["ratio"] > 0 and row["rounds"] >= 2 and row["kronla_seconds"] > 0
        assert row["fraction"] == pytest.approx(row["floor_seconds"] / row["kronla_seconds"]) and row["fraction"] > 0
        assert row["kronla_error"] < 1e-3
        assert f"{row['ratio']:.2f}" in report.line_of(row)


def test_an_inaccurate_result_is_told(monkeypatch, tmp_path, capsys):
    right = kronla.foreach_kron_apply
    monkeypatch.setattr(kronla, "foreach_kron_apply", lambda *lists: [1.01 * x for x in right(*lists)])
    code, rows = tiny(monkeypatch, tmp_path, "apply")
    assert code == 1 and all(row["equally_accurate"] is False for row in rows)
    assert "NOT EQUALLY ACCURATE" in capsys.readouterr().out
    assert report.means(rows) == []  # such a time counts for nothing


def test_a_result_of_nan_is_not_equal(monkeypatch, tmp_path):
    right = kronla.foreach_kron_apply
    monkeypatch.setattr(kronla, "foreach_kron_apply", lambda *lists: [float("nan") * x for x in right(*lists)])
    code, rows = tiny(monkeypatch, tmp_path, "apply")
    assert code == 1 and all(row["equally_accurate"] is False and row["kronla_error"] is None for row in rows)


def test_a_case_that_fails_is_a_row(monkeypatch, tmp_path):
    def broken(*lists):
        raise RuntimeError("no luck")

    monkeypatch.setattr(kronla, "foreach_kron_apply", broken)
    code, rows = tiny(monkeypatch, tmp_path, "apply")
    assert code == 1 and all("FAILED: RuntimeError: no luck" in row["note"] for row in rows)


def test_a_lost_device_is_left_to_a_new_process(monkeypatch, tmp_path, capsys):
    """The stage begins again with the next case; nothing is measured twice."""
    right, calls = kronla.foreach_kron_apply, []

    def fails_once(*lists):
        calls.append(lists)
        if len(calls) == 1:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return right(*lists)

    monkeypatch.setattr(kronla, "foreach_kron_apply", fails_once)
    monkeypatch.setattr(run, "is_lost", lambda device: True)
    code, rows = tiny(monkeypatch, tmp_path, "apply")
    assert code == 1 and [row["name"] for row in rows] == ["vit-s16"]
    assert capsys.readouterr().out.endswith("lost the device; next is 1\n")
    code, rows = tiny(monkeypatch, tmp_path, "apply", "--first", "1")
    assert code == 0 and [row["name"] for row in rows] == ["gpt2", "3x4x4"]


def test_the_stage_goes_on_behind_a_lost_device(monkeypatch, tmp_path):
    begun = []

    def pretended(session, name, command, limit, log, echo=False):
        begun.append(command[command.index("--first") + 1])
        lost = "lost the device; next is 2\n" if len(begun) == 1 else "2 rows\n"
        return Outcome(name, "FAILED" if len(begun) == 1 else "ok", 1.0, output=lost)

    monkeypatch.setattr(stages, "FAMILIES", {"apply": 1})
    monkeypatch.setattr(Session, "scratch", tmp_path)
    monkeypatch.setattr(Session, "run", pretended)
    session = Session(tmp_path, 120, dry_run=True)
    stages.benchmarks(session)
    assert begun == ["0", "2"] and [outcome.status for outcome in session.outcomes] == ["FAILED", "ok"]


def test_what_there_is_no_time_for_is_a_row(monkeypatch, tmp_path):
    code, rows = tiny(monkeypatch, tmp_path, "inverse_root", "--seconds", "0")
    assert code == 0 and len(rows) == 12
    assert all("out of time" in row["note"] and row["ratio"] is None for row in rows)


def case_of(way: Function, ways: dict[str, Way]) -> Case:
    return Case(
        "family",
        "workload",
        lambda device: ([torch.ones(4, 4)],),
        way,
        {"others": Goal(ways, 2.0)},
        lambda given, results: float((results[0] - 2).abs().max()),
        lambda given: roofline.Work(64),
    )


@pytest.fixture
def takes(monkeypatch):
    """takes(seconds) is a way of that duration, on a clock that stands still else."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def way_of(seconds: float, result=lambda x: x + 1):
        def way(xs):
            now[0] += seconds
            return [result(xs[0])]

        return way

    return way_of


def test_the_quickest_way_that_works_is_compared(takes):
    def broken(xs):
        raise ValueError("not today")

    ways = {
        "slow": Way(takes(0.5)),
        "quick": Way(takes(0.1)),
        "absent": Way(takes(0.01), missing="not installed"),
        "broken": Way(broken),
        "useless": Way(takes(0.01, lambda x: x * float("inf"))),
        "a tenth": Way(takes(0.02), part=0.1),
    }
    (row,) = measure(case_of(takes(0.05), ways), torch.device("cpu"), 2.0)
    assert row.way == "quick" and row.samples == pytest.approx({"slow": 0.5, "quick": 0.1, "a tenth": 0.2})
    assert (row.kronla_seconds, row.baseline_seconds, row.ratio) == pytest.approx((0.05, 0.1, 2.0))
    for note in ("absent: not installed", "broken: ValueError: not today", "useless: its result is useless"):
        assert note in row.note
    (row,) = measure(case_of(takes(0.05), {"absent": Way(takes(1), missing="not installed")}), torch.device("cpu"), 1.0)
    assert row.ratio is None and row.note == "absent: not installed" and row.kronla_seconds == pytest.approx(0.05)


def test_times_are_those_of_one_call(takes):
    copies = [([torch.ones(2)],)] * 3
    assert Prepared(takes(0.01), copies).seconds() == pytest.approx(0.01)
    assert Prepared(takes(0.4), copies).calls == 1  # a long call: on one copy
    assert Prepared(takes(0.01), copies, scale=5.0).seconds() == pytest.approx(0.05)
    step = Difference(Prepared(takes(0.07), copies), Prepared(takes(0.01), copies), 3)
    assert step.seconds() == pytest.approx(0.02)
    found = compare(Prepared(takes(0.01), copies), Prepared(takes(0.03), copies), budget=0.6)
    assert (found.ratio, found.low, found.high) == pytest.approx((3.0, 3.0, 3.0)) and found.rounds == 5
    assert compare(Prepared(takes(0.01), copies), Prepared(takes(0.03), copies), budget=0).rounds == 2


def test_floors():
    """By hand: a 2×3 gradient reads 6 + 3 + 6 elements and writes 4 + 9, and makes 2·(3·3 + 6·2) operations."""
    work = roofline.factors(2, 3)
    assert work.bytes == 4 * (6 + 3 + 6 + 4 + 9) and work.flops == {"tf32x3": 2 * (3 * 3 + 6 * 2)}
    assert work.bound == "bytes" and (work * 2).seconds == 2 * work.seconds
    assert roofline.factors(4096, 4096).bound == "flops"
    total = work + roofline.Work(0, {"fp64": 67e12})
    assert total.bytes == work.bytes and total.seconds == pytest.approx(1.0, rel=1e-6)


# ---- the stages ----


def command(program: str, limit: float, tmp_path: Path) -> Outcome:
    return process.run("stage", [sys.executable, "-c", program], limit, tmp_path / "log", dict(os.environ), tmp_path)


def test_a_command_and_its_log(tmp_path):
    outcome = command("print('hello')", 60, tmp_path)
    assert outcome.status == "ok" and outcome.output == "hello\n" and "hello" in (tmp_path / "log").read_text()
    assert command("raise SystemExit(3)", 60, tmp_path).note == "exit status 3"
    assert process.run("x", ["/no/such/program"], 5, tmp_path / "log", {}, tmp_path).status == "not run"
    assert command("print('never')", 0, tmp_path).note == "out of time"


def test_a_command_beyond_its_limit_ends_with_all_that_it_started(tmp_path, monkeypatch):
    """One that does not listen to the interrupt, with a child."""
    monkeypatch.setattr(process, "GRACE_SECONDS", 0.5)
    program = "\n".join(
        [
            "import signal, subprocess, sys, time",
            "signal.signal(signal.SIGINT, signal.SIG_IGN)",
            "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])",
            "print(child.pid, flush=True)",
            "time.sleep(60)",
        ]
    )
    start = time.monotonic()
    outcome = command(program, 3, tmp_path)
    assert outcome.status == "timed out" and time.monotonic() - start < 30
    child = int(outcome.output)
    for _ in range(50):
        stat = Path(f"/proc/{child}/stat")
        if not stat.exists() or stat.read_text().split()[2] == "Z":
            return
        time.sleep(0.1)
    raise AssertionError("the child is still running")


def test_packages_from_wheels(tmp_path, monkeypatch):
    """They are found by every command, before what is installed; without any nothing changes."""
    wheels, site = tmp_path / "wheels", tmp_path / "site"
    wheels.mkdir()
    with zipfile.ZipFile(wheels / "brought-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("brought/__init__.py", "answer = 42")
    monkeypatch.delenv("WHEELS", raising=False)
    assert machine.unpacked_wheels(site) == ""
    monkeypatch.setenv("WHEELS", str(wheels))
    environment = machine.environment("9.0", machine.unpacked_wheels(site), 4)
    program = [sys.executable, "-c", "import brought; print(brought.answer)"]
    outcome = process.run("stage", program, 60, tmp_path / "log", environment, tmp_path)
    assert outcome.output == "42\n"
    assert (environment["KRONLA_CUDA"], environment["TORCH_CUDA_ARCH_LIST"], environment["MAX_JOBS"]) == (
        "1",
        "9.0",
        "4",
    )


def test_summaries_are_added_up():
    output = "x\n12 passed, 3 skipped in 4.20s\n== 1 failed, 2 passed, 1 error in 61.00s (0:01:01) ==\n"
    assert stages.counts(output) == "14 passed, 3 skipped, 1 failed, 1 error"
    assert stages.counts("no tests") == "no summary"
    mixed = [Outcome("a", "ok", 1), Outcome("b", "FAILED", 2), Outcome("c", "timed out", 3)]
    assert vars(stages.together("all", mixed)) | {"output": ""} == {
        "name": "all",
        "status": "FAILED",
        "seconds": 3,
        "note": "1 of 3 clean; b FAILED, c timed out",
        "output": "",
    }


def test_benchmarks_run_in_processes_of_their_own(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(stages, "FAMILIES", {"apply": 1})
    monkeypatch.setattr(Session, "scratch", tmp_path)
    session = Session(tmp_path, 120, dry_run=True)
    stages.benchmarks(session)
    assert session.outcomes[0].status == "ok" and [row["family"] for row in session.rows] == ["apply"] * 3
    record = json.loads((tmp_path / "results.json").read_text())
    assert record["rows"] == session.rows
    assert session.finish() == 0
    assert "The times mean nothing" in (tmp_path / "summary.txt").read_text()
    assert capsys.readouterr().out.count("apply         vit-s16") == 2  # as it came, and in the table


def script(tmp_path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    # A fresh process, not in the middle of a suite: torch's import alone may take seconds.
    return subprocess.run(
        ["bash", str(ROOT / "bench" / "gpu.sh"), *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHON": sys.executable, "OUT": str(tmp_path / "out"), **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_the_script_from_anywhere(tmp_path):
    result = script(tmp_path, "--dry-run", "--only", "sanitizers")
    out = tmp_path / "out"
    record = json.loads((out / "results.json").read_text())
    assert record["dry_run"] and record["facts"]["packages"]["torch"] == torch.__version__
    assert len(record["facts"]["sources"]) == 16
    said = {stage["name"]: stage["status"] for stage in record["stages"]}
    assert said["environment"] == "ok", result.stdout
    assert said["memcheck"] == "not run" or torch.cuda.is_available()
    assert len(list(out.iterdir())) <= 8 and not list(out.glob("*.partial"))
    summary = (out / "summary.txt").read_text()
    assert all(name in summary for name in said) and summary in result.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(tmp_path):
    result = script(tmp_path, "--only", "check", "tests", "sanitizers", "benchmarks")
    assert result.returncode == 1
    stages_of = json.loads((tmp_path / "out" / "results.json").read_text())["stages"]
    assert stages_of[0]["status"] == "FAILED" and "no CUDA device" in stages_of[0]["note"]
    assert all(stage["status"] == "not run" and "no GPU" in stage["note"] for stage in stages_of[1:])
    assert len(stages_of) == 8


def test_without_python_it_says_so(tmp_path):
    result = script(tmp_path, PYTHON="no-such-python")
    assert result.returncode == 1 and "there is no 'no-such-python'" in result.stderr
