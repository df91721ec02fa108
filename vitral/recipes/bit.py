"""Big Transfer (arXiv 1912.11370): pre-training of BiT-S, -M and -L (section 3.1), and the rule that chooses everything
about a transfer from the size of the data."""

from __future__ import annotations

from dataclasses import replace

from vitral.config import (
    AugmentationConfig,
    DataConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    Preprocessing,
    RunConfig,
    ScheduleConfig,
    TrainingConfig,
)
from vitral.presets import Decision, Facts, share
from vitral.recipes.recipe import IMAGENET, IMAGENET_21K, JFT, MINIVAL, Recipe, epochs, steps

SMALL_AREA = 96 * 96
"""Pixels of a picture below which it is brought to 160 and cut to 128; from there on to 448 and 384."""

BY_SIZE = (
    # fewer pictures than this: steps, shares of them after which the rate is a tenth, alpha of Mixup, warm-up
    (20_000, 500, (0.4, 0.6, 0.8), 0.0, 100),
    (500_000, 10_000, (0.3, 0.6, 0.9), 0.1, 500),
    (None, 20_000, (0.3, 0.6, 0.9), 0.1, 500),
)
"""The paper's three sizes. Drops and warm-up as in the authors' code, where those of 500 steps are at 200, 300, 400."""


def hyperrule(facts: Facts) -> tuple[RunConfig, list[Decision]]:
    """BiT-HyperRule: SGD with momentum, rate 0.003, batch 512, no weight decay; the rest by the data.

    Pictures are resized without regard to their shape, cut at random and mirrored in training, and taken whole in
    evaluation.
    """
    small = facts.height * facts.width < SMALL_AREA
    side, resized = (128, 160) if small else (384, 448)
    size = facts.image_size or (side, side)
    larger = (round(size[0] * resized / side), round(size[1] * resized / side))
    _, length, drops, mixup, warmup = next(row for row in BY_SIZE if row[0] is None or facts.pictures < row[0])
    duration = facts.duration or steps(length)
    config = RunConfig(
        model=ModelConfig(image_size=size),
        preprocessing=replace(facts.pretrained or Preprocessing(), crop=size, resize=size),
        augmentation=AugmentationConfig(crop="resize-random", resize=larger, mixup=mixup),
        optimizer=OptimizerConfig("sgd", 0.003, clip_norm=0.0),
        schedule=ScheduleConfig(duration, steps(warmup), "step", drops=drops),
        loss=LossConfig("sigmoid" if facts.multi_label else "softmax"),
        training=TrainingConfig(batch_size=512, evaluate_every=share(duration, 0.1)),
    )
    pictures = f"pictures are about {facts.height}x{facts.width}"
    return config, [
        Decision("model.image_size", f"{pictures}: resized to {larger[0]}x{larger[1]}, cut to {size[0]}x{size[1]}"),
        Decision("schedule.duration", f"{facts.pictures:,} training pictures: {duration}, Mixup {mixup:g}"),
    ]


def _pretrain(length: int, drops: tuple[int, ...], head_bias: float, held_out: DataConfig) -> RunConfig:
    """SGD with momentum, batch 4096, rate 0.03 for 256 pictures, weight decay 1e-4 as L2, warm-up 5,000 steps.

    Args:
        drops: epochs after which the rate is a tenth.
        head_bias: of the sigmoid loss; the paper does not tell, the values are those of the authors' later code
            (big_vision).
    """
    return RunConfig(
        model=ModelConfig(name="BiT-R152x4", head_bias=head_bias),
        preprocessing=Preprocessing(),
        optimizer=OptimizerConfig("sgd", 0.03 * 4096 / 256, 1e-4, clip_norm=0.0),
        schedule=ScheduleConfig(epochs(length), steps(5_000), "step", drops=tuple(drop / length for drop in drops)),
        loss=LossConfig("sigmoid"),
        training=TrainingConfig(batch_size=4096),
        data=held_out,
    )


UPSTREAM = {
    # name: (epochs, drops, head bias, held out), pictures, expected of R152x4 after the HyperRule, cost
    "bit-S": ((90, (30, 60, 80), -6.9, MINIVAL), IMAGENET, "ImageNet 81.30 %", ""),
    "bit-M": ((90, (30, 60, 80), -10.0, DataConfig()), IMAGENET_21K, "ImageNet 85.39 %", ""),
    "bit-L": (
        (40, (10, 23, 30, 37), -10.0, DataConfig()), JFT, "ImageNet 87.54 %",
        "9.9k TPUv3-core-days (arXiv 2010.11929, Table 2)",
    ),
}  # fmt: skip

RECIPES = {
    **{
        name: Recipe(
            "arXiv 1912.11370, section 3.1", expected, _pretrain(*row), pictures=pictures, cost=cost,
            note="The score is after bit-hyperrule. Smaller ones by --model, like BiT-R50x1.",
        )
        for name, (row, pictures, expected, cost) in UPSTREAM.items()
    },
    "bit-hyperrule": Recipe(
        "arXiv 1912.11370, BiT-HyperRule",
        "CIFAR-10 98.91 % (BiT-M)",
        choose=hyperrule,
        note="BiT-M further: CIFAR-100 92.17 %, Pets 94.46 %, Flowers 99.30 %.",
    ),
}  # fmt: skip
