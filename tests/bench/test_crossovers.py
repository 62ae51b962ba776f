"""bench.crossovers: it measures what the policy chooses, and says where another way is clearly faster."""

import time

import pytest
import torch

from bench import crossovers


def run(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["crossovers", *map(str, arguments)])
    return crossovers.main()


def test_what_is_taken_is_what_the_policy_takes():
    A, Q = crossovers.drifted(16)
    assert {taken for _, taken, _, _ in crossovers.choices(16, A, Q)} == {"auto"}


@pytest.mark.parametrize(("slower", "code"), [("taken", 1), ("other", 0)])
def test_a_wrong_choice_is_named(monkeypatch, capsys, slower, code):
    ways = {
        name: (lambda seconds=0.02 if name == slower else 0.001: time.sleep(seconds)) for name in ("taken", "other")
    }
    monkeypatch.setattr(crossovers, "choices", lambda n, A, Q: [("a choice", "taken", "other", ways)])
    assert run(monkeypatch, "--sizes", 16, "--rounds", 3) == code
    assert ("wrong here" in capsys.readouterr().out) == (code == 1)


@pytest.mark.parametrize(("clear", "code"), [(0.0, 1), (float("inf"), 0)])
def test_measures_every_choice(monkeypatch, capsys, clear, code):
    """Any ratio is above 0 and none above infinity, NaN neither: the way to a wrong choice is open, the other too."""
    monkeypatch.setattr(crossovers, "CLEAR", clear)
    assert run(monkeypatch, "--sizes", 16, "--rounds", 1) == code
    printed = capsys.readouterr().out
    for choice in ("basis to 0.01", "inverse root, p = 4, rtol = 0.1", "inverse root, p = 4, float64"):
        assert printed.count(choice) == 2
    assert printed.count("inverse root, p = 4") == 6 and printed.count("wrong here") == 8 * code


def test_a_choice_measures_what_its_name_says(monkeypatch):
    """The kernels are called with the dtype, the rtol and the method of the row."""
    called = []
    monkeypatch.setattr(
        crossovers.kronla,
        "inverse_root",
        lambda A, p, *, rtol, method, **options: called.append((p, A.dtype, rtol, method)),
    )
    A, Q = crossovers.drifted(16)
    for choice, taken, other, ways in crossovers.choices(16, A, Q):
        if choice.startswith("inverse root"):
            called.clear()
            ways[taken](), ways[other]()
            dtype = torch.float64 if "float64" in choice else torch.float32
            rtol = 0.1 if "rtol = 0.1" in choice else None
            assert called == [(4, dtype, rtol, "auto"), (4, dtype, rtol, other)]


def test_unknown_size(monkeypatch):
    with pytest.raises(SystemExit, match="n = 17"):
        run(monkeypatch, "--sizes", 17)
    with pytest.raises(SystemExit):
        run(monkeypatch, "--rounds", 0)
