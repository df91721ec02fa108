"""DeiT (arXiv 2012.12877), with and without its teacher; DeiT III is in `vitral.recipes.deit3`.

The values are those of the commands that the authors published. What is theirs and not here: timm's operations of
RandAugment, with their random magnitude. The running average that they also keep is not what they report, so it is off.
"""

from __future__ import annotations

from dataclasses import replace

from vitral.config import (
    AugmentationConfig,
    DistillationConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    Preprocessing,
    RunConfig,
    ScheduleConfig,
    TrainingConfig,
)
from vitral.recipes.recipe import IMAGENET as PICTURES
from vitral.recipes.recipe import MINIVAL, Recipe, epochs

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
        augmentation=replace(augmentation(0.25), repeats=3),
        optimizer=OptimizerConfig("adamw", 1e-3, 0.05, clip_norm=0.0),
        schedule=ScheduleConfig(epochs(300), epochs(5), "cosine", final=LOWEST / 1e-3),
        loss=LossConfig(label_smoothing=0.1),
        training=TrainingConfig(batch_size=1024),
        data=MINIVAL,
    )


def _distilled(model: str) -> RunConfig:
    """The same with a distillation token that learns the teacher's likeliest class (Eq. 3)."""
    made = _pretrain(model)
    teacher = DistillationConfig("hf:timm/regnety_160.deit_in1k", "hard", 0.5, classes="in-order")
    return replace(made, model=replace(made.model, pool=None), distillation=teacher)


def finetuning(
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


PRETRAIN = {"Ti": ("72.2 %", "74.5 %"), "S": ("79.9 %", "81.2 %"), "B": ("81.8 %", "83.4 %")}
"""ImageNet without and with the teacher, of the authors' README."""

COST = "two to three days on one node of 8 GPUs (B)"
"""Section 1 of the paper."""

RECIPES = {
    **{
        f"deit-{size}/16": Recipe(
            "arXiv 2012.12877, the authors' defaults", f"ImageNet {score}", _pretrain(f"ViT-{size}/16"), cost=COST,
            pictures=PICTURES,
        )
        for size, (score, _) in PRETRAIN.items()
    },
    **{
        f"deit-distilled-{size}/16": Recipe(
            "arXiv 2012.12877, the authors' command with a teacher",
            f"ImageNet {score}",
            _distilled(f"DeiT-{size}-distilled/16"), cost=COST, pictures=PICTURES,
            note="The teacher, a RegNetY-16GF, names no classes: its k-th is taken for your k-th, in the order of "
            "WordNet ids. With --teacher classes are matched by name.",
        )
        for size, (_, score) in PRETRAIN.items()
    },
    "deit-finetune-B/16-384": Recipe(
        "arXiv 2012.12877, the authors' command", "ImageNet 82.9 % (DeiT-B)",
        finetuning(384, 5e-6, 1e-8, 30, 0.1, 0.25), pictures=PICTURES,
    ),
}  # fmt: skip
