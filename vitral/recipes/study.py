"""What the runs of `vitral benchmark scaling` and its like have in common, at each scale: Table 3 of arXiv 2010.11929,
and that in small."""

from __future__ import annotations

from dataclasses import replace

from vitral.config import (
    AugmentationConfig,
    Duration,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    Preprocessing,
    PretrainingConfig,
    RunConfig,
    ScheduleConfig,
    TrainingConfig,
)
from vitral.recipes.recipe import Recipe, epochs, steps
from vitral.recipes.vit import LOWEST

AT_THE_END = steps(1e9)


def _small(side: int, examples: float, batch: int, augmentation: AugmentationConfig) -> RunConfig:
    """AdamW at 1e-3 with decay 0.1 and clip 1, a twentieth of warm-up, cosine: as Table 3 trains on ImageNet, with the
    rate of the smaller models."""
    return RunConfig(
        model=ModelConfig(image_size=(side, side)),
        preprocessing=Preprocessing(crop=(side, side), resize=(side, side)),
        augmentation=augmentation,
        optimizer=OptimizerConfig("adamw", 1e-3, 0.1, clip_norm=1.0),
        schedule=ScheduleConfig(Duration(examples, "examples"), Duration(examples / 20, "examples"), "cosine"),
        training=TrainingConfig(batch_size=batch, evaluate_every=AT_THE_END),
    )


PAPER = RunConfig(
    model=ModelConfig(image_size=(224, 224), head_bias=-10.0),
    preprocessing=Preprocessing(resize=(224, 224)),
    optimizer=OptimizerConfig("adamw", 8e-4, 0.1, clip_norm=0.0),
    schedule=ScheduleConfig(epochs(7), steps(10_000), "linear", final=LOWEST / 8e-4),
    loss=LossConfig("sigmoid"),
    training=TrainingConfig(batch_size=4096, evaluate_every=AT_THE_END),
)


def _unlabelled(config: RunConfig) -> RunConfig:
    """The same without labels: no loss over classes, no clipping."""
    return replace(
        config,
        model=replace(config.model, head_bias=0.0),
        optimizer=replace(config.optimizer, clip_norm=0.0),
        loss=LossConfig(),
        pretraining=PretrainingConfig("mae"),
    )


LABELLED = {
    "study-minutes": Recipe(
        "arXiv 2010.11929, Table 3, in small", "depends on the pictures",
        _small(16, 10_000, 64, AugmentationConfig(min_area=0.7, flip=False)),
        note="Not mirrored: the pictures it is for are digits.",
    ),
    "study-hours": Recipe(
        "arXiv 2010.11929, Table 3, in small", "depends on the pictures",
        _small(32, 2_000_000, 256, AugmentationConfig(min_area=0.3)),
    ),
    "study-paper": Recipe(
        "arXiv 2010.11929, Tables 3 and 6", "by model, Table 6", PAPER,
        note="The authors' sigmoid loss and head bias; rate and length are each model's.",
    ),
}  # fmt: skip

RECIPES = LABELLED | {
    f"{name}-unlabelled": replace(
        recipe, config=_unlabelled(recipe.config), unlabelled=True, expected="depends on the pictures",
        note="Masked autoencoding, or masked patch prediction with --pretraining.objective masked-patch.",
    )
    for name, recipe in LABELLED.items()
    if recipe.config is not None
}  # fmt: skip
