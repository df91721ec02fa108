"""Corrupted pictures, other names for classes, classes that compete, kept temperatures and thresholds, speed: by command."""

from __future__ import annotations

import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.pictures import write_folder
from vitral.cli import main
from vitral.data.corruptions import CORRUPTIONS, corrupt
from vitral.datasets.dataset import Split
from vitral.errors import UsageError
from vitral.robustness import ALEXNET, mean_corruption_error, measure_corruptions
from vitral.serving.loading import load

TINY = ["--model", "ViT-Ti/4", "--image-size", "8", "--model.width", "16", "--model.depth", "1", "--model.num-heads", "2",
        "--model.mlp-dim", "32", "--batch-size", "8", "--device", "cpu", "--workers", "0"]  # fmt: skip
NAMES = ["gaussian_noise", "contrast", "jpeg_compression"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("pictures"), {"train": 12, "val": 10, "test": 10})


@pytest.fixture(scope="module")
def trained(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    words = ["train", str(pictures), *TINY, "--steps", "20", "--learning-rate", "1e-2", "--out", str(out), "--quiet"]
    assert main(words) == 0
    return out


@pytest.fixture
def model(trained: Path, tmp_path: Path) -> Path:
    """A copy, so that it may be written to."""
    shutil.copytree(trained / "model", tmp_path / "model")
    return tmp_path / "model"


def document(capsys: pytest.CaptureFixture[str], *words: object) -> Any:
    assert main([*map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys: pytest.CaptureFixture[str], code: int, *words: object) -> str:
    assert main([*map(str, words)]) == code
    return capsys.readouterr().err


# Corruptions ----------------------------------------------------------------------------------------


def test_corrupted_pictures_are_counted_as_by_hand_whatever_the_workers(model: Path, pictures: Path) -> None:
    pytest.importorskip("scipy", reason="scipy is not installed")
    made = load(model)
    paths = sorted((pictures / "test").rglob("*.png"))
    labels = [(made.classes.index(path.parent.name),) for path in paths]
    split = Split([*paths, pictures / "none.png"], [*labels, (0,)])
    found = measure_corruptions(made, split, NAMES, 0, 10**6, seed=3)
    assert found == measure_corruptions(made, split, NAMES, 2, 10**6, seed=3)
    for name in NAMES:
        for level in range(1, 6):
            pixels = [corrupt(made.pixels(path), name, level, 3, i) for i, path in enumerate(paths)]
            answers = made.logits(np.stack(pixels)).argmax(dim=1)
            right = sum(int(answer) == label for answer, (label,) in zip(answers, labels, strict=True))
            assert found["levels"][name][level - 1] == pytest.approx(right / len(split))
    assert found["top1"] == pytest.approx(np.mean([found["mean"][name] for name in NAMES]))
    assert found["interval"]["low"] <= found["top1"] <= found["interval"]["high"]


def test_alexnets_own_corruption_error_is_one_and_half_its_error_is_a_half() -> None:
    assert mean_corruption_error({name: 1 - error for name, error in ALEXNET.items()}) == pytest.approx(1)
    assert mean_corruption_error({name: 1 - error / 2 for name, error in ALEXNET.items()}) == pytest.approx(0.5)
    assert mean_corruption_error({"fog": 0.5}) is None
    assert set(ALEXNET) == set(CORRUPTIONS)


def test_the_published_corruption_error_of_resnet_50_comes_out() -> None:
    """Table 1 of arXiv 1903.12261: ResNet-50's corruption errors in percent, and their mean of 76.7."""
    table = dict(zip(CORRUPTIONS, (80, 82, 83, 75, 89, 78, 80, 78, 75, 66, 57, 71, 85, 77, 77), strict=True))
    top1 = {name: 1 - table[name] / 100 * ALEXNET[name] for name in CORRUPTIONS}
    assert mean_corruption_error(top1) == pytest.approx(0.767, abs=0.003)  # its entries are rounded to whole percents


def test_corruptions_are_measured_by_command_and_shown(
    model: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("scipy", reason="scipy is not installed")
    words = ["evaluate", model, pictures, "--corruption", "contrast", "--corruption", "gaussian_noise"]
    found = document(capsys, *words)["corruptions"]
    assert list(found["levels"]) == ["gaussian_noise", "contrast"]
    assert "mce" not in found
    assert found["clean"] == document(capsys, "evaluate", model, pictures)["top1"]
    assert main([*map(str, words)]) == 0
    assert "the mean of 2 corruptions at 5 levels" in capsys.readouterr().out
    assert "contrast" in refused(capsys, 2, "evaluate", model, pictures, "--corruption", "contrasts")


def test_without_scipy_the_extra_is_named_before_anything_is_measured(
    model: Path, pictures: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    said = refused(capsys, 69, "evaluate", model, pictures, "--corruptions")
    assert "pip install 'vitral[scipy]'" in said


# Names and competing classes ------------------------------------------------------------------------


def test_labels_may_be_positions_or_the_words_of_a_list(
    model: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = document(capsys, "evaluate", model, pictures)
    classes = load(model).classes
    for k, name in enumerate(classes):
        shutil.copytree(pictures / "test" / name, tmp_path / "v2" / str(k))
        shutil.copytree(pictures / "test" / name, tmp_path / "ids" / f"n{9 - k:08d}")
    (tmp_path / "words.txt").write_text("".join(f"n{9 - k:08d} {name}\n" for k, name in enumerate(classes)))
    by_position = document(capsys, "evaluate", model, tmp_path / "v2", "--labels", "indices")
    by_word = document(capsys, "evaluate", model, tmp_path / "ids", "--labels", tmp_path / "words.txt")
    assert by_position["top1"] == by_word["top1"] == wanted["top1"]
    assert by_word["per_class"] == wanted["per_class"]
    assert "no class of the data" in refused(capsys, 65, "evaluate", model, tmp_path / "v2")


def test_only_classes_that_are_there_compete(
    model: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = load(model)
    for name in ("green", "red"):
        shutil.copytree(pictures / "test" / name, tmp_path / "two" / name)
    found = document(capsys, "evaluate", model, tmp_path / "two", "--only-present-classes")
    paths = sorted((tmp_path / "two").rglob("*.png"))
    kept = [made.classes.index(name) for name in ("green", "red")]
    scores = made.logits(np.stack([made.pixels(path) for path in paths]))[:, kept]
    answers = [("green", "red")[k] for k in scores.argmax(dim=1)]
    assert found["top1"] == pytest.approx(np.mean([a == p.parent.name for a, p in zip(answers, paths, strict=True)]))
    truth = torch.tensor([("green", "red").index(path.parent.name) for path in paths])
    loss = torch.nn.functional.cross_entropy(scores.double(), truth)
    assert found["loss"] == pytest.approx(float(loss), rel=1e-6)
    assert set(found["per_class"]) == {"green", "red"}
    with pytest.raises(UsageError, match="save the whole model"):
        made.among(kept).save(tmp_path / "part")


def test_competing_classes_of_competing_classes_are_the_same_columns(model: Path) -> None:
    made = load(model)
    pixels = np.zeros((1, *made.preprocessing.crop, 3), dtype=np.uint8)
    twice = made.among([2, 0]).among([1])
    assert twice.classes == (made.classes[0],)
    assert torch.equal(twice.logits(pixels), made.logits(pixels)[:, [0]])


# Kept in the model ----------------------------------------------------------------------------------


def test_a_temperature_is_fitted_later_and_the_older_numbers_are_kept(
    model: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (model / "metrics.json").read_bytes()
    found = document(capsys, "evaluate", model, pictures, "--fit-temperature")
    after = load(model)
    assert (model / "metrics-1.json").read_bytes() == before
    assert after.metrics["calibration"]["fitted_on"] == 30
    assert after.temperature == found["calibration"]["temperature"]
    paths = sorted((pictures / "test").rglob("*.png"))
    truth = torch.tensor([after.classes.index(path.parent.name) for path in paths])
    logits = after.logits(np.stack([after.pixels(path) for path in paths])).double()

    def loss(temperature: float) -> float:
        likelihood = torch.nn.functional.cross_entropy(logits / temperature, truth, reduction="sum")
        return float(likelihood) + math.log(temperature) ** 2 / 2

    assert all(loss(after.temperature) < loss(after.temperature * factor) for factor in (0.9, 0.999, 1.001, 1.1))
    card = (model / "README.md").read_text()
    assert f"Later: temperature {after.temperature:.3f}, fitted on 30 test pictures" in card
    document(capsys, "evaluate", model, pictures, "--fit-temperature")
    assert (model / "metrics-1.json").read_bytes() == before
    assert (model / "metrics-2.json").exists()


def test_predict_answers_from_the_kept_threshold_on(
    model: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["predict", model, pictures / "test" / "red", "--abstain-at-accuracy", "0.6"]
    assert "knows no threshold for accuracy 0.6" in refused(capsys, 65, *asked)
    line = document(capsys, "evaluate", model, pictures, "--abstain-at", "0.6", "--write")["abstain"]
    answers = document(capsys, *asked)
    for answer in answers:
        assert answer["abstained"] == (answer["predictions"][0]["probability"] < line["threshold"])
    assert "only for 0.6" in refused(capsys, 65, *asked[:-1], "0.9")
    document(capsys, "evaluate", model, pictures, "--fit-temperature")
    assert "for none" in refused(capsys, 65, *asked)


def test_predict_gives_no_answer_below_a_probability(
    model: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["predict", model, pictures / "test", "--abstain-below"]
    shares = [row["predictions"][0]["probability"] for row in document(capsys, *asked, "0.5")]
    line = float(np.median(shares))
    answers = document(capsys, *asked, line)
    assert [row["abstained"] for row in answers] == [share < line for share in shares]
    assert main([*map(str, asked), str(line)]) == 0
    assert capsys.readouterr().out.count("no answer: it is not sure enough") == sum(row["abstained"] for row in answers)
    assert "abstained" not in document(capsys, *asked[:-1])[0]


def test_what_cannot_be_kept_is_refused_before_anything_is_measured(
    model: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(*_: object) -> None:
        raise AssertionError("it was measured")

    assert main(["convert", str(model), "--to", "timm", "--out", str(tmp_path / "timm"), "--quiet"]) == 0
    few = write_folder(tmp_path / "few", {"test": 2})
    assert "at least 25" in refused(capsys, 65, "evaluate", model, few, "--fit-temperature")
    monkeypatch.setattr("vitral.evaluation.evaluate_split", measured)
    for words, part in [
        ([tmp_path / "timm", pictures, "--fit-temperature"], "vitral convert"),
        ([model, pictures, "--write"], "name the accuracy"),
        ([model, pictures, "--fit-temperature", "--resize", "16"], "leave --resize"),
        ([model, pictures, "--fit-temperature", "--only-present-classes"], "all of the model's classes"),
        ([model, pictures, "--seed", "-1"], "--seed must be 0 or more"),
        ([model, pictures, "--report", "page.txt"], "ends in .html"),
        ([model, pictures, "--report", tmp_path / "no" / "page.html"], "there is no folder"),
        ([model, pictures, "--predictions", tmp_path], "ends in .csv"),
        ([model, pictures, "--predictions", tmp_path / "no" / "table.csv"], "there is no folder"),
    ]:
        assert part in refused(capsys, 2, "evaluate", *words), words
    for words, part in [
        (["--abstain-below", "1.5"], "is no share"),
        (["--abstain-below", "0.5", "--abstain-at-accuracy", "0.5"], "give one of the two"),
    ]:
        assert part in refused(capsys, 2, "predict", model, pictures / "test", *words)


def test_training_pictures_fit_no_temperature(model: Path, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (model / "metrics.json").read_bytes()
    said = refused(capsys, 2, "evaluate", model, pictures, "--split", "train", "--fit-temperature")
    assert "too sure" in said
    assert (model / "metrics.json").read_bytes() == before


@pytest.mark.parametrize("line", [{"wanted": 0.9}, {"wanted": 0.9, "threshold": 7}, {"wanted": 0.9, "threshold": "x"}])
def test_a_damaged_threshold_is_refused(
    model: Path, pictures: Path, capsys: pytest.CaptureFixture[str], line: dict[str, Any]
) -> None:
    metrics = json.loads((model / "metrics.json").read_text())
    (model / "metrics.json").write_text(json.dumps(metrics | {"abstain": [3, line]}))
    said = refused(capsys, 65, "predict", model, pictures / "test", "--abstain-at-accuracy", "0.9")
    assert "must be from 0 to 1" in said


# Speed ----------------------------------------------------------------------------------------------


def test_speed_says_what_was_measured(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["speed", model, "--batches", "3,1", "--rounds", "2", "--seconds", "0.001"]
    made = document(capsys, *words)
    assert [row["batch"] for row in made["rates"]] == [1, 3]
    for row in made["rates"]:
        rate = row["pictures_per_second"]
        assert 0 < rate["least"] <= rate["median"] <= rate["greatest"]
    assert 0 < made["latency"]["network"]["p50"] <= made["latency"]["network"]["p95"]
    network = load(model).network
    assert made["parameters"] == sum(parameter.numel() for parameter in network.parameters())
    assert made["macs"] > 0
    assert main([*map(str, words)]) == 0
    assert "pictures/s" in capsys.readouterr().out


@pytest.mark.slow
def test_the_first_answer_of_a_new_process_is_timed_and_its_failure_told(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vitral.commands.speed.STARTS", 1)
    words = ["speed", model, "--batches", "1", "--rounds", "1", "--seconds", "0.001", "--start"]
    start = document(capsys, *words)["start"]
    assert start["all"] == [start["seconds"]]
    assert start["seconds"] > 0
    monkeypatch.setattr("vitral.commands.speed._photograph", lambda: b"no picture")
    monkeypatch.setattr("vitral.commands.speed._measure", lambda *_: {"rates": [], "latency": {}, "rounds": 1})
    assert "leave --start out" in refused(capsys, 69, *words)


@pytest.mark.parametrize("words", [["--batches", "0"], ["--batches", "x"], ["--rounds", "0"], ["--seconds", "0"]])
def test_speed_refuses_what_it_cannot_measure(
    model: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert refused(capsys, 2, "speed", model, *words)
