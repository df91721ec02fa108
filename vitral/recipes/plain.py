"""Better plain ViT baselines for ImageNet-1k (arXiv 2205.01580)."""

from __future__ import annotations

from vitral.config import (
    AugmentationConfig,
    ModelConfig,
    OptimizerConfig,
    Preprocessing,
    RunConfig,
    ScheduleConfig,
    TrainingConfig,
)
from vitral.recipes.recipe import IMAGENET, MINIVAL, Recipe, epochs, steps


def _plain(length: int) -> RunConfig:
    """S/16, batch 1024, mean of tokens, fixed positions, RandAugment and Mixup."""
    return RunConfig(
        model=ModelConfig(name="ViT-S/16", pool="gap", positions="sincos2d", representation_size=384),
        preprocessing=Preprocessing(),
        augmentation=AugmentationConfig(randaugment_layers=2, randaugment_magnitude=10.0, mixup=0.2),
        optimizer=OptimizerConfig("adamw", 1e-3, 0.1, clip_norm=1.0),
        schedule=ScheduleConfig(epochs(length), steps(10_000), "cosine"),
        training=TrainingConfig(batch_size=1024),
        data=MINIVAL,
    )


RECIPES = {
    f"plain-S/16-{length}ep": Recipe(
        "arXiv 2205.01580, Table 1", f"ImageNet {score} %", _plain(length), cost=cost, pictures=IMAGENET
    )
    for length, score, cost in ((90, 76.5, "6 to 7 hours on a TPUv3-8 node"), (150, 78.5, ""), (300, 80.0, ""))
}
