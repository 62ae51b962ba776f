"""bench.crossovers: it measures what the policy chooses, and says where another way is clearly faster."""

import time

import pytest

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


def test_measures(monkeypatch, capsys):
    assert run(monkeypatch, "--sizes", 16, "--rounds", 1) in (0, 1)
    assert capsys.readouterr().out.count("basis to 0.01") == 2


def test_unknown_size(monkeypatch):
    with pytest.raises(SystemExit, match="n = 17"):
        run(monkeypatch, "--sizes", 17)
    with pytest.raises(SystemExit):
        run(monkeypatch, "--rounds", 0)
