"""Several labels per picture, from the table to the answer."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitral.cli import main

SMALL = ["--model", "ViT-Ti/4", "--image-size", "8", "--model.width", "16", "--model.depth", "1", "--model.num-heads", "2",
         "--model.mlp-dim", "32", "--batch-size", "8", "--device", "cpu", "--augmentation.min-area", "1",
         "--learning-rate", "1e-2", "--steps", "60", "--training.average", "0"]  # fmt: skip


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures whose channels are bright or dark, each on its own: red, green and blue are three questions."""
    folder = tmp_path_factory.mktemp("several")
    rng = np.random.default_rng(0)
    rows = []
    for i in range(64):
        bright = rng.random(3) < 0.5
        pixels = np.clip(np.where(bright, 220, 40) + rng.integers(-30, 30, (8, 8, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
        labels = ";".join(name for name, on in zip(("red", "green", "blue"), bright, strict=True) if on)
        rows.append((f"{i}.png", labels, "train" if i < 40 else "val" if i < 52 else "test"))
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "labels", "split"), *rows])
    return folder / "labels.csv"


def test_a_model_of_several_labels_is_trained_measured_and_used(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    words = ["train", str(table), "--multi-label", *SMALL, "--out", str(run)]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert main([*words, "--json"]) == 0  # finished already
    trained = json.loads(capsys.readouterr().out)["metrics"]["test"]
    assert f"test: mean average precision {trained['mean_average_precision']:.4f}" in said
    assert trained["mean_average_precision"] > 0.95
    assert main(["evaluate", str(run / "model"), str(table), "--json"]) == 0  # nothing is retyped
    measured = json.loads(capsys.readouterr().out)
    assert {k: measured[k] for k in trained} == trained
    ends = measured["intervals"].get("mean_average_precision")
    if measured["mean_average_precision"] == 1:  # of resamples without a mistake there is no interval
        assert ends is None
    else:
        assert ends["low"] <= measured["mean_average_precision"] <= ends["high"]
    assert measured["calibration"]["count"] == 36  # 12 test pictures, 3 questions each
    assert main(["evaluate", str(run / "model"), str(table), "--abstain-at", "0.9"]) == 2
    assert "--abstain-at is for models that give a picture one label" in capsys.readouterr().err
    assert main(["compare", str(run / "model"), str(run / "model"), str(table), "--json"]) == 0
    compared = json.loads(capsys.readouterr().out)
    assert [row["accuracy"] for row in compared["models"]] == [measured["exact_match"]] * 2
    picture = np.full((8, 8, 3), (220, 40, 220), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "p.png")
    assert main(["predict", str(run / "model"), str(tmp_path / "p.png"), "--json"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert {g["label"] for g in answer["predictions"] if g["probability"] > 0.5} == {"red", "blue"}


def test_several_labels_without_saying_so_are_refused(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(table), *SMALL, "--out", str(tmp_path / "run")]) == 2
    assert "--multi-label" in capsys.readouterr().err
