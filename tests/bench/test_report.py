"""How bench/ measures, sums up and reports: on two tiny cases, and on figures made by hand."""

import json
import time
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from bench import bench_refresh, cases, machine, memory, picture, readme, report, targets
from bench.cases import Case, Measurement, Refused, Work
from bench.targets import Peak, Summary


def doubled(factor: float = 2.0):
    return lambda xs: [factor * x for x in xs]


@pytest.fixture
def clock(monkeypatch):
    """Gives ways the seconds that they shall be found to take, for a busy machine takes any."""
    seconds = {}

    def taking(way, found: float):
        seconds[way] = found
        return way

    monkeypatch.setattr(cases, "seconds_of", lambda way, inputs: seconds[way])
    return taking


def case(kronla=None, ways=None, group: str = "apply", enough: float = cases.EQUAL_ERROR) -> Case:
    """x → 2x on one matrix."""
    return Case(
        "apply",
        "tiny",
        lambda: ([torch.ones(4, 4)],),
        kronla or doubled(),
        {group: ways or {"times 2": doubled()}},
        lambda inputs: lambda results: cases.worst_relative_error(results, [2 * inputs[0][0]]),
        lambda inputs, results: Work(16.0),
        enough,
    )


def measure(case: Case, budget: float = 0.01) -> tuple[list[Measurement], list[Refused]]:
    """One pass."""
    session = cases.Session(case)
    session.run(budget)
    return session.measurements(), session.refused


def test_a_wrong_result_is_refused_and_not_timed():
    measurements, refused = measure(case(kronla=doubled(2.01)))
    assert measurements == []
    assert [r.group for r in refused] == ["apply"] and refused[0].kronla_error == pytest.approx(0.005, rel=1e-3)
    assert "times 2" in str(refused[0])


def test_an_error_that_is_enough_is_timed():
    measurements, refused = measure(case(kronla=doubled(2.01), enough=0.01), 0.01)
    assert len(measurements) == 1 and not refused


def test_nan_is_refused():
    assert measure(case(kronla=doubled(float("nan"))), 0.01)[1]


def test_the_fastest_accurate_way_is_the_rival(clock):
    ways = {"slow": clock(doubled(), 0.3), "fast": clock(doubled(), 0.2), "wrong": clock(doubled(2.5), 0.1)}
    (m,), _ = measure(case(kronla=clock(doubled(), 0.05), ways=ways), 0.0)
    assert m.way == "fast" and m.rounds == 3
    assert m.torch_seconds == 0.2 and m.kronla_seconds == 0.05 and m.torch_error == 0
    assert m.low == m.ratio == m.high == pytest.approx(4.0)  # torch's time over kronla's


def test_an_expensive_rival_runs_once(monkeypatch):
    """On that run its accuracy is judged as well; the main rival runs in every round, however long it takes."""
    called = {"main": 0, "side": 0}

    def counted(name: str, seconds: float):
        def way(xs):
            called[name] += 1
            time.sleep(seconds)
            return doubled()(xs)

        return way

    monkeypatch.setattr(cases, "JUDGED_COUNTS", 0.03)
    monkeypatch.setattr(cases, "BRIEF", 0.0)
    both = replace(
        case(), groups={"apply": {"main": counted("main", 0.04)}, "factors": {"side": counted("side", 0.04)}}
    )
    measurements, _ = measure(both, 0.0)
    assert [(m.group, m.rounds) for m in measurements] == [("apply", 3), ("factors", 1)]
    assert called == {"main": 1 + 3, "side": 1}


def test_passes_add_up_and_a_disturbed_case_is_known(clock):
    kronla, rival = clock(doubled(), 0.1), doubled()
    session = cases.Session(case(kronla=kronla, ways={"way": clock(rival, 0.2)}))
    session.run(0.0)
    assert session.brief and not session.disturbed
    clock(rival, 0.4)  # the machine is busy
    session.run(0.0)
    (m,) = session.measurements()
    assert m.rounds == 6 and (m.low, m.ratio, m.high) == pytest.approx((2.0, 3.0, 4.0))
    assert session.disturbed


def test_a_report_measures_again_what_is_brief_or_disturbed(monkeypatch):
    passes = []
    monkeypatch.setattr(machine, "measure_peak", lambda: (PEAK, {}))
    monkeypatch.setattr(cases.Session, "run", lambda session, budget: passes.append(session))
    for brief, disturbed, runs in ((False, False, 1), (True, False, 2), (False, True, 2), (True, True, 3)):
        monkeypatch.setattr(cases, "BRIEF", 9.0 if brief else 0.0)
        monkeypatch.setattr(cases.Session, "disturbed", disturbed)
        passes.clear()
        monkeypatch.setattr(cases.Session, "measurements", lambda session: [])
        report.run([case()], 0.0)
        assert len(passes) == runs


def test_in_place_ways_leave_the_inputs_of_others_alone():
    def in_place(xs):
        for x in xs:
            x.mul_(2)
        return xs

    assert measure(case(kronla=in_place, ways={"in place": in_place}), 0.0)[0][0].kronla_error == 0


def measurement(ratio: float, workload: str = "uniform-16", group: str = "factors", **changes) -> Measurement:
    figures = {
        "group": group,
        "family": group,
        "workload": workload,
        "way": "way",
        "kronla_seconds": 0.5,
        "torch_seconds": 0.5 * ratio,
        "ratio": ratio,
        "low": ratio,
        "high": ratio,
        "rounds": 5,
        "kronla_error": 1e-7,
        "torch_error": 1e-7,
        "work": 1e9,
        "unit": "flop",
    }
    return Measurement(**{**figures, **changes})


PEAK = Peak(flops=8e9, bytes=4e9)


@pytest.mark.parametrize(
    ("ratios", "met"),
    [((2.0, 2.2), True), ((1.9, 2.0), False), ((10.0, 1.0), False), ((4.0, 1.2), True)],
)
def test_a_target_needs_the_mean_and_the_floor(ratios, met):
    figures = [measurement(ratio, f"uniform-{n}") for ratio, n in zip(ratios, (16, 32), strict=True)]
    (summary,) = targets.summarise(figures, [], PEAK)
    assert summary.met is met
    assert summary.mean == pytest.approx((ratios[0] * ratios[1]) ** 0.5)
    assert summary.worst == min(ratios)
    assert summary.fraction == pytest.approx(0.25)  # 1e9 in .5 s of 8e9


def test_a_refused_row_is_not_met():
    refused = [Refused("factors", "factors", "uniform-32", 1.0, {"way": 0.0})]
    (summary,) = targets.summarise([measurement(9.0)], refused, PEAK)
    assert summary.met is False and summary.refused == 1


def test_rows_without_target_are_neither():
    (summary,) = targets.summarise([measurement(9.0, group="rearranged_matvec", unit="byte")], [], PEAK)
    assert summary.met is None and summary.fraction == pytest.approx(0.5)


def test_a_row_is_named_by_what_the_group_does_not_say():
    newton = measurement(1.0, group="inverse_root / Newton", family="inverse_root p=4")
    basis = measurement(1.0, group="eigenbasis to 0.01, β=0.95", family="eigenbasis to 0.01, β=0.95")
    assert [targets.row_name(m) for m in (newton, basis)] == ["uniform-16 p=4", "uniform-16"]


def test_every_group_has_a_row_and_every_row_a_group():
    measured = {group for module in report.MODULES for each in module.CASES for group in each.groups}
    assert measured == {group.name for group in targets.GROUPS}


def test_other_processes_are_told_from_this_one(monkeypatch):
    moments = iter([(100.0, 10.0, 0.0), (130.0, 20.0, 100.0)])
    monkeypatch.setattr(machine.Others, "_now", staticmethod(lambda: next(moments)))
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 2)
    assert machine.Others().share() == pytest.approx(0.1)  # (30 - 10) of 200 seconds


def test_a_busy_machine_and_sleeping_threads_are_warned_of():
    quiet, busy = {"share": 0.05, "load average": 1.0}, {"share": 0.3, "load average": 7.0}
    assert machine.warnings({"openmp": {}}, quiet) == []
    (warning,) = machine.warnings({"openmp": {}}, busy)
    assert "30%" in warning and "7.0" in warning
    (warning,) = machine.warnings({"openmp": {"OMP_WAIT_POLICY": "passive"}}, quiet)
    assert "OMP_WAIT_POLICY=passive" in warning


@pytest.fixture(scope="module")
def record():
    """Of one good case, one refused, and a machine with a quick peak."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "GEMM_SIZES", (64,))
        patch.setattr(machine, "STREAM_BYTES", 1 << 20)
        return report.run([case(), case(kronla=doubled(3.0), group="factors")], 0.01)


def test_the_record_has_what_readers_rely_on(record):
    assert json.loads(json.dumps(record)) == record
    assert record["schema"] == 1
    assert set(record) == {
        "schema",
        "machine",
        "peak",
        "others",
        "warnings",
        "seconds",
        "groups",
        "measurements",
        "refused",
        "memory",
    }
    facts = record["machine"]
    for name in ("cpu", "threads", "instruction set", "versions", "commit", "date"):
        assert name in facts
    assert {"kronla", "python", "torch"} <= set(facts["versions"])
    assert str(Path.cwd()) not in json.dumps(record) and str(Path.home()) + "/" not in json.dumps(record)
    (m,) = record["measurements"]
    assert set(m) == {field.name for field in fields(Measurement)} | {"fraction"}
    assert {group["group"] for group in record["groups"]} == {"apply", "factors"}
    assert all(set(group) == {field.name for field in fields(Summary)} for group in record["groups"])
    assert [r["group"] for r in record["refused"]] == ["factors"]
    assert set(record["peak"]) == {"flops", "bytes", "measured"} and record["peak"]["flops"] > 0


def test_the_table_shows_targets_refusals_and_warnings(record):
    console = Console(width=200, record=True, file=open("/dev/null", "w", encoding="utf-8"))
    report.show({**record, "warnings": ["a busy machine"]}, console)
    text = console.export_text()
    assert "target 1.2 / 1.0" in text and "REFUSED" in text and "WARNING: a busy machine" in text


@pytest.mark.skipif(not memory.RESET.exists(), reason="the peak of a process is reset in /proc")
def test_memory_is_the_peak_beyond_the_inputs(monkeypatch):
    """64 MiB more on the way are seen, in a process of its own."""
    monkeypatch.setattr(bench_refresh, "inputs", lambda workload: tuple([torch.eye(8)] for _ in range(3)))
    monkeypatch.setitem(memory.WAYS, "more", lambda Ls, Rs, Gs: [torch.ones(1 << 24).sum()])
    assert 60 << 20 < memory.peak_of("more", "tiny") < 80 << 20
    assert memory.peak_of("kronla", "tiny") < 16 << 20
    assert memory._in_a_process("torch", "charlm") > 1 << 20


@pytest.mark.parametrize(("ours", "met"), [(99, True), (100, True), (101, False)])
def test_the_target_of_memory(record, monkeypatch, ours, met):
    monkeypatch.setattr(memory, "_in_a_process", lambda way, workload: (100 if way == "torch" else ours) << 20)
    monkeypatch.setattr(memory, "RESET", Path(__file__))
    found = memory.measure()
    assert found["met"] is met and set(found["bytes"]) == set(memory.WAYS)
    text = readme.section({**record, "memory": found})
    assert f"kronla {ours} MiB" in text and ("torch's ✓" if met else "torch's ✗") in text
    monkeypatch.setattr(memory, "RESET", Path("/no/such/file"))
    assert memory.measure() is None


def test_the_picture_is_drawn(record, tmp_path):
    wide = [asdict(measurement(2.0, f"uniform-{n}", group)) for n in (16, 32) for group in ("factors", "eigh")]
    picture.draw({**record, "measurements": record["measurements"] + wide}, tmp_path / "cpu.png")
    assert (tmp_path / "cpu.png").read_bytes().startswith(b"\x89PNG")


def test_a_part_of_the_cases_is_not_put_on_record(monkeypatch, tmp_path):
    monkeypatch.setattr(report, "run", lambda *arguments: {"refused": []})
    monkeypatch.setattr(report, "show", lambda record, console: None)
    monkeypatch.setattr(readme, "RESULTS", tmp_path / "cpu.json")
    monkeypatch.setattr("sys.argv", ["report", "--quick", "--json", str(tmp_path / "mine.json")])
    assert report.main() == 0
    assert (tmp_path / "mine.json").exists() and not (tmp_path / "cpu.json").exists()


def test_a_full_run_is_put_on_record(record, monkeypatch, tmp_path):
    updated = []
    monkeypatch.setattr(report, "run", lambda *arguments: record)
    monkeypatch.setattr(report, "PICTURE", tmp_path / "cpu.png")
    monkeypatch.setattr(readme, "RESULTS", tmp_path / "cpu.json")
    monkeypatch.setattr(readme, "update", lambda: updated.append(readme.RESULTS.exists()))
    monkeypatch.setattr("sys.argv", ["report"])
    assert report.main() == 1  # a row was refused
    assert json.loads((tmp_path / "cpu.json").read_text(encoding="utf-8")) == record
    assert (tmp_path / "cpu.png").exists() and updated == [True]


def test_the_readme_is_what_the_record_says():
    text = readme.README.read_text(encoding="utf-8")
    assert readme.replaced(text, readme.section(readme.load())) == text, "run python -m bench.readme"


def test_the_section_is_written_between_the_markers(record, tmp_path):
    file, results = tmp_path / "README.md", tmp_path / "cpu.json"
    file.write_text(f"before\n{readme.BEGIN}\nold\n{readme.END}\nafter\n", encoding="utf-8")
    results.write_text(json.dumps(record), encoding="utf-8")
    readme.update(file, results)
    text = file.read_text(encoding="utf-8")
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    mean = next(group["mean"] for group in record["groups"] if group["group"] == "apply")
    assert f"**{mean:.2f}**" in text and "1 refused" in text
    readme.update(file, results)
    assert file.read_text(encoding="utf-8") == text
