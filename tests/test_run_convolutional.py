"""Whole runs of convolutional networks: learning, exact resume with the statistics of batch normalisation, fine-tuning."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.convolutional import unlike_new
from tests.pictures import write_folder
from tests.test_run import Stop, digest
from vitral import models
from vitral.cli import main
from vitral.config import Duration
from vitral.console import Screen
from vitral.models.botnet import BoTNetConfig
from vitral.models.efficientnet import EfficientNetConfig
from vitral.models.resnet import ResNet, ResNetConfig
from vitral.planning import plan
from vitral.run import Result, start
from vitral.session import Session
from vitral.training.loop import Progress
from vitral.weights import torchvision
from vitral.weights.mapping import written

TINY = {
    "ResNet-50": ResNetConfig((1, 1, 1, 1), width=4),
    "EfficientNet-B0": EfficientNetConfig(0.2, 0.4),
    "BoTNet-50": BoTNetConfig((1, 1, 1, 2), width=4),
}

SETTINGS: dict[str, object] = {
    # Maps end at one position, and micro-batches of 7 pictures by 3 end with one picture: one value per channel.
    "model.image_size": (16, 16), "training.batch_size": 7, "training.micro_batch_size": 3, "training.average": 0.9,
    "training.log_every": Duration(4, "steps"), "training.evaluate_every": Duration(3, "steps"),
    "training.checkpoint_every": Duration(3, "steps"), "schedule.duration": Duration(6, "steps"),
    "schedule.warmup": Duration(2, "steps"), "optimizer.learning_rate": 1e-3, "runtime.workers": 0, "runtime.device": "cpu",
}  # fmt: skip


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("pictures"), {"train": 9, "val": 3, "test": 4}, (16, 16))


def train(name: str, pictures: Path, folder: Path, **changes: object) -> Result:
    words = {**SETTINGS, "model.name": name, "data.path": str(pictures)}
    words |= {key.replace("__", "."): value for key, value in changes.items()}
    return start(plan("scratch-small", words), folder, Screen(quiet=True))


@pytest.mark.parametrize("name", ["EfficientNet-B0", "BoTNet-50"])  # whose trunk is a ResNet
def test_a_killed_run_continues_bit_for_bit_with_its_statistics(
    name: str, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(models.VARIANTS, name, TINY[name])

    def die(self: Session, progress: Progress, size: int, waited: float) -> None:
        if progress.step == 5:
            raise Stop

    assert train(name, pictures, tmp_path / "whole").finished
    with monkeypatch.context() as patched, pytest.raises(Stop):
        patched.setattr(Session, "tick", die)
        train(name, pictures, tmp_path / "cut")
    assert train(name, pictures, tmp_path / "cut").finished
    assert digest(tmp_path / "cut") == digest(tmp_path / "whole")

    newest = sorted((tmp_path / "whole" / "checkpoints").glob("step-*"))[-1]
    saved = load_file(newest / "tensors.safetensors")
    statistics = [key for key in saved if key.startswith("model/") and "running_" in key]
    assert len(statistics) > 10
    for key in statistics:  # the average's are those of the network, not averaged
        assert torch.equal(saved[key], saved[key.replace("model/", "average/", 1)])
    counts = {int(value) for key, value in saved.items() if key.endswith("num_batches_tracked")}
    assert max(counts) == 6 * 3  # one for each micro-batch ...
    assert 6 * 2 in counts  # ... but where a lone picture has one value


def test_a_run_learns_what_can_be_learned(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(models.VARIANTS, "ResNet-50", TINY["ResNet-50"])
    plain = {"augmentation__mixup": 0.0, "augmentation__cutmix": 0.0, "augmentation__randaugment_layers": 0,
             "schedule__duration": Duration(60, "steps"), "training__evaluate_every": Duration(60, "steps"),
             "optimizer__learning_rate": 1e-2, "training__micro_batch_size": None}  # fmt: skip
    result = train("ResNet-50", pictures, tmp_path / "run", **plain)
    assert result.metrics["test"]["top1"] > 0.9


def test_the_command_trains_a_network_by_its_name(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(models.VARIANTS, "ResNet-50", TINY["ResNet-50"])
    out = str(tmp_path / "run")
    words = ["train", str(pictures), "--model", "ResNet-50", "--steps", "2", "--batch-size", "4", "--device", "cpu"]
    assert main([*words, "--out", out, "--json"]) == 0
    said = capsys.readouterr()
    assert "input 128x128, a position for every 32 pixels" in said.err.replace("\n", " ")
    assert json.loads(said.out)["finished"]
    assert "ResNet-50, input 128x128" in (tmp_path / "run" / "model" / "README.md").read_text(encoding="utf-8")
    assert main(["predict", f"{out}/model", str(next(pictures.rglob("*.png"))), "--json", "--device", "cpu"]) == 0
    assert len(json.loads(capsys.readouterr().out)[0]["predictions"]) == 3


def test_torchvisions_weights_can_be_fine_tuned(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    network = unlike_new(ResNet(ResNetConfig((1, 1, 1, 1), width=4, num_classes=9)))
    place = tmp_path / "published.safetensors"
    save_file(written(torchvision.entries(network.config, None), network.state_dict()), place)
    words = ["finetune", str(pictures), "--model", str(place), "--model.image-size", "32", "--steps", "2"]
    assert main([*words, "--batch-size", "4", "--device", "cpu", "--out", str(tmp_path / "run"), "--json"]) == 0
    said = capsys.readouterr().err.replace("\n", " ")
    assert "a zero head for 3 takes its place" in said
    assert "torchvision layout" in said
    assert "ResNet, input 32x32" in (tmp_path / "run" / "model" / "README.md").read_text(encoding="utf-8")


def test_a_mistyped_name_is_told_from_a_path(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(pictures), "--model", "RestNet-50"]) == 66
    assert "nearest: ResNet-50" in capsys.readouterr().err
    assert main(["train", str(pictures), "--model", "nothing-like-it"]) == 66
    assert "vitral models" in capsys.readouterr().err
