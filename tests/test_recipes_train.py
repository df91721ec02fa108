"""Every recipe trains: a few steps of a tiny network of its kind on made-up pictures, its losses against their formulas
in NumPy, its learning rates against theirs, and which parameters decay by their names."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vitral import models, run
from vitral.config import Duration, Preprocessing, RunConfig
from vitral.console import Screen
from vitral.datasets.dataset import TRAIN, VALIDATION, Dataset, Split
from vitral.frozen import FrozenSession
from vitral.models import build_network
from vitral.models.bit import BiTConfig
from vitral.models.vit import ViTConfig
from vitral.planning import Plan, plan
from vitral.recipes import RECIPES
from vitral.serving.predictor import Model
from vitral.session import Session

CLASSES = ("a", "b", "c", "d", "e")
STEPS, WARMUP, BATCH = 3, 1, 2
TRAINED = [
    name
    for name, recipe in RECIPES.items()  # a probe is solved, see tests/test_frozen.py; others learn without labels
    if name != "linear-probe" and not recipe.is_pretraining
]

SMALL = {"width": 16, "depth": 1, "mlp_dim": 16, "num_heads": 2}

DECAYING = re.compile(
    r"(blocks\.\d+\.)?(attention\.(qkv|out)|mlp\.fc[12]|patch_embedding|pre_logits|(distillation_)?head)\.weight"
    r"|(resnet\.)?(root\.conv|stages\.\d+\.\d+\.(conv[123]|projection))\.weight"
    r"|tokenizer\.(stem|last|stages\.\d+\.\d+\.(first|second|shortcut))\.conv\.weight"
)
"""Names of matrices and kernels. All others stay: biases, norms, tokens, positions, LayerScale's factors."""


def tiny(config: Any) -> Any:
    """A network of the same family, of four patches (or 32 pixels)."""
    if isinstance(config, BiTConfig):
        return replace(config, blocks=(1,), width_factor=1, image_size=(32, 32))
    made = replace(config, **SMALL, image_size=(2 * config.stride, 2 * config.stride))
    return replace(made, blocks=(1,), image_size=(16, 16), patch_size=2) if hasattr(config, "blocks") else made


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    rng = np.random.default_rng(0)
    pictures = list(rng.integers(0, 256, (20, 36, 36, 3), dtype=np.uint8))
    labels = [(k % len(CLASSES),) for k in range(20)]
    splits = {TRAIN: Split(pictures[:15], labels[:15]), VALIDATION: Split(pictures[15:], labels[15:])}
    return Dataset("made up", None, CLASSES, splits)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Where fine-tuning starts, and a teacher whose classes have another order."""
    torch.manual_seed(3)
    made, folder = {}, tmp_path_factory.mktemp("weights")
    kinds = {"token": ["x", "y"], "gap": ["x", "y"], "teacher": [*reversed(CLASSES), "f"]}
    for name, classes in kinds.items():
        shape = ViTConfig(4, 16, 1, 16, 2, (8, 8), len(classes), pool="gap" if name == "gap" else "token")
        network = build_network(shape)
        torch.nn.init.normal_(network.head.weight)
        made[name] = Model(network, Preprocessing((8, 8), 8), classes).save(folder / name)
    return made


def words_for(name: str, weights: dict[str, Path]) -> dict[str, Any]:
    """What makes a run by the recipe small; nothing that it says of loss, rate, decay or augmentation."""
    recipe = RECIPES[name]
    model = recipe.config.model if recipe.config else None
    words: dict[str, Any] = {
        "schedule.duration": Duration(STEPS, "steps"), "schedule.warmup": Duration(WARMUP, "steps"),
        "training.batch_size": BATCH, "training.micro_batch_size": None, "training.log_every": Duration(1, "steps"),
        "training.precision": "float32", "runtime.workers": 0, "runtime.device": "cpu",
    }  # fmt: skip
    if name == "scratch-small":
        return words | {"model.image_size": (16, 16)}
    if model is None or model.name is None:
        start = weights["gap" if model is not None and model.pool == "gap" else "token"]
        return words | {"model.weights": str(start), "model.image_size": (8, 8)}
    words["model.image_size"] = models.VARIANTS[model.name].image_size
    if model.representation_size is not None:
        words["model.representation_size"] = 16
    if recipe.config is not None and recipe.config.distillation.teacher is not None:
        words["distillation.teacher"] = str(weights["teacher"])
    return words


class Watched:
    """A short run, with what its network and teacher said in each step."""

    def __init__(self, planned: Plan, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps: list[dict[str, np.ndarray]] = []
        monkeypatch.setattr(Session, "evaluate", lambda *_: True)
        monkeypatch.setattr(Session, "checkpoint", lambda *_, **__: None)
        self.progress, session, schedule = run._prepared(planned, folder, Screen(quiet=True), lambda: False)
        self.config = planned.config
        self._watch(session)
        if isinstance(session, FrozenSession):
            session.prepare()
        run._train(self.progress, session, schedule)
        self.lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]

    def _watch(self, session: Session) -> None:
        said: dict[str, torch.Tensor] = {}

        def noted(name: str, function: Any) -> Any:
            def call(images: torch.Tensor) -> Any:
                answer = function(images)
                said[name] = answer[0] if isinstance(answer, tuple) else answer
                said["taught"] = answer[1] if isinstance(answer, tuple) else answer
                return answer

            return call

        session.forward = noted("scores", session.forward)
        if session.teacher is not None:
            asked = session.teacher
            session.teacher = lambda images: said.setdefault("teacher", asked(images))
        learn = session._learn

        def learned(images: torch.Tensor, aim: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            said.clear()
            scores, losses = learn(images, aim)
            step = {**said, "aim": aim, "loss": losses}
            self.steps.append({key: value.detach().double().numpy() for key, value in step.items()})
            return scores, losses

        session._learn = learned  # type: ignore[method-assign]


def log_softmax(scores: np.ndarray) -> np.ndarray:
    shifted = scores - scores.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def formula(config: RunConfig, step: dict[str, np.ndarray]) -> np.ndarray:
    """The loss of each picture, from the papers' equations."""
    z, t = step["scores"], step["aim"]
    if config.loss.name == "softmax":
        loss = -(t * log_softmax(z)).sum(axis=1)
    else:
        questions = np.logaddexp(0, z) - t * z
        loss = questions.sum(axis=1) if config.loss.name == "sigmoid" else questions.mean(axis=1)
    if config.distillation.kind == "none":
        return np.asarray(loss)
    assert config.distillation.kind == "hard"
    taught = -log_softmax(step["taught"])[np.arange(len(z)), step["teacher"].argmax(axis=1)]
    return np.asarray((1 - config.distillation.alpha) * loss + config.distillation.alpha * taught)


def first_loss(config: RunConfig) -> float:
    """Of a head of zeros, whose every score is its bias, when targets sum to 1."""
    bias, count = config.model.head_bias, len(CLASSES)
    if config.loss.name == "softmax":
        return math.log(count)
    whole = count * math.log1p(math.exp(bias)) - bias
    return whole if config.loss.name == "sigmoid" else whole / count


def rate(config: RunConfig, step: int) -> float:
    """Of the papers' schedules, for a run of `STEPS` steps with a warm-up of `WARMUP`."""
    schedule, peak = config.schedule, config.optimizer.learning_rate
    if step < WARMUP:
        return peak * step / WARMUP
    p = (step - WARMUP) / (STEPS - WARMUP)
    shapes = {
        "cosine": schedule.final + (1 - schedule.final) * 0.5 * (1 + math.cos(math.pi * p)),
        "linear": schedule.final + (1 - schedule.final) * (1 - p),
        "constant": 1.0,
        "step": 0.1 ** sum(step > round(drop * STEPS) for drop in schedule.drops),
    }
    return peak * shapes[schedule.decay]


@pytest.mark.parametrize("name", TRAINED)
def test_a_recipe_trains_by_its_formulas(
    name: str, dataset: Dataset, weights: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = recipe.config.model.name if (recipe := RECIPES[name]).config else None
    if model is not None:
        monkeypatch.setitem(models.VARIANTS, model, tiny(models.VARIANTS[model]))
    watched = Watched(plan(name, words_for(name, weights), dataset), tmp_path, monkeypatch)
    config = watched.config
    assert len(watched.steps) == len(watched.lines) == STEPS
    for step, line in zip(watched.steps, watched.lines, strict=True):
        np.testing.assert_allclose(step["aim"].sum(axis=1), 1, rtol=1e-5)
        np.testing.assert_allclose(step["loss"], formula(config, step), rtol=2e-5, atol=1e-6)
        assert line["loss"] == pytest.approx(formula(config, step).mean(), rel=2e-5)
    assert watched.lines[0]["loss"] == pytest.approx(first_loss(config), rel=1e-5)
    assert [line["learning_rate"] for line in watched.lines] == pytest.approx([rate(config, k) for k in range(STEPS)])
    own = {id(parameter): key for key, parameter in watched.progress.model.named_parameters()}
    decays = {
        own[id(parameter)]: group["weight_decay"]
        for group in watched.progress.optimizer.param_groups
        for parameter in group["params"]
    }
    learning = {key for key, parameter in watched.progress.model.named_parameters() if parameter.requires_grad}
    assert decays.keys() == learning
    for key, decay in decays.items():
        assert decay == (config.optimizer.weight_decay if DECAYING.fullmatch(key) else 0.0), key
