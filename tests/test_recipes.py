"""Recipes against the papers' tables, typed in here once more."""

from __future__ import annotations

import pytest

from vitral.config import Preprocessing, RunConfig
from vitral.models import configuration
from vitral.planning import model_config
from vitral.presets import Facts, finetune, scratch_small
from vitral.recipes import RECIPES
from vitral.training.schedule import Schedule

FIXED = {name: recipe.config for name, recipe in RECIPES.items() if recipe.config is not None}


def config(name: str) -> RunConfig:
    made = RECIPES[name].config
    assert made is not None
    return made


@pytest.mark.parametrize(
    ("name", "epochs", "rate", "decay", "weight_decay", "dropout"),
    [  # arXiv 2010.11929, Table 3
        ("table3-jft-B/16", 7, 8e-4, "linear", 0.1, 0.0),
        ("table3-jft-L/32", 7, 6e-4, "linear", 0.1, 0.0),
        ("table3-jft-L/16", 14, 4e-4, "linear", 0.1, 0.0),
        ("table3-jft-H/14", 14, 3e-4, "linear", 0.1, 0.0),
        ("table3-i21k-B/32", 90, 1e-3, "linear", 0.03, 0.1),
        ("table3-i21k-L/16", 90, 1e-3, "linear", 0.03, 0.1),
        ("table3-imagenet-B/16", 300, 3e-3, "cosine", 0.3, 0.1),
        ("table3-imagenet-L/32", 300, 3e-3, "cosine", 0.3, 0.1),
    ],
)
def test_table_3(name: str, epochs: float, rate: float, decay: str, weight_decay: float, dropout: float) -> None:
    made = config(name)
    assert made.training.batch_size == 4096
    assert str(made.schedule.warmup) == "10000 steps"
    assert str(made.schedule.duration) == f"{epochs} epochs"
    assert (made.optimizer.learning_rate, made.schedule.decay) == (rate, decay)
    assert (made.optimizer.weight_decay, made.model.dropout) == (weight_decay, dropout)
    assert (made.optimizer.beta1, made.optimizer.beta2) == (0.9, 0.999)
    assert (made.optimizer.clip_norm > 0) == ("imagenet" in name)


@pytest.mark.parametrize(
    ("name", "steps"),
    [("table4-imagenet", 20_000), ("table4-cifar", 10_000), ("table4-pets-flowers", 500), ("table4-vtab", 2_500)],
)
def test_table_4(name: str, steps: int) -> None:
    made = config(name)
    assert (made.optimizer.name, made.optimizer.momentum, made.optimizer.weight_decay) == ("sgd", 0.9, 0.0)
    assert (made.training.batch_size, made.optimizer.clip_norm, made.schedule.decay) == (512, 1.0, "cosine")
    assert (str(made.schedule.duration), made.preprocessing.crop) == (f"{steps} steps", (384, 384))


def test_imagenet_at_batch_4096_takes_the_papers_number_of_steps() -> None:
    schedule = Schedule.build(config("table3-imagenet-B/16").schedule, 4096, 1_281_167)
    assert schedule.total == pytest.approx(93_800, rel=0.002)


@pytest.mark.parametrize("name", FIXED)
def test_every_recipe_describes_a_model_that_can_be_built(name: str) -> None:
    made = FIXED[name]
    if made.model.name is not None:
        built = model_config(made, 1000)
        assert built.width == configuration(made.model.name).width


@pytest.mark.parametrize("pictures", [5, 100, 1293, 5000, 50_000])
@pytest.mark.parametrize("size", [(8, 8), (28, 28), (32, 32), (48, 64), (224, 224), (1, 500)])
def test_scratch_small_always_fits_the_pictures(pictures: int, size: tuple[int, int]) -> None:
    made, said = scratch_small(Facts(pictures, 10, *size))
    built = model_config(made, 10)
    assert built.image_size == made.preprocessing.crop
    assert made.training.batch_size <= max(16, pictures)
    assert all(len(sentence) > 20 for sentence in said)


def test_finetune_keeps_what_the_weights_were_trained_with() -> None:
    theirs = Preprocessing((224, 224), 248, "bicubic", (0.5,) * 3, (0.5,) * 3)
    made, _ = finetune(Facts(700, 12, 300, 400, pretrained=theirs, patch_size=16))
    assert made.preprocessing == theirs
    larger, _ = finetune(Facts(700, 12, 300, 400, pretrained=theirs, patch_size=16, image_size=(384, 384)))
    assert (larger.preprocessing.crop, larger.preprocessing.resize) == ((384, 384), 425)


def test_finetune_without_weights_says_that_it_starts_from_nothing() -> None:
    _, said = finetune(Facts(700, 12, 300, 400))
    assert "no pretrained weights" in said[0]
