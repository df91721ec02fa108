"""Learning the head alone: the same bits with and without what is kept, each picture seen once, exact resume."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.pictures import write_folder
from tests.test_run import SETTINGS, Stop, digest
from vitral.cli import main
from vitral.config import Duration
from vitral.console import Screen
from vitral.errors import DataError, UsageError
from vitral.evaluation import represent_split
from vitral.planning import plan
from vitral.run import Result, start
from vitral.run_folder import finished_step
from vitral.serving.loading import load
from vitral.serving.predictor import Model
from vitral.session import Session
from vitral.training.interrupt import Interrupt
from vitral.training.loop import Progress

FROZEN: dict[str, object] = {
    # SETTINGS keeps dropout and a batch that 21 pictures are no multiple of; only what varies a picture is turned off
    **{name: value for name, value in SETTINGS.items() if not name.startswith("augmentation.")},
    "augmentation.crop": "none", "augmentation.flip": False, "augmentation.randaugment_layers": 0,
    "augmentation.mixup": 0.0, "augmentation.cutmix": 0.0, "model.learn": "head", "training.batch_size": 8,
    "optimizer.learning_rate": 0.05, "optimizer.weight_decay": 0.01,
}  # fmt: skip

PROBE: dict[str, object] = {
    "optimizer.name": "lbfgs", "optimizer.weight_decay": 0.0, "training.average": 0.0, "loss.label_smoothing": 0.0,
    "schedule.duration": Duration(11, "steps"), "schedule.warmup": Duration(0, "steps"),
}  # fmt: skip


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_folder(tmp_path_factory.mktemp("pictures"), {"train": 7, "val": 3, "test": 4})
    shutil.copy(next((root / "train" / "red").iterdir()), root / "train" / "red" / "copy.png")
    return root


def train(pictures: Path, folder: Path, **changes: object) -> Result:
    words = {**FROZEN, "data.path": str(pictures), **{name.replace("__", "."): v for name, v in changes.items()}}
    return start(plan("scratch-small", words), folder, Screen(quiet=True))


def probe(pictures: Path, folder: Path, **changes: object) -> Result:
    return train(pictures, folder, **{name.replace(".", "__"): value for name, value in PROBE.items()}, **changes)


@pytest.fixture(scope="module")
def kept(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "kept"
    assert train(pictures, folder).finished
    return folder


class Seen:
    """Counts the pictures that go through a network."""

    def __init__(self, patched: pytest.MonkeyPatch) -> None:
        self.pictures = 0
        real = Model.representations

        def counted(model: Model, pixels: np.ndarray) -> torch.Tensor:
            self.pictures += len(pixels)
            return real(model, pixels)

        patched.setattr(Model, "representations", counted)
        patched.setattr(Model, "logits", lambda *_: pytest.fail("a picture went through the network once more"))


def but_config(folder: Path) -> dict[str, str]:
    return {name: sha for name, sha in digest(folder).items() if name != "config.json"}


def test_what_is_kept_changes_no_bit(pictures: Path, kept: Path, tmp_path: Path) -> None:
    assert train(pictures, tmp_path / "run", training__keep_features=False).finished
    assert not (tmp_path / "run" / "features").exists()
    assert but_config(tmp_path / "run") == but_config(kept)


def test_it_learns_what_the_whole_network_with_all_but_the_head_frozen_learns(
    pictures: Path, kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    still = {"model__dropout": 0.0, "model__stochastic_depth": 0.0}
    train(pictures, tmp_path / "frozen", **still)
    monkeypatch.setattr("vitral.run.frozen.applies", lambda *_: False)
    train(pictures, tmp_path / "whole", **still)
    ours, theirs = (
        load_file(tmp_path / n / "checkpoints/step-00000020/tensors.safetensors") for n in ("frozen", "whole")
    )
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, atol=1e-5, rtol=1e-4, msg=name)
    assert not torch.equal(ours["model/head.weight"], torch.zeros_like(ours["model/head.weight"]))


def test_each_picture_goes_through_the_network_once(
    pictures: Path, kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Seen(monkeypatch)
    assert train(pictures, tmp_path / "run").finished
    assert seen.pictures == 3 * (7 + 3 + 4)  # the copy of a picture is not seen
    assert digest(tmp_path / "run") == digest(kept)
    seen.pictures = 0
    assert train(pictures, tmp_path / "run").finished
    assert seen.pictures == 0
    assert probe(pictures, tmp_path / "probe", runtime__features=str(tmp_path / "run" / "features")).finished
    assert seen.pictures == 0  # another run, the same weights and pictures


@pytest.mark.parametrize("change", ["weights", "preprocessing", "picture", "damage"])
def test_what_is_kept_counts_only_for_the_same_weights_preprocessing_and_picture(
    pictures: Path, kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    features = tmp_path / "features"
    shutil.copytree(kept / "features", features)
    shutil.copytree(pictures, tmp_path / "pictures")
    others: dict[str, object] = {"runtime__features": str(features)}
    expected = 3 * (7 + 3 + 4)
    if change == "weights":
        others["training__seed"] = 1
    elif change == "preprocessing":
        others["preprocessing__std"] = (0.6, 0.5, 0.5)
    elif change == "picture":
        paths = sorted((tmp_path / "pictures" / "val").rglob("*.png"))
        shutil.copy(paths[0], paths[1])  # of a name that is known, with content that is known too
        paths[2].write_bytes(paths[2].read_bytes() + b"\0")  # content that is new
        expected = 1
    else:
        part = max(features.rglob("*.safetensors"), key=lambda path: path.stat().st_size)
        data = bytearray(part.read_bytes())
        data[-1] ^= 1
        part.write_bytes(data)
        expected = 3 * 7
    seen = Seen(monkeypatch)
    assert train(tmp_path / "pictures", tmp_path / "run", schedule__duration=Duration(1, "steps"), **others).finished
    assert seen.pictures == expected


@pytest.mark.parametrize("solved", [False, True])
def test_a_run_stopped_in_any_part_goes_on_bit_for_bit(
    pictures: Path, kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, solved: bool
) -> None:
    run = probe if solved else train
    whole = kept
    if solved:
        whole = tmp_path / "whole"
        assert probe(pictures, whole).finished
    asked = 0

    def impatient(self: Interrupt) -> bool:
        nonlocal asked
        asked += 1
        if asked in (1, 3, 5, 9, 20, 33):
            self.received = signal.SIGTERM
        return self.received is not None

    monkeypatch.setattr(Interrupt, "__call__", impatient)
    starts = 0
    while not run(pictures, tmp_path / "run").finished:
        starts += 1
        assert starts < 10
    assert starts > 2
    assert digest(tmp_path / "run") == digest(whole)


def test_a_killed_run_goes_on_bit_for_bit(
    pictures: Path, kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(self: Session, progress: Progress, size: int, waited: float) -> None:
        if progress.step == 8:
            raise Stop

    with monkeypatch.context() as patched, pytest.raises(Stop):
        patched.setattr(Session, "tick", die)
        train(pictures, tmp_path / "run")
    assert train(pictures, tmp_path / "run").finished
    assert digest(tmp_path / "run") == digest(kept)


def test_a_probe_is_scikit_learns_logistic_regression(pictures: Path, tmp_path: Path) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    result = probe(pictures, tmp_path / "run")
    dataset = plan("scratch-small", {**FROZEN, "data.path": str(pictures)}).dataset
    model = load(result.model)
    rows = {
        name: represent_split(model, split, 0, 10**8)[0].astype(np.float64) for name, split in dataset.splits.items()
    }
    labels = {name: np.array([own[0] for own in split.labels]) for name, split in dataset.splits.items()}
    mean, std = rows["train"].mean(axis=0), rows["train"].std(axis=0) + 1e-5
    losses = {}
    for decay in (10 ** (-power / 2) for power in range(11)):
        fitted = linear_model.LogisticRegression(C=1 / (decay * len(labels["train"])), max_iter=5000, tol=1e-9)
        fitted.fit((rows["train"] - mean) / std, labels["train"])
        p = fitted.predict_proba((rows["validation"] - mean) / std)
        right = (p.argmax(axis=1) == labels["validation"]).mean()
        loss = -np.log(p[np.arange(len(p)), labels["validation"]]).mean()
        losses[decay] = (-right, loss, fitted)
    *best, fitted = min(losses.values(), key=lambda found: found[:2])
    assert result.metrics["validation"]["top1"] == -best[0]
    assert result.metrics["validation"]["loss"] == pytest.approx(best[1], rel=1e-2)
    theirs = fitted.decision_function((rows["test"] - mean) / std)
    ours = rows["test"] @ model.network.head.weight.detach().double().numpy().T
    ours += model.network.head.bias.detach().double().numpy()
    np.testing.assert_allclose(
        ours - ours.mean(axis=1, keepdims=True), theirs - theirs.mean(axis=1, keepdims=True), rtol=1e-2, atol=5e-3
    )


def test_evaluate_says_of_the_model_folder_what_the_run_measured(
    pictures: Path, kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = json.loads((kept / "model" / "metrics.json").read_text())["test"]
    assert main(["evaluate", str(kept / "model"), str(pictures), "--json", "--device", "cpu"]) == 0
    measured = json.loads(capsys.readouterr().out)
    names = ("top1", "loss", "count", "per_class", "calibration")
    assert {name: measured[name] for name in names} == {name: written[name] for name in names}


def test_an_unreadable_picture_stops_the_run_at_once_or_is_left_out(pictures: Path, tmp_path: Path) -> None:
    shutil.copytree(pictures, tmp_path / "pictures")
    for split in ("train", "test"):
        bad = sorted((tmp_path / "pictures" / split / "red").iterdir())[0]
        bad.write_bytes(bad.read_bytes()[:40])
    with pytest.raises(DataError, match=r"train/red/\d+.png cannot be read .*--on-bad-image skip"):
        train(tmp_path / "pictures", tmp_path / "run")
    result = train(tmp_path / "pictures", tmp_path / "run", data__on_bad_image="skip")
    assert result.metrics["test"]["unreadable"] == 1
    train(tmp_path / "pictures", tmp_path / "other", data__on_bad_image="skip", training__keep_features=False)
    assert but_config(tmp_path / "run") == but_config(tmp_path / "other")
    assert probe(tmp_path / "pictures", tmp_path / "probe", data__on_bad_image="skip").finished


def test_a_finished_probe_without_validation_pictures_is_finished(tmp_path: Path) -> None:
    pictures = write_folder(tmp_path / "pictures", {"train": 3, "test": 2})
    changes = {"data__validation_fraction": 0.0}
    probe(pictures, tmp_path / "run", **changes)
    words = {**FROZEN, **PROBE, "data.path": str(pictures), "data.validation_fraction": 0.0}
    assert finished_step(tmp_path / "run", plan("scratch-small", words)) == 1


def test_a_probe_takes_no_length(pictures: Path, kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["finetune", str(pictures), "--recipe", "linear-probe", "--model", str(kept / "model"), "--device", "cpu"]
    assert main([*words, "--epochs", "3"]) == 2
    assert "leave --epochs, --steps" in capsys.readouterr().err


def test_what_cannot_be_solved_is_refused(pictures: Path, tmp_path: Path) -> None:
    for changes in ({"model__learn": "all"}, {"augmentation__flip": True}):
        with pytest.raises(UsageError, match="optimizer lbfgs solves a head alone"):
            probe(pictures, tmp_path / "run", **changes)
    with pytest.raises(UsageError, match=r"leave --training\.patience out"):
        probe(pictures, tmp_path / "run", training__patience=2)
    for recipe in ("head-only", "linear-probe"):
        with pytest.raises(UsageError, match="needs weights to start from"):
            plan(recipe, {"data.path": str(pictures), "runtime.device": "cpu"})


def test_a_solved_head_counts_pictures_as_other_runs_show_and_weigh_them(pictures: Path, tmp_path: Path) -> None:
    """With class weights that make a class count nothing it is never the answer; with balance as with its weights."""
    made = probe(pictures, tmp_path / "none", loss__class_weights=("blue=0",))
    assert made.metrics["validation"]["per_class"]["blue"]["top1"] == 0
    balanced = probe(pictures, tmp_path / "balance", data__balance=1.0)
    weighted = probe(pictures, tmp_path / "weights", loss__class_weights=("balanced",))
    a, b = (load_file(made.model / "model.safetensors")["head.weight"] for made in (balanced, weighted))
    assert torch.allclose(a, b, atol=5e-3)  # solved to the end, by another way
