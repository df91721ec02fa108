"""The Vision Transformer's own tables (arXiv 2010.11929): pre-training and transfer."""

from __future__ import annotations

from dataclasses import replace

from vitral.config import (
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    Preprocessing,
    RunConfig,
    ScheduleConfig,
    TrainingConfig,
)
from vitral.recipes.recipe import Grid, Recipe, epochs, steps

SOURCE = "arXiv 2010.11929"


def _pretrain(
    model: str,
    length: float,
    rate: float,
    decay: str,
    weight_decay: float,
    dropout: float,
    clip: float,
    rep: int | None,
) -> RunConfig:
    """One row of Table 3: AdamW, batch 4096, warm-up 10,000 steps, 224 pixels, Inception crop and flip.

    Not in the table but in the authors' public checkpoints and code: sigmoid loss, head bias -10, a rate that
    ends at 1e-5.
    """
    return RunConfig(
        model=ModelConfig(
            name=model, dropout=dropout, representation_size=rep, pool="token", positions="learned", head_bias=-10.0
        ),
        preprocessing=Preprocessing(resize=(224, 224)),
        optimizer=OptimizerConfig("adamw", rate, weight_decay, clip_norm=clip),
        schedule=ScheduleConfig(
            epochs(length), steps(10_000), "cosine" if decay == "cosine" else "linear", final=1e-5 / rate
        ),
        loss=LossConfig("sigmoid"),
        training=TrainingConfig(batch_size=4096),
    )


TABLE_3 = {
    # name: (model, epochs, learning rate, decay, weight decay, dropout, clip, pre-logits), expected
    "table3-jft-B/16": (
        ("ViT-B/16", 7, 8e-4, "linear", 0.1, 0.0, 0.0, 768),
        "ImageNet 84.15 % at 384",
    ),
    "table3-jft-B/32": (("ViT-B/32", 7, 8e-4, "linear", 0.1, 0.0, 0.0, 768), "ImageNet 80.73 %"),
    "table3-jft-L/32": (("ViT-L/32", 7, 6e-4, "linear", 0.1, 0.0, 0.0, 1024), "ImageNet 84.37 %"),
    "table3-jft-L/16": (("ViT-L/16", 14, 4e-4, "linear", 0.1, 0.0, 0.0, 1024), "ImageNet 87.12 % (7 epochs: 86.30 %)"),
    "table3-jft-H/14": (("ViT-H/14", 14, 3e-4, "linear", 0.1, 0.0, 0.0, 1280), "ImageNet 88.08 %"),
    "table3-i21k-B/16": (("ViT-B/16", 90, 1e-3, "linear", 0.03, 0.1, 0.0, 768), "ImageNet 83.97 %"),
    "table3-i21k-B/32": (("ViT-B/32", 90, 1e-3, "linear", 0.03, 0.1, 0.0, 768), "ImageNet 81.28 %"),
    "table3-i21k-L/16": (("ViT-L/16", 90, 1e-3, "linear", 0.03, 0.1, 0.0, 1024), "ImageNet 85.15 %"),
    "table3-i21k-L/32": (("ViT-L/32", 90, 1e-3, "linear", 0.03, 0.1, 0.0, 1024), "ImageNet 80.99 %"),
    "table3-imagenet-B/16": (("ViT-B/16", 300, 3e-3, "cosine", 0.3, 0.1, 1.0, 768), "ImageNet 77.91 % at 384"),
    "table3-imagenet-B/32": (("ViT-B/32", 300, 3e-3, "cosine", 0.3, 0.1, 1.0, 768), "ImageNet 73.38 % at 384"),
    "table3-imagenet-L/16": (("ViT-L/16", 300, 3e-3, "cosine", 0.3, 0.1, 1.0, 1024), "ImageNet 76.53 % at 384"),
    "table3-imagenet-L/32": (("ViT-L/32", 300, 3e-3, "cosine", 0.3, 0.1, 1.0, 1024), "ImageNet 71.16 % at 384"),
}


def _transfer(length: int, rate: float, warmup: int, validation: float) -> RunConfig:
    """One row of Table 4: SGD with momentum, batch 512, cosine, no weight decay, clip 1, 384 pixels."""
    return RunConfig(
        model=ModelConfig(image_size=(384, 384)),
        preprocessing=Preprocessing(crop=(384, 384), resize=(384, 384)),
        optimizer=OptimizerConfig("sgd", rate, clip_norm=1.0),
        schedule=ScheduleConfig(steps(length), steps(warmup), "cosine"),
        training=TrainingConfig(batch_size=512, evaluate_every=steps(max(100, length // 20))),
        data=replace(RunConfig().data, validation_fraction=validation),
    )


SMALL_GRID = (0.001, 0.003, 0.01, 0.03)

TABLE_4 = {
    # name: (steps, learning rate, warm-up, share of train held out), grid, expected with ViT-B/16 from ImageNet-21k
    "table4-imagenet": ((20_000, 0.03, 500, 0.01), (0.003, 0.01, 0.03, 0.06), "83.97 %"),
    "table4-cifar": ((10_000, 0.01, 500, 0.02), SMALL_GRID, "CIFAR-10 98.95 %, CIFAR-100 91.67 %"),
    "table4-pets-flowers": ((500, 0.01, 100, 0.1), SMALL_GRID, "Pets 94.43 %, Flowers 99.38 %"),
    "table4-vtab": ((2_500, 0.01, 200, 0.2), (0.01,), "mean of 19 tasks 72.7 % (ViT-L/16)"),
}

LARGEST = {
    # Table 2's runs on ImageNet: pixels, expected from JFT. Polyak averaging, as its caption and section 4.1 say
    "table2-imagenet-512": (512, "ImageNet 87.76 % (ViT-L/16 from JFT)"),
    "table2-imagenet-518": (518, "ImageNet 88.55 % (ViT-H/14 from JFT)"),
}


def _largest(pixels: int) -> RunConfig:
    """ImageNet's row of Table 4 at a higher resolution, with an average of the weights at 0.9999."""
    config = _transfer(*TABLE_4["table4-imagenet"][0])
    return replace(
        config,
        model=replace(config.model, image_size=(pixels, pixels)),
        preprocessing=Preprocessing(crop=(pixels, pixels), resize=(pixels, pixels)),
        training=replace(config.training, average=0.9999),
    )


RECIPES = {
    **{
        name: Recipe(
            f"{SOURCE}, Table 3", expected, _pretrain(*row), note="The score is after fine-tuning, of Tables 5 and 6."
        )
        for name, (row, expected) in TABLE_3.items()
    },
    **{
        name: Recipe(f"{SOURCE}, Table 4", expected, _transfer(*row), grid=Grid(rates))
        for name, (row, rates, expected) in TABLE_4.items()
    },
    **{
        name: Recipe(
            f"{SOURCE}, Table 2 and section 4.1", expected, _largest(pixels), grid=Grid(TABLE_4["table4-imagenet"][1])
        )
        for name, (pixels, expected) in LARGEST.items()
    },
}
