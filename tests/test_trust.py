"""Trust in a number, by command: temperature, intervals, ReaL labels, abstaining, comparing and probing."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.pictures import COLOURS, picture, write_folder
from vitral.cli import main
from vitral.errors import DataError
from vitral.serving import loading
from vitral.serving.loading import load
from vitral.serving.predictor import Model

TINY = ["--model", "ViT-Ti/4", "--image-size", "8", "--model.width", "16", "--model.depth", "1", "--model.num-heads", "2",
        "--model.mlp-dim", "32", "--batch-size", "8", "--device", "cpu", "--workers", "0"]  # fmt: skip


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("pictures"), {"train": 12, "val": 10, "test": 8})


def trained(pictures: Path, folder: Path, *words: str) -> Path:
    assert main(["train", str(pictures), *TINY, *words, "--out", str(folder / "run"), "--quiet"]) == 0
    return folder / "run" / "model"


@pytest.fixture(scope="module")
def model(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(pictures, tmp_path_factory.mktemp("good"), "--steps", "20", "--learning-rate", "1e-2")


@pytest.fixture(scope="module")
def worse(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has learned to call red green and green red."""
    folder = tmp_path_factory.mktemp("worse")
    shutil.copytree(pictures, folder / "swapped")
    for split in ("train", "val", "test"):
        place = folder / "swapped" / split
        for old, new in (("red", "aside"), ("green", "red"), ("aside", "green")):
            (place / old).rename(place / new)
    return trained(folder / "swapped", folder, "--steps", "20", "--learning-rate", "1e-2")


def document(capsys: pytest.CaptureFixture[str], *words: object) -> Any:
    assert main([*map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def logits_of(made: Model, paths: list[Path]) -> torch.Tensor:
    return made.logits(np.stack([made.pixels(path) for path in paths]))


# Temperature ----------------------------------------------------------------------------------------


def test_a_run_fits_the_temperature_and_every_probability_has_it(model: Path, pictures: Path) -> None:
    made = load(model)
    fitted = made.metrics["calibration"]
    assert (fitted["split"], fitted["fitted_on"]) == ("validation", 30)
    assert made.temperature == fitted["temperature"] != 1
    paths = sorted((pictures / "test").rglob("*.png"))
    logits = logits_of(made, paths)
    probabilities = made.predict_proba(paths)
    expected = (logits.double() / made.temperature).softmax(dim=1)
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)
    assert np.array_equal(probabilities.argmax(axis=1), logits.argmax(dim=1))
    assert not np.allclose(probabilities, logits.softmax(dim=1), atol=1e-4)


def test_the_temperature_is_the_likeliest_on_validation(model: Path, pictures: Path) -> None:
    made = load(model)
    paths = sorted((pictures / "val").rglob("*.png"))
    truth = torch.tensor([made.classes.index(path.parent.name) for path in paths])
    logits = logits_of(made, paths).double()

    def loss(temperature: float) -> float:
        return float(torch.nn.functional.cross_entropy(logits / temperature, truth, reduction="sum")) + (
            np.log(temperature) ** 2 / 2
        )

    assert all(loss(made.temperature) < loss(made.temperature * factor) for factor in (0.8, 0.999, 1.001, 1.25))


def test_predict_says_the_calibrated_probability(
    model: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = next((pictures / "test").rglob("*.png"))
    (answer,) = document(capsys, "predict", model, path)
    assert answer["predictions"][0]["probability"] == pytest.approx(float(load(model).predict_proba(path).max()))


def test_too_few_validation_pictures_leave_probabilities_as_they_come(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "few", {"train": 4, "val": 2})
    made = load(trained(folder, tmp_path, "--steps", "1"))
    assert made.metrics["calibration"] == {"temperature": 1.0, "split": "validation", "fitted_on": 6}
    picture_of = next((folder / "val").rglob("*.png"))
    assert np.array_equal(made.predict_proba(picture_of), logits_of(made, [picture_of]).softmax(dim=1))


@pytest.mark.parametrize("value", [0, -1, "1.5", None, True, float("inf"), float("nan")])
def test_a_damaged_temperature_is_refused(model: Path, tmp_path: Path, value: object) -> None:
    shutil.copytree(model, tmp_path / "m")
    metrics = json.loads((model / "metrics.json").read_text())
    metrics["calibration"]["temperature"] = value
    (tmp_path / "m" / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(DataError, match="a temperature from 0.01 to 100"):
        load(tmp_path / "m")


# evaluate -------------------------------------------------------------------------------------------


def test_evaluate_gives_what_the_run_wrote(model: Path, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written = json.loads((model / "metrics.json").read_text())["test"]
    made = document(capsys, "evaluate", model, pictures)
    assert {name: made[name] for name in written} == written
    assert {"top1", "top5", "balanced_accuracy", "ece"} <= set(made["intervals"])
    assert {"nll", "brier", "ece", "before", "bins"} <= set(made["calibration"])
    assert made["calibration"]["before"]["nll"] == pytest.approx(made["loss"], rel=1e-6)


def test_intervals_are_shown_beside_the_numbers(
    model: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = document(capsys, "evaluate", model, pictures)
    ends = made["intervals"]["top1"]
    assert main(["evaluate", str(model), str(pictures)]) == 0
    shown = capsys.readouterr().out
    assert f"top-1 {made['top1']:.2%} ({100 * ends['low']:.1f} to {100 * ends['high']:.1f})" in shown
    assert f"ECE) {made['calibration']['ece']:.2%}" in shown
    assert f"without it ECE {made['calibration']['before']['ece']:.2%}" in shown


def test_abstaining_and_sets_of_classes(model: Path, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = document(capsys, "evaluate", model, pictures, "--abstain-at", "0.6", "--conformal", "0.8")
    line = made["abstain"]
    assert line["threshold"] is None or (line["accuracy"] >= 0.6 and 0 < line["coverage"] <= 1)
    assert set(made["conformal"]["methods"]) == {"lac", "aps", "raps"}


def real_table(folder: Path) -> Path:
    """Pictures named as ImageNet's; ReaL labels make every class right, none right, or leave the picture out."""
    rows = [("path", "label", "real")]
    for i, colour in enumerate([*COLOURS] * 3, start=1):
        name = f"ILSVRC2012_val_{i:08d}.png"
        picture(colour, i).save(folder / name)
        rows.append((name, colour, "0 1 2" if i <= 4 else ""))
    with (folder / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    lists = [[0, 1, 2]] * 4 + [[]] * 46
    (folder / "real.json").write_text(json.dumps(lists))
    return folder / "table.csv"


@pytest.mark.parametrize("column", [True, False])
def test_reassessed_labels_come_from_a_column_or_the_published_file(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], column: bool
) -> None:
    table = real_table(tmp_path)
    made = document(capsys, "evaluate", model, table, "--real", "real" if column else tmp_path / "real.json")
    assert (made["real_top1"], made["real_count"], made["count"]) == (1.0, 4, 9)
    assert made["intervals"]["real_top1"]["high"] == 1.0


def test_the_list_of_a_picture_is_that_of_its_number(tmp_path: Path) -> None:
    from vitral.config import DataConfig
    from vitral.datasets.real import real_labels

    (tmp_path / "real.json").write_text(json.dumps([[7], [], [3, 1]]))
    sources = [f"a/ILSVRC2012_val_{number:08d}.JPEG" for number in (3, 1, 2)]
    assert real_labels(str(tmp_path / "real.json"), DataConfig(), sources, 10) == [(1, 3), (7,), ()]


def test_mistakes_get_a_sentence(
    model: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = real_table(tmp_path)
    (tmp_path / "odd.json").write_text('{"0": [1]}')
    (tmp_path / "large.json").write_text(json.dumps([[999]] * 50))
    (tmp_path / "words.json").write_text(json.dumps([["cat"]] * 50))
    (tmp_path / "short.json").write_text(json.dumps([[0]] * 3))
    evaluate = ["evaluate", model, table, "--real"]
    for words, code, part in [
        ([*evaluate, tmp_path / "none.json"], 66, "there is no file"),
        ([*evaluate, tmp_path / "odd.json"], 65, "is not a list of lists"),
        ([*evaluate, tmp_path / "large.json"], 2, "the model has 3 classes"),
        ([*evaluate, tmp_path / "words.json"], 65, "must be class indices from 0"),
        ([*evaluate, tmp_path / "short.json"], 65, "is none of the 3 pictures"),
        ([*evaluate, "reall"], 2, "did you mean 'real'?"),
        (["evaluate", model, pictures, "--real", "real"], 2, "is a folder: give the path of real.json"),
        (["evaluate", model, pictures, "--abstain-at", "95"], 2, "is no share between 0 and 1"),
        (["evaluate", model, pictures, "--conformal", "x"], 2, "is no share between 0 and 1"),
        (["probe", model, pictures, "--method", "knnn"], 2, "invalid choice: 'knnn'"),
        (["compare", model, pictures], 2, "required: PICTURES"),
    ]:
        assert main([*map(str, words)]) == code, words
        assert part in capsys.readouterr().err, words


# compare --------------------------------------------------------------------------------------------


def test_a_model_compared_with_itself(model: Path, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = document(capsys, "compare", model, model, pictures)
    assert (made["difference"], made["p"], made["flipped"], made["count"]) == (0.0, 1.0, [], 24)


def test_two_models_are_compared_picture_by_picture(
    model: Path, worse: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "both.csv"
    made = document(capsys, "compare", worse, model, pictures, "--predictions", table)
    single = [document(capsys, "evaluate", path, pictures)["top1"] for path in (worse, model)]
    assert [row["accuracy"] for row in made["models"]] == single
    assert made["difference"] == pytest.approx(single[1] - single[0])
    assert made["difference"] > 0.5
    assert made["interval"]["low"] <= made["difference"] <= made["interval"]["high"]
    assert len(made["flipped"]) == made["lost"] + made["gained"]
    assert sum(row["right"] == "B" for row in made["flipped"]) == made["gained"]
    for row in made["flipped"]:
        assert row["label"] == Path(row["path"]).parent.name == row[row["right"].lower()]
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert len(rows) == 24
    assert sum(row["a right"] != row["b right"] for row in rows) == len(made["flipped"])
    assert all((row["label"] == row["b"]) == (row["b right"] == "1") for row in rows)


def test_flipped_pictures_are_listed_on_the_screen(
    model: Path, worse: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", str(worse), str(model), str(pictures)]) == 0
    shown = capsys.readouterr().out
    assert "B less A: +" in shown
    assert "McNemar" in shown


def test_both_models_are_looked_at_before_one_is_measured(
    model: Path,
    worse: Path,
    pictures: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def measured(*_: object) -> None:
        raise AssertionError("it was measured")

    monkeypatch.setattr("vitral.evaluation.evaluate_split", measured)
    other = tmp_path / "other"
    shutil.copytree(worse, other)
    classes = json.loads((other / "classes.json").read_text())
    (other / "classes.json").write_text(json.dumps(classes | {"names": ["larch", "oak", "yew"]}))
    for path, code, said in (
        (tmp_path / "none", 66, "no weights at"),
        (other, 65, f"{other}: no class of the data is a class of the model"),
    ):
        assert main(["compare", str(model), str(path), str(pictures)]) == code
        error = capsys.readouterr().err
        assert said in error
        assert str(path) in error


# probe ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["evaluate", "compare"])
def test_labels_of_a_model_without_names_are_said_to_be_numbers(
    verb: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for k, colour in enumerate(COLOURS):
        (tmp_path / "test" / str(k)).mkdir(parents=True)
        picture(colour, k).save(tmp_path / "test" / str(k) / "0.png")
    named = load(model)
    made = Model(named.network, named.preprocessing, None)
    assert (made.classes, made.named, named.named) == (("0", "1", "2"), False, True)
    assert not made.with_preprocessing(resize=9).named
    monkeypatch.setattr(loading, "load", lambda *_: made)
    models = ["M"] if verb == "evaluate" else ["M", "M"]
    assert main([verb, *models, str(tmp_path)]) == 0
    assert capsys.readouterr().out.count("names no classes: labels are taken as their numbers") == len(models)


def test_a_probe_says_how_many_neighbours_it_asked(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = write_folder(tmp_path / "few", {"train": 3, "test": 1})
    assert main(["probe", str(model), str(few), "--method", "knn"]) == 0
    assert "9 nearest neighbours" in capsys.readouterr().out


def test_features_are_probed_in_every_way(worse: Path, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = document(capsys, "probe", worse, pictures)
    assert (made["split"], made["count"], made["train_count"], made["classes"]) == ("test", 24, 66, 3)
    assert set(made["fewshot"]) == {"1shot", "5shot", "10shot", "std"}  # no class has 25
    assert set(made["knn"]) == {"20nn", "1nn"}
    assert 0 <= made["linear"]["linear"] <= 1


def test_probing_is_that_of_the_features_by_hand(
    model: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    neighbors = pytest.importorskip("sklearn.neighbors", reason="the oracle, scikit-learn, is not installed")
    made = load(model)
    known, asked = (
        [p for s in splits for p in sorted((pictures / s).rglob("*.png"))] for splits in (("train", "val"), ("test",))
    )
    oracle = neighbors.KNeighborsClassifier(1, metric="cosine")
    oracle.fit(made.features(known), [path.parent.name for path in known])
    expected = oracle.score(made.features(asked), [path.parent.name for path in asked])
    found = document(capsys, "probe", model, pictures, "--method", "knn")
    assert found["knn"]["1nn"] == pytest.approx(expected)
    assert "linear" not in found


def test_a_broken_picture_is_left_out_of_train_and_wrong_in_test(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_folder(tmp_path / "p", {"train": 6, "val": 2, "test": 2})
    for split in ("train", "test"):
        (folder / split / "red" / "broken.png").write_bytes(b"no picture")
    made = document(capsys, "probe", model, folder, "--method", "knn")
    assert (made["train_count"], made["count"]) == (24, 7)
    assert made["knn"]["1nn"] <= 6 / 7
    assert len(made["unreadable_pictures"]) == 2


def test_without_a_test_split_validation_is_measured(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_folder(tmp_path / "p", {"train": 10, "val": 3})
    made = document(capsys, "probe", model, folder, "--method", "linear")
    assert (made["split"], made["count"], made["train_count"]) == ("validation", 9, 30)
