"""Progressive resolution: sizes by step, the pictures that are made, resume to the bit together with a teacher."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.pictures import write_folder
from vitral.config import AugmentationConfig, Duration, Preprocessing, ScheduleConfig
from vitral.console import Screen
from vitral.data.loader import Batch
from vitral.errors import UsageError
from vitral.models import build_network
from vitral.models.vit import ViTConfig
from vitral.planning import plan
from vitral.run import Result, preview, start
from vitral.serving.loading import load
from vitral.serving.predictor import Model
from vitral.session import Session
from vitral.training.loop import Progress
from vitral.training.resolution import Resolution, at_size


def test_each_step_has_the_size_of_its_share_of_the_run() -> None:
    made = Resolution.build(("96:0.5", "128x64:0.8"), 20, (160, 160))
    sizes = [made.size(step) for step in range(25)]
    assert sizes == [(96, 96)] * 10 + [(128, 64)] * 6 + [(160, 160)] * 9
    for start_at in (0, 3, 10, 15, 16, 24):
        shown: list[tuple[int, int]] = []
        for size, steps in made.parts(start_at):
            shown += [size] * (25 - start_at - len(shown) if steps is None else steps)
        assert shown == sizes[start_at:]
    whole = sum(height * width for height, width in sizes[:20])
    assert made.pixels(20) == pytest.approx(whole / (20 * 160 * 160))


@pytest.mark.parametrize("words", ["96", "96:1", "96:0", "96:x", "a:0.5", "96:0.5,64:0.4", "96:0.5,64:0.5", "96:1.2"])
def test_words_that_are_no_progressive_resolution_are_refused(words: str) -> None:
    with pytest.raises(UsageError, match=r"progressive resolution.*96:0\.5,128:0\.8"):
        ScheduleConfig(resolution=tuple(words.split(",")))


def test_what_is_said_in_pixels_goes_along() -> None:
    preprocessing = Preprocessing((160, 160), 180)
    augmentation = AugmentationConfig("resize-random", resize=(200, 200), padding=20)
    smaller, varied = at_size((80, 80), preprocessing, augmentation)
    assert (smaller.crop, smaller.resize, varied.resize, varied.padding) == ((80, 80), 90, (100, 100), 10)
    assert at_size((160, 160), preprocessing, augmentation) == (preprocessing, augmentation)


# Whole runs ----------------------------------------------------------------------------------------

SETTINGS: dict[str, object] = {
    "model.name": "ViT-Ti/4", "model.width": 16, "model.depth": 1, "model.num_heads": 2, "model.mlp_dim": 32,
    "model.pool": "token", "model.positions": "learned", "model.dropout": 0.1, "augmentation.mixup": 0.3,
    "augmentation.repeats": 3, "augmentation.three_augment": True, "optimizer.name": "lamb",
    "optimizer.weight_decay": 0.05, "schedule.resolution": ("8:0.4", "12:0.7", "16"), "training.batch_size": 7,
    "training.micro_batch_size": 3, "training.checkpoint_every": Duration(3, "steps"),
    "training.evaluate_every": Duration(5, "steps"), "schedule.duration": Duration(10, "steps"),
    "schedule.decay": "wsd", "schedule.cooldown": Duration(2, "steps"), "runtime.workers": 2, "runtime.device": "cpu",
}  # fmt: skip


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("pictures"), {"train": 9, "val": 3}, (20, 20))


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(5)
    network = build_network(ViTConfig(4, 16, 1, 32, 2, (12, 12), 3))
    torch.nn.init.normal_(network.head.weight)
    return Model(network, Preprocessing((12, 12), 12), ["red", "blue", "green"]).save(
        tmp_path_factory.mktemp("teacher") / "model"
    )


def train(pictures: Path, folder: Path, **changes: object) -> Result:
    words = {**SETTINGS, "data.path": str(pictures), **{name.replace("__", "."): v for name, v in changes.items()}}
    return start(plan("scratch-small", words), folder, Screen(quiet=True))


def digest(folder: Path) -> dict[str, str]:
    names = ["metrics.jsonl", "config.json", *(str(p.relative_to(folder)) for p in folder.glob("model/*"))]
    names += [str(p.relative_to(folder)) for p in sorted(folder.glob("checkpoints/*/*"))[-3:]]
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}


@pytest.fixture(scope="module")
def whole(pictures: Path, teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    assert train(pictures, folder, distillation__teacher=str(teacher)).finished
    return folder


def test_the_network_sees_the_sizes_of_the_plan_and_the_model_has_the_last(pictures: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, ...]] = []

    def inputs(self: Session, batch: Batch) -> Tensor:
        seen.append(batch.images.shape)
        return original(self, batch)

    original = Session.inputs
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Session, "inputs", inputs)
        result = train(pictures, tmp_path / "run", runtime__workers=0, training__micro_batch_size=7)
    assert [shape[1:3] for shape in seen[-10:]] == [(8, 8)] * 4 + [(12, 12)] * 3 + [(16, 16)] * 3
    model = load(result.model)
    assert model.network.config.image_size == model.preprocessing.crop == (16, 16)
    assert model.network.position_embedding.shape[1] == 1 + 16


@pytest.mark.parametrize("step", [4, 8])
def test_a_run_killed_at_any_size_goes_on_bit_for_bit(
    pictures: Path, teacher: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    def die(self: Session, progress: Progress, size: int, waited: float) -> None:
        if progress.step == step:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Session, "tick", die)
        train(pictures, tmp_path / "run", distillation__teacher=str(teacher))
    assert train(pictures, tmp_path / "run", distillation__teacher=str(teacher), runtime__workers=0).finished
    ours, theirs = digest(tmp_path / "run"), digest(whole)
    assert {k: v for k, v in ours.items() if k != "config.json"} == {
        k: v for k, v in theirs.items() if k != "config.json"
    }


def test_a_teacher_may_move_but_not_change(pictures: Path, teacher: Path, whole: Path, tmp_path: Path) -> None:
    kept = json.loads((whole / "config.json").read_text())["distillation"]
    assert (kept["kind"], len(kept["digest"])) == ("hard", 16)
    moved = tmp_path / "elsewhere"
    teacher_model = load(teacher)
    teacher_model.save(moved)
    assert train(pictures, whole, distillation__teacher=str(moved)).finished  # the same weights: the same run
    with torch.no_grad():
        teacher_model.network.head.bias[0] += 1
    changed = teacher_model.save(tmp_path / "changed")
    with pytest.raises(UsageError, match=f"distillation.digest: {kept['digest']} -> "):
        train(pictures, whole, distillation__teacher=str(changed))
    with pytest.raises(UsageError, match="is not the one that this run learns from"):
        train(pictures, tmp_path / "new", distillation__teacher=str(changed), distillation__digest=kept["digest"])


def test_the_plan_says_how_pictures_grow_and_what_that_saves(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planned = plan("scratch-small", {**SETTINGS, "data.path": str(pictures)})
    assert planned.config.model.image_size == (16, 16)
    preview(planned, tmp_path / "run", Screen())
    share = (4 * 8 * 8 + 3 * 12 * 12 + 3 * 16 * 16) / (10 * 16 * 16)
    said = " ".join(capsys.readouterr().out.split())
    assert "training pictures grow: 8x8 until step 4, 12x12 until step 7, then 16x16" in said
    assert f"{share:.0%} of the pixels" in said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schedule__resolution": ("10:0.5", "16")}, "cannot be trained on pictures of 10x10 .*not divisible by patch"),
        ({"schedule__resolution": ("20:0.5", "16")}, "20x20 are larger than the model's 16x16"),
        ({"model__image_size": (24, 24)}, "--progressive-resolution ends with 16, but --image-size says 24x24"),
        ({"model__learn": "head", "augmentation__flip": False, "augmentation__crop": "none", "augmentation__mixup": 0.0,
          "augmentation__cutmix": 0.0, "augmentation__randaugment_layers": 0, "augmentation__three_augment": False,
          "augmentation__erasing": 0.0}, "unvaried pictures are seen once"),
    ],
)  # fmt: skip
def test_sizes_that_cannot_be_are_refused_before_the_first_step(
    pictures: Path, tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        train(pictures, tmp_path / "run", **changes)
    assert not list((tmp_path / "run").glob("checkpoints/*"))
