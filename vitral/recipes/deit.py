"""DeiT (arXiv 2012.12877) and the fine-tuning of DeiT III (arXiv 2204.07118).

The values are those of the commands that the authors published. What is theirs and not here: repeated augmentation,
and RandAugment's random magnitude. The running average that they also keep is not what they report, so it is off.
DeiT III's pre-training needs LAMB and its own augmentation, which are not here; its fine-tuning needs neither.
"""

from __future__ import annotations

from dataclasses import replace

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
from vitral.recipes.recipe import Recipe, epochs

IMAGENET = Preprocessing((224, 224), 256, "bicubic", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and deviation of ImageNet's pictures, per channel; in evaluation the middle 224 of 256 pixels."""

LOWEST = 1e-5
"""Learning rate at the end, unless the command says otherwise."""


def augmentation(erasing: float) -> AugmentationConfig:
    """RandAugment of two operations at 9, Mixup 0.8 or CutMix 1, an Inception crop of at least 8 %."""
    return AugmentationConfig(
        min_area=0.08, randaugment_layers=2, randaugment_magnitude=9.0, erasing=erasing, mixup=0.8, cutmix=1.0
    )


def _pretrain(model: str) -> RunConfig:
    """Batch 1024, 300 epochs; rate 0.0005 for 512 pictures, scaled with the batch."""
    return RunConfig(
        model=ModelConfig(name=model, pool="token", dropout=0.0, stochastic_depth=0.1),
        preprocessing=IMAGENET,
        augmentation=augmentation(0.25),
        optimizer=OptimizerConfig("adamw", 1e-3, 0.05, clip_norm=0.0),
        schedule=ScheduleConfig(epochs(300), epochs(5), "cosine", final=LOWEST / 1e-3),
        loss=LossConfig(label_smoothing=0.1),
        training=TrainingConfig(batch_size=1024),
    )


def _finetune(
    pixels: int, rate: float, weight_decay: float, length: int, stochastic_depth: float, erasing: float
) -> RunConfig:
    """Batch 512; the rate falls no lower than where it begins, so after the warm-up it stays."""
    return RunConfig(
        model=ModelConfig(image_size=(pixels, pixels), stochastic_depth=stochastic_depth),
        preprocessing=replace(IMAGENET, crop=(pixels, pixels), resize=pixels),
        augmentation=augmentation(erasing),
        optimizer=OptimizerConfig("adamw", rate, weight_decay, clip_norm=0.0),
        schedule=ScheduleConfig(epochs(length), epochs(5), "constant"),
        loss=LossConfig(label_smoothing=0.1),
        training=TrainingConfig(batch_size=512),
    )


PRETRAIN = {"Ti": "72.2 %", "S": "79.9 %", "B": "81.8 %"}

FINETUNE = {
    # name: (pixels, rate, weight decay, epochs, stochastic depth, erasing), expected
    "deit-finetune-B/16-384": ((384, 5e-6, 1e-8, 30, 0.1, 0.25), "ImageNet 82.9 % (DeiT-B)"),
    "deit3-finetune-S/16-384": ((384, 1e-5, 0.1, 20, 0.0, 0.0), "ImageNet 83.4 % (S)"),
    "deit3-finetune-B/16-224": ((224, 1e-5, 0.1, 20, 0.2, 0.0), "ImageNet 83.8 % (B, from 192)"),
    "deit3-finetune-L/16-224": ((224, 1e-5, 0.1, 20, 0.45, 0.0), "ImageNet 84.9 % (L, from 192)"),
    "deit3-finetune-H/14-224": ((224, 1e-5, 0.1, 20, 0.55, 0.0), "ImageNet 85.2 % (H, from 160)"),
}

RECIPES = {
    **{
        f"deit-{size}/16": Recipe(
            "arXiv 2012.12877, the authors' defaults", f"ImageNet {score}", _pretrain(f"ViT-{size}/16")
        )
        for size, score in PRETRAIN.items()
    },
    **{
        name: Recipe(
            f"arXiv {'2204.07118' if name.startswith('deit3') else '2012.12877'}, the authors' command",
            expected,
            _finetune(*row),
        )
        for name, (row, expected) in FINETUNE.items()
    },
}
