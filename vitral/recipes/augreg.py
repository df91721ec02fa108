"""How to train your ViT (arXiv 2106.10270): augmentation and regularisation."""

from __future__ import annotations

from vitral.config import (
    AugmentationConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    Preprocessing,
    RunConfig,
    ScheduleConfig,
    TrainingConfig,
)
from vitral.recipes.recipe import Recipe, epochs, steps

AUGMENTATION = {
    # section 3 of the paper: (RandAugment layers, magnitude, Mixup alpha)
    "none": (0, 0.0, 0.0),
    "light1": (2, 0.0, 0.0),
    "light2": (2, 10.0, 0.2),
    "medium1": (2, 15.0, 0.2),
    "medium2": (2, 15.0, 0.5),
    "strong1": (2, 20.0, 0.5),
    "strong2": (2, 20.0, 0.8),
}


def _pretrain(data: str, augmentation: str) -> RunConfig:
    layers, magnitude, mixup = AUGMENTATION[augmentation]
    return RunConfig(
        model=ModelConfig(
            name="ViT-B/16",
            pool="token",
            representation_size=768 if data == "i1k" else None,
            head_bias=-6.9 if data == "i1k" else -10.0,
            dropout=0.0,
            stochastic_depth=0.0,
        ),
        preprocessing=Preprocessing(),
        augmentation=AugmentationConfig(randaugment_layers=layers, randaugment_magnitude=magnitude, mixup=mixup),
        optimizer=OptimizerConfig("adamw", 1e-3, 0.1 if data == "i1k" else 0.03, clip_norm=1.0),
        schedule=ScheduleConfig(epochs(300), steps(10_000), "cosine"),
        loss=LossConfig("sigmoid"),
        training=TrainingConfig(batch_size=4096),
    )


RECIPES = {
    f"augreg-{data}-{augmentation}": Recipe(
        "arXiv 2106.10270, section 3",
        "B/16 at 224, ImageNet: " + ("79.84 %" if data == "i1k" else "83.96 %") + " at best",
        _pretrain(data, augmentation),
    )
    for data in ("i1k", "i21k")
    for augmentation in AUGMENTATION
}
