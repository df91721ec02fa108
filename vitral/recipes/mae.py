"""Fine-tuning of weights from masked autoencoding (arXiv 2111.06377), as in the authors' FINETUNE.md."""

from __future__ import annotations

from vitral.config import (
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
    ScheduleConfig,
    TrainingConfig,
)
from vitral.recipes.deit import IMAGENET, augmentation
from vitral.recipes.recipe import Recipe, epochs

LOWEST = 1e-6
"""Learning rate at the end."""


def _finetune(rate: float, layer_decay: float, length: int, stochastic_depth: float) -> RunConfig:
    """AdamW, batch 1024, `rate` for 256 pictures scaled with the batch, the mean of the tokens, DeiT's augmentation."""
    peak = rate * 1024 / 256
    return RunConfig(
        model=ModelConfig(pool="gap", stochastic_depth=stochastic_depth),
        preprocessing=IMAGENET,
        augmentation=augmentation(0.25),
        optimizer=OptimizerConfig("adamw", peak, 0.05, clip_norm=0.0, layer_decay=layer_decay),
        schedule=ScheduleConfig(epochs(length), epochs(5), "cosine", final=LOWEST / peak),
        loss=LossConfig(label_smoothing=0.1),
        training=TrainingConfig(batch_size=1024),
    )


FINETUNE = {
    # (rate for 256 pictures, layer-wise decay, epochs, stochastic depth), expected
    "mae-finetune-B/16": ((5e-4, 0.65, 100, 0.1), "ImageNet 83.66 %"),
    "mae-finetune-L/16": ((1e-3, 0.75, 50, 0.2), "ImageNet 85.95 %"),
    "mae-finetune-H/14": ((1e-3, 0.75, 50, 0.3), "ImageNet 86.93 %"),
}

RECIPES = {
    name: Recipe("arXiv 2111.06377, the authors' FINETUNE.md", expected, _finetune(*row))
    for name, (row, expected) in FINETUNE.items()
}
