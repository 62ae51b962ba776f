"""The trainings' records: a run is told by what its optimizer does, and trained anew when that has changed."""

import math

import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("rich")

from bench import training_runs
from bench.training_report import steps_to, summarise
from bench.training_runs import WAYS, Run, Store, fingerprint
from kronla import optim

OURS = [way for way in WAYS if "pytorch-optimizer" not in way]


def test_fingerprints_tell_algorithms_apart():
    found = {way: fingerprint(way) for way in OURS}
    assert len(set(found.values())) == len(OURS)
    fingerprint.cache_clear()
    assert {way: fingerprint(way) for way in OURS} == found


def test_a_changed_optimizer_is_trained_anew(tmp_path, monkeypatch):
    store = Store(tmp_path)
    run = Run("vit", "SOAP", 0.01, 0, 10, at=[10], training=[1.0], validation=[2.0], algorithm=fingerprint("SOAP"))
    store.keep(run)
    wanted = Run("vit", "SOAP", 0.01, 0, 10, algorithm=fingerprint("SOAP"))
    assert store.find(wanted) == run and run.final == 2.0
    monkeypatch.setitem(WAYS, "SOAP", lambda params, lr: optim.SOAP(params, lr=lr, update_every=3))
    fingerprint.cache_clear()
    wanted.algorithm = fingerprint("SOAP")
    assert store.find(wanted) is None
    fingerprint.cache_clear()


def test_steps_to_a_loss_lie_between_two_looks():
    run = Run("vit", "SOAP", 0.01, 0, 40, at=[20, 40], training=[3.0, 1.0], validation=[3.0, 1.0])
    assert [steps_to(run, loss) for loss in (3.0, 2.0, 1.0, 0.5)] == [20, 30, 40, math.inf]


def test_the_target_is_adamw_at_its_best_rate():
    def run(way, lr, seed, *losses):
        return Run("vit", way, lr, seed, 20, at=[10, 20], training=[9.0, 9.0], validation=list(losses))

    runs = [run("AdamW", 0.1, 0, 3.0, 2.0), run("AdamW", 0.2, 0, 3.0, 2.5), run("AdamW", 0.1, 1, 3.0, 1.0)]
    runs += [run("SOAP", 0.2, 0, 3.0, 1.0), run("SOAP", 0.2, 1, 3.0, 2.0), run("AdamW", 0.2, 1, 3.0, 0.5)]
    summary = summarise(runs, 20, 15)
    assert [summary[way]["lr"] for way in ("AdamW", "SOAP")] == [0.1, 0.2]
    seeds = summary["SOAP"]["seeds"]
    assert [seeds[seed]["AdamW's final"] for seed in (0, 1)] == [2.0, 1.0]
    assert [seeds[seed]["steps to AdamW's final loss"] for seed in (0, 1)] == [15.0, math.inf]


def test_the_rate_rises_and_falls_to_zero():
    rates = [training_runs.rate(step, 100) for step in range(101)]
    assert max(rates) == rates[4] == 1.0 and rates[0] == 0.2 and rates[100] == 0.0
