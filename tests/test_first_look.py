"""The first look of a fine-tuning: the head alone as a candidate, and pictures that must not be mirrored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.pictures import write_folder
from tests.test_run import Stop, digest
from vitral import first_look
from vitral.config import Duration, Preprocessing
from vitral.console import Screen
from vitral.data.decode import decode
from vitral.evaluators.probe import DECAYS
from vitral.logistic import STD_EPS, Logistic
from vitral.models.vit import VisionTransformer, ViTConfig
from vitral.planning import plan
from vitral.run import Result, start
from vitral.serving.loading import load
from vitral.serving.predictor import Model

WORDS: dict[str, Any] = {
    "schedule.duration": Duration(2, "steps"), "training.batch_size": 4, "runtime.device": "cpu", "runtime.workers": 0,
    "training.evaluate_every": Duration(1, "steps"),
}  # fmt: skip


class Said(Screen):
    """A screen whose decisions can be looked at."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.decisions: list[str] = []

    def decide(self, sentence: str) -> None:
        self.decisions.append(sentence)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network whose features tell colours and places apart, though nothing has been learned."""
    torch.manual_seed(0)
    config = ViTConfig(image_size=(8, 8), patch_size=4, width=16, depth=1, num_heads=1, mlp_dim=16, num_classes=3)
    network = VisionTransformer(config)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    folder = tmp_path_factory.mktemp("weights")
    return Model(network, Preprocessing(crop=(8, 8), resize=8), ("x", "y", "z")).save(folder / "model")


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("colours"), {"train": 12, "val": 10, "test": 4})


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes: which half of the picture is bright."""
    root, rng = tmp_path_factory.mktemp("sides"), np.random.default_rng(0)
    for split, count in (("train", 30), ("val", 20)):
        for place, name in enumerate(("left", "right")):
            (root / split / name).mkdir(parents=True)
            for k in range(count):
                pixels = rng.integers(0, 60, (8, 8, 3), dtype=np.uint8)
                pixels[:, 4 * place : 4 * place + 4] += 150
                Image.fromarray(pixels).save(root / split / name / f"{k}.png")
    return root


def finetune(pictures: Path, weights: Path, folder: Path, screen: Screen | None = None, **changes: Any) -> Result:
    words = WORDS | {"data.path": str(pictures), "model.weights": str(weights)}
    words |= {name.replace("__", "."): value for name, value in changes.items()}
    return start(plan("finetune", words), folder, screen or Said())


def test_the_head_alone_is_kept_where_nothing_after_it_is_better(colours: Path, weights: Path, tmp_path: Path) -> None:
    said = Said()
    made = finetune(colours, weights, tmp_path / "run", said, optimizer__learning_rate=1e-9)
    assert made.finished
    assert made.metrics["best_step"] == 0
    assert made.metrics["validation"]["top1"] > 0.8
    assert any("the head alone, solved on pictures as they are" in sentence for sentence in said.decisions)
    first = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    assert (first["step"], first["validation_top1"]) == (0, made.metrics["validation"]["top1"])
    # The gradient of mean cross-entropy + decay / 2 |W|^2 is 0 there, for one of the decays: written out in NumPy.
    before, after = load(weights), load(made.model)
    paths = [(path, k) for k, name in enumerate(after.classes) for path in sorted((colours / "train" / name).iterdir())]
    x = before.features([decode(path) for path, _ in paths]).astype(np.float64)
    std = x.std(axis=0) + STD_EPS
    x = (x - x.mean(axis=0)) / std
    scores = np.stack([after.logits(after.pixels(path)[None].copy()).numpy()[0] for path, _ in paths]).astype(
        np.float64
    )
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    error = shares / shares.sum(axis=1, keepdims=True) - np.eye(3)[[k for _, k in paths]]
    head = after.network.head.weight.detach().numpy().T.astype(np.float64) * std[:, None]
    slopes = [np.abs(x.T @ error / len(x) + decay * head).max() for decay in DECAYS]
    assert min(slopes) < 1e-5
    assert np.abs(error.mean(axis=0)).max() < 1e-5  # the bias is free of decay


def test_what_learns_afterwards_does_not_know_of_it(colours: Path, weights: Path, tmp_path: Path) -> None:
    with_it = finetune(colours, weights, tmp_path / "with", optimizer__learning_rate=1e-2)
    without = finetune(
        colours, weights, tmp_path / "without", optimizer__learning_rate=1e-2, training__first_look=False
    )
    assert with_it.metrics["best_step"] == 0
    assert without.metrics["best_step"] > 0
    last = [
        sorted((tmp_path / name / "checkpoints").glob("*/*.safetensors"))[-1].read_bytes()
        for name in ("with", "without")
    ]
    assert last[0] == last[1]


@pytest.mark.parametrize(("asked", "flips"), [({}, False), ({"augmentation__flip": True}, True)])
def test_pictures_that_are_other_classes_in_the_mirror_are_not_mirrored(
    asked: dict[str, Any], flips: bool, sides: Path, weights: Path, tmp_path: Path
) -> None:
    said = Said()
    finetune(sides, weights, tmp_path / "run", said, **asked)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["augmentation"]["flip"] is flips
    assert (
        any("no picture is mirrored: of 40 validation pictures" in sentence for sentence in said.decisions) is not flips
    )
    finetune(sides, weights, tmp_path / "run", **asked)  # the same command again finds the same run


def test_colours_are_mirrored_as_ever(colours: Path, weights: Path, tmp_path: Path) -> None:
    finetune(colours, weights, tmp_path / "run")
    assert json.loads((tmp_path / "run" / "config.json").read_text())["augmentation"]["flip"] is True


@pytest.mark.parametrize("step", [0, 1])
def test_a_run_killed_in_or_after_its_first_look_ends_with_the_same_bits(
    step: int, sides: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vitral.session import Session

    def die(*_: Any, **__: Any) -> None:
        raise Stop

    changes = {"training__checkpoint_every": Duration(1, "steps")}
    finetune(sides, weights, tmp_path / "whole", **changes)
    with monkeypatch.context() as patched, pytest.raises(Stop):
        if step:
            patched.setattr(Session, "tick", die)
        else:
            patched.setattr(first_look, "_look_at_mirrored", die)
        finetune(sides, weights, tmp_path / "run", **changes)
    assert finetune(sides, weights, tmp_path / "run", **changes).finished
    assert digest(tmp_path / "run") == digest(tmp_path / "whole")


def test_a_signal_in_the_first_look_stops_and_the_next_start_goes_on(
    colours: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(first_look, "represent", lambda *_: None)  # as it answers when it was interrupted
        assert not finetune(colours, weights, tmp_path / "run").finished
    assert finetune(colours, weights, tmp_path / "run").finished


def test_pictures_may_count_differently_in_a_solved_head() -> None:
    """At the minimum the gradient of the weighted mean is 0, written out in NumPy."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 60)
    rows = rng.normal(size=(60, 5)) + labels[:, None]
    counts = np.array([1.0, 4.0, 0.5])[labels]
    made = Logistic(rows, labels, 3, 0.1, counts=counts)
    x = np.pad((rows - rows.mean(axis=0)) / (rows.std(axis=0) + STD_EPS), ((0, 0), (0, 1)), constant_values=1.0)
    w = made.weights.numpy()
    shares = np.exp(x @ w)
    error = (shares / shares.sum(axis=1, keepdims=True) - np.eye(3)[labels]) * (counts / counts.sum())[:, None]
    slope = x.T @ error + 0.1 * np.pad(w[:-1], ((0, 1), (0, 0)))
    assert np.abs(slope).max() < 1e-6


def test_where_solving_would_take_too_long_there_is_no_first_look(
    colours: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_look, "MOST", 36 * 16 * 3 - 1)
    monkeypatch.setattr(first_look, "represent", lambda *_: pytest.fail("pictures went through the network"))
    assert finetune(colours, weights, tmp_path / "run").metrics["best_step"] > 0
