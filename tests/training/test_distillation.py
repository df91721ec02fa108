"""Distillation: the paper's two losses written out, the teacher's view of the student's pictures, whole runs."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.pictures import write_folder
from vitral import teacher as teachers
from vitral.config import DataConfig, DistillationConfig, Duration, LossConfig, Preprocessing, RunConfig
from vitral.console import Screen
from vitral.data.preprocessing import normalise
from vitral.errors import UsageError
from vitral.models import build_network
from vitral.models.deit import DistilledConfig
from vitral.models.vit import ViTConfig
from vitral.planning import plan
from vitral.run import Result, start
from vitral.serving.loading import load
from vitral.serving.predictor import Model
from vitral.training.distillation import Teacher, build_distillation, hard, soft


def softmax(row: list[float], temperature: float) -> list[float]:
    powers = [math.exp(score / temperature) for score in row]
    return [power / sum(powers) for power in powers]


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_the_soft_loss_is_equation_2s(temperature: float) -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(4, 5), torch.randn(4, 5)
    for i, loss in enumerate(soft(student, teacher, temperature).tolist()):
        p, q = softmax(teacher[i].tolist(), temperature), softmax(student[i].tolist(), temperature)
        expected = temperature**2 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
        assert loss == pytest.approx(expected, rel=1e-4)


def test_the_hard_loss_is_equation_3s() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(4, 5), torch.randn(4, 5)
    for i, loss in enumerate(hard(student, teacher).tolist()):
        likeliest = max(range(5), key=lambda k: float(teacher[i, k]))
        assert loss == pytest.approx(-math.log(softmax(student[i].tolist(), 1.0)[likeliest]), rel=1e-5)


def test_alpha_weighs_teacher_against_labels() -> None:
    student, teacher, labels = torch.randn(4, 5), torch.randn(4, 5), torch.rand(4)
    for kind, loss in (("hard", hard(student, teacher)), ("soft", soft(student, teacher, 3.0))):
        distil = build_distillation(DistillationConfig("t", kind, alpha=0.25))  # type: ignore[arg-type]
        assert distil is not None
        torch.testing.assert_close(distil(labels, student, teacher), 0.75 * labels + 0.25 * loss)
    assert build_distillation(DistillationConfig()) is None


def test_a_student_that_answers_as_its_teacher_has_no_soft_loss() -> None:
    scores = torch.randn(3, 6)
    torch.testing.assert_close(soft(scores + 4, scores, 3.0), torch.zeros(3), atol=1e-5, rtol=0)


def test_the_teacher_sees_pictures_prepared_for_its_own_eyes() -> None:
    ours = Preprocessing((8, 8), 8, mean=(0.5, 0.4, 0.3), std=(0.5, 0.25, 0.2))
    theirs = Preprocessing((8, 8), 8, mean=(0.1, 0.2, 0.3), std=(0.2, 0.3, 0.4))
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8))
    teacher = Teacher(lambda images: images.flatten(1), ours, theirs, torch.tensor([5, 0, 190]))
    seen = normalise(pixels, theirs.mean, theirs.std).flatten(1)
    scores = teacher(normalise(pixels, ours.mean, ours.std))
    torch.testing.assert_close(scores, seen[:, [5, 0, 190]], atol=1e-5, rtol=1e-5)
    assert not scores.requires_grad


def test_the_teacher_sees_them_at_its_own_size() -> None:
    small, large = Preprocessing((8, 8), 8), Preprocessing((16, 12), 16)
    sizes: list[torch.Size] = []

    def scores(images: torch.Tensor) -> torch.Tensor:
        sizes.append(images.shape)
        return images.mean(dim=(2, 3))

    flat = torch.full((2, 3, 8, 8), 0.25)
    torch.testing.assert_close(Teacher(scores, small, large, torch.arange(3))(flat), torch.full((2, 3), 0.25))
    assert sizes == [(2, 3, 16, 12)]


# Whole runs ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("pictures"), {"train": 6, "val": 3})


def teacher_of(place: Path, classes: list[str]) -> Path:
    """A model folder whose every answer is the class that it names last."""
    network = build_network(ViTConfig(4, 16, 1, 32, 2, (12, 12), len(classes)))
    network.head.bias.data[-1] = 50.0
    return Model(network, Preprocessing((12, 12), 12), classes).save(place)


def train(pictures: Path, folder: Path, **changes: object) -> Result:
    words: dict[str, object] = {
        "data.path": str(pictures), "model.image_size": (8, 8), "model.name": "DeiT-Ti-distilled/16",
        "augmentation.mixup": 0.3, "training.batch_size": 6, "training.micro_batch_size": 4,
        "training.average": 0.0, "schedule.duration": Duration(30, "steps"), "schedule.warmup": Duration(0, "steps"),
        "training.evaluate_every": Duration(30, "steps"), "optimizer.learning_rate": 1e-2, "runtime.device": "cpu",
        "runtime.workers": 0,
    }  # fmt: skip
    words |= {name.replace("__", "."): value for name, value in changes.items()}
    return start(plan("scratch-small", words), folder, Screen(quiet=True))


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    from vitral import models

    monkeypatch.setitem(models.VARIANTS, "DeiT-Ti-distilled/16", DistilledConfig(4, 16, 1, 32, 2, (8, 8)))


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_the_distillation_head_learns_from_the_teacher_and_the_other_from_the_labels(
    pictures: Path, tmp_path: Path, tiny: None, kind: str
) -> None:
    classes = sorted(path.name for path in (pictures / "train").iterdir())
    reversed_classes = ["unknown to the student", *reversed(classes)]  # the last is the student's first
    teacher = teacher_of(tmp_path / "teacher", reversed_classes)
    told = {"distillation__teacher": str(teacher), "distillation__kind": kind}
    result = train(pictures, tmp_path / "run", **told)
    model = load(result.model)
    images = [path for path in sorted((pictures / "val").rglob("*")) if path.is_file()]
    pixels = torch.from_numpy(np.stack([model.pixels(path) for path in images]))
    with torch.no_grad():
        tokens = model.network.encode(normalise(pixels, model.preprocessing.mean, model.preprocessing.std))
        labels, taught = model.network.both_scores(tokens)
    assert (taught.argmax(dim=1) == 0).all()
    assert (labels.argmax(dim=1) == 0).float().mean() < 0.9
    assert json.loads((tmp_path / "run" / "config.json").read_text())["distillation"]["kind"] == kind


def test_a_network_with_one_head_learns_from_both(pictures: Path, tmp_path: Path, tiny: None) -> None:
    classes = sorted(path.name for path in (pictures / "train").iterdir())
    told = {"distillation__teacher": str(teacher_of(tmp_path / "t", classes)), "distillation__kind": "hard",
            "distillation__alpha": 1.0, "model__name": "ViT-Ti/4", "model__width": 16, "model__depth": 1,
            "model__num_heads": 2, "model__mlp_dim": 32}  # fmt: skip
    result = train(pictures, tmp_path / "run", **told)
    model = load(result.model)
    images = [path for path in sorted((pictures / "val").rglob("*")) if path.is_file()]
    assert {guesses[0].label for guesses in model.predict(images)} == {classes[-1]}


def test_a_teacher_that_does_not_know_the_classes_is_refused(pictures: Path, tmp_path: Path, tiny: None) -> None:
    teacher = teacher_of(tmp_path / "t", ["something", "else"])
    with pytest.raises(UsageError, match="the teacher does not know .* of the .* classes"):
        train(pictures, tmp_path / "run", distillation__teacher=str(teacher), distillation__kind="hard")


@pytest.mark.parametrize(
    ("names", "said"), [(None, "names no classes"), (["red", "red", "blue", "green"], "the same name")]
)
def test_a_teacher_whose_answers_cannot_be_told_is_refused(
    pictures: Path, tmp_path: Path, tiny: None, names: list[str] | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = build_network(ViTConfig(4, 16, 1, 32, 2, (12, 12), len(names or "four")))
    teacher = Model(network, Preprocessing((12, 12), 12), names)
    monkeypatch.setattr(teachers, "load", lambda *_: teacher)
    with pytest.raises(UsageError, match=said):
        train(pictures, tmp_path / "run", distillation__teacher="T", distillation__kind="hard")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"distillation": DistillationConfig(kind="hard")}, "add --distillation.teacher"),
        ({"distillation": DistillationConfig("model")}, "add --distillation.kind"),
        (
            {"distillation": DistillationConfig("m", "soft"), "data": DataConfig(multi_label=True),
             "loss": LossConfig("sigmoid")},
            "one label per picture",
        ),
    ],
)  # fmt: skip
def test_half_a_distillation_is_refused(config: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        RunConfig(**config)  # type: ignore[arg-type]
