"""DeiT III (arXiv 2204.07118): ViTs with LayerScale by LAMB and 3-Augment, on ImageNet-1k or ImageNet-21k first.

The values are those of the commands in the authors' README_revenge.md. A batch there is pictures per GPU times GPUs.
Their LAMB clips the gradient to a norm of 1 by itself; their learning rates end at 1e-5.
"""

from __future__ import annotations

from dataclasses import replace

from vitral.config import (
    AugmentationConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
    ScheduleConfig,
    TrainingConfig,
)
from vitral.recipes.deit import IMAGENET, LOWEST, finetuning
from vitral.recipes.recipe import IMAGENET as PICTURES
from vitral.recipes.recipe import IMAGENET_21K, MINIVAL, Recipe, epochs

SOURCE = "arXiv 2204.07118, the authors' command"

THREE_AUGMENT = AugmentationConfig(min_area=0.08, three_augment=True, colour_jitter=0.3, cutmix=1.0)
"""Section 3 of the paper: grey, solarize or blur, then colour jitter."""


def _lamb(
    model: str | None, pixels: int, rate: float, weight_decay: float, length: int, stochastic_depth: float, batch: int
) -> RunConfig:
    """What all its runs by LAMB share."""
    return RunConfig(
        model=ModelConfig(name=model, pool="token" if model else None, stochastic_depth=stochastic_depth),
        preprocessing=replace(IMAGENET, crop=(pixels, pixels), resize=pixels),
        optimizer=OptimizerConfig("lamb", rate, weight_decay, clip_norm=1.0),
        schedule=ScheduleConfig(epochs(length), epochs(5), "cosine", final=LOWEST / rate),
        training=TrainingConfig(batch_size=batch),
    )


def _imagenet(model: str, pixels: int, rate: float, stochastic_depth: float) -> RunConfig:
    """800 epochs of ImageNet-1k, batch 2048: binary cross-entropy, Mixup, pictures three times in a row."""
    made = _lamb(model, pixels, rate, 0.05, 800, stochastic_depth, 2048)
    varied = replace(THREE_AUGMENT, repeats=3, mixup=0.8)
    return replace(made, augmentation=varied, loss=LossConfig("bce"), data=MINIVAL)


def _simple_crops(made: RunConfig) -> RunConfig:
    """With many pictures: a crop that leaves nearly all of each, and no Mixup."""
    varied = replace(THREE_AUGMENT, crop="resize-random", padding=4, padding_mode="reflect")
    return replace(made, augmentation=varied, loss=LossConfig(label_smoothing=0.1))


IMAGENET_1K = {
    # model: (pixels, rate, stochastic depth), ImageNet in percent at 224 pixels
    "S/16": ((224, 4e-3, 0.05), 81.4),
    "B/16": ((192, 3e-3, 0.2), 83.8),
    "L/16": ((192, 3e-3, 0.45), 84.9),
    "H/14": ((160, 3e-3, 0.6), 85.2),
}

FROM_21K = {
    # model: (pixels, rate, weight decay, epochs, stochastic depth, batch) on ImageNet-21k; stochastic depth afterwards
    # on ImageNet-1k; ImageNet in percent then
    "S/16": ((224, 1e-3, 0.02, 240, 0.05, 2048), 0.05, 83.1),
    "B/16": ((224, 1e-3, 0.02, 240, 0.1, 2048), 0.15, 85.7),
    "L/16": ((224, 1e-3, 0.02, 240, 0.3, 2048), 0.4, 87.0),
    "H/14": ((128, 1e-3, 0.02, 90, 0.5, 2048), 0.45, 87.2),
}

FINETUNE = {
    # name: (pixels, rate, weight decay, epochs, stochastic depth, erasing), expected
    "deit3-finetune-S/16-384": ((384, 1e-5, 0.1, 20, 0.0, 0.0), "ImageNet 83.4 % (S)"),
    "deit3-finetune-B/16-224": ((224, 1e-5, 0.1, 20, 0.2, 0.0), "ImageNet 83.8 % (from 192)"),
    "deit3-finetune-B/16-384": ((384, 1e-5, 0.1, 20, 0.15, 0.0), "ImageNet 85.0 % (B)"),
    "deit3-finetune-L/16-224": ((224, 1e-5, 0.1, 20, 0.45, 0.0), "ImageNet 84.9 % (from 192)"),
    "deit3-finetune-L/16-384": ((384, 1e-5, 0.1, 20, 0.4, 0.0), "ImageNet 85.8 % (L)"),
    "deit3-finetune-H/14-224": ((224, 1e-5, 0.1, 20, 0.55, 0.0), "ImageNet 85.2 % (from 160)"),
}

RECIPES = {
    **{
        f"deit3-{size}": Recipe(
            SOURCE, f"ImageNet {score} %", _imagenet(f"DeiT-III-{size}", *row), pictures=PICTURES,
            note="" if row[0] == 224 else f"The score is after deit3-finetune-{size}-224.",
        )
        for size, (row, score) in IMAGENET_1K.items()
    },
    **{
        f"deit3-i21k-{size}": Recipe(
            SOURCE, f"ImageNet {score} %", _simple_crops(_lamb(f"DeiT-III-{size}", *row)), pictures=IMAGENET_21K,
            note=f"The score is after deit3-i21k-finetune-{size}.",
        )
        for size, (row, _, score) in FROM_21K.items()
    },
    **{
        f"deit3-i21k-finetune-{size}": Recipe(
            SOURCE, f"ImageNet {score} % (from 21k)",
            replace(_simple_crops(_lamb(None, 224, 3e-4, 0.02, 50, depth, 2048)), data=MINIVAL), pictures=PICTURES,
        )
        for size, (_, depth, score) in FROM_21K.items()
    },
    **{
        name: Recipe(SOURCE, expected, finetuning(*row), pictures=PICTURES)
        for name, (row, expected) in FINETUNE.items()
    },
}  # fmt: skip
