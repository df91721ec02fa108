"""Presets: choices made from the data, each with its reason in one sentence."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from vitral.config import (
    AugmentationConfig,
    Duration,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    Preprocessing,
    RunConfig,
    ScheduleConfig,
    Size,
    TrainingConfig,
)

TINY = 24
"""Pixels of the shorter side below which moving a picture by one pixel is moving it far."""


@dataclass(frozen=True)
class Facts:
    """What a preset looks at.

    Attributes:
        pictures: in the training split.
        classes: that it names.
        height, width: median over a sample of training pictures, in pixels.
        grey: all of the sample have three equal channels.
        multi_label: several labels per picture.
        gpu: whether the run is on a GPU.
        pretrained: the preprocessing that the weights to start from bring along, or `None` from scratch.
        patch_size: of the weights to start from, in pixels.
        image_size: asked for explicitly, in pixels; `None` leaves it to the preset.
    """

    pictures: int
    classes: int
    height: int
    width: int
    grey: bool = False
    multi_label: bool = False
    gpu: bool = False
    pretrained: Preprocessing | None = None
    patch_size: int | None = None
    image_size: Size | None = None


def scratch_small(facts: Facts) -> tuple[RunConfig, list[str]]:
    """Training from nothing on a few hundred to fifty thousand pictures."""
    size, patch, said = _scratch_input(facts)
    tiny = min(facts.height, facts.width) < TINY
    width, depth, heads = (96, 6, 3) if facts.pictures < 3_000 else (128, 6, 4)
    if facts.pictures >= 20_000:
        width, depth, heads = 192, 9, 3
    said.append(f"{facts.pictures} training pictures: {depth} blocks of width {width}")
    characters = facts.grey and min(size) <= 32
    if characters:
        said.append("small grey pictures are often characters, so they are not mirrored")
    shown = max(1_000_000, 100 * facts.pictures) if facts.gpu else min(400_000, max(90_000, 40 * facts.pictures))
    epochs = min(300, max(1, round(shown / facts.pictures)))
    said.append(f"{epochs} epochs, so that about {epochs * facts.pictures:,} pictures are shown")
    config = RunConfig(
        model=ModelConfig(
            name=f"ViT-Ti/{patch}", image_size=size, pool="gap", positions="learned", width=width, depth=depth,
            num_heads=heads, mlp_dim=4 * width, stochastic_depth=0.1 if depth > 6 else 0.05,
        ),
        preprocessing=Preprocessing(crop=size, resize=min(size)),
        augmentation=_scratch_augmentation(size, tiny, characters),
        optimizer=OptimizerConfig("adamw", 2e-3 if width < 128 else 1e-3, 0.05),
        schedule=ScheduleConfig(Duration(epochs, "epochs"), Duration(0.05 * epochs, "epochs"), "cosine"),
        loss=LossConfig("sigmoid" if facts.multi_label else "softmax", 0.1),
        training=TrainingConfig(
            batch_size=min(128, max(16, 2 ** (facts.pictures // 20).bit_length() // 2)), average=0.99,
            evaluate_every=Duration(max(1, epochs // 10), "epochs"),
            checkpoint_every=Duration(max(1, epochs // 20), "epochs"),
        ),
    )  # fmt: skip
    return config, said


def _scratch_input(facts: Facts) -> tuple[Size, int, list[str]]:
    """Input size and patch size in pixels, with the reasons."""
    said = []
    side = min(facts.height, facts.width, 64)
    tiny = side < TINY
    if tiny and facts.image_size is None:
        side *= 2
        said.append("pictures this small are enlarged twice, so that crops can move them by parts of a pixel")
    size = facts.image_size or (side, side)
    wanted = max(2, round(min(size) / (4 if tiny else 8)))
    if facts.image_size is None:
        patch = wanted
        size = (max(1, round(side / patch)) * patch,) * 2
    else:  # the divisor of both sides that is nearest to what is wanted
        whole = math.gcd(*size)
        patch = min((p for p in range(1, whole + 1) if whole % p == 0), key=lambda p: abs(p - wanted))
    tokens = (size[0] // patch) * (size[1] // patch)
    said.append(
        f"pictures are about {facts.height}x{facts.width}: input {size[0]}x{size[1]}, patches of {patch} pixels "
        f"({tokens} tokens), since small patches learn more from little data"
    )
    return size, patch, said


def _scratch_augmentation(size: Size, tiny: bool, characters: bool) -> AugmentationConfig:
    if tiny:
        return AugmentationConfig(min_area=0.7, flip=not characters)
    small = min(size) <= 40
    return AugmentationConfig(
        crop="resize-random" if small else "inception", padding=min(size) // 8 if small else 0, min_area=0.3,
        flip=not characters, randaugment_layers=0 if characters else 2,
        randaugment_magnitude=0.0 if characters else 5.0, mixup=0.2, cutmix=0.0 if characters else 1.0,
    )  # fmt: skip


def finetune(facts: Facts) -> tuple[RunConfig, list[str]]:
    """Transfer of pretrained weights to a folder of pictures; without weights, `scratch_small`."""
    if facts.pretrained is None or facts.patch_size is None:
        config, said = scratch_small(facts)
        return config, ["no pretrained weights are given (--model), so training starts from nothing", *said]
    said = []
    preprocessing = facts.pretrained
    size = facts.image_size or preprocessing.crop
    if facts.image_size is None and not facts.gpu and max(facts.height, facts.width) <= 64:
        side = max(1, 128 // facts.patch_size) * facts.patch_size
        size = (min(size[0], side), min(size[1], side))
        said.append(f"pictures of {facts.height}x{facts.width} hold no detail for more: input {size[0]}x{size[1]}")
    preprocessing = preprocessing.at_size(size)
    if facts.image_size is None and max(facts.height, facts.width) <= 64:
        preprocessing = replace(preprocessing, resize=min(size))  # the border of a tiny picture is too dear to cut off
    epochs = min(60, max(10, round(6_000 / facts.pictures)))
    said.append(f"{facts.pictures} training pictures: {epochs} epochs at {size[0]}x{size[1]}")
    config = RunConfig(
        model=ModelConfig(image_size=size),
        preprocessing=preprocessing,
        augmentation=AugmentationConfig(min_area=0.5),
        optimizer=OptimizerConfig("adamw", 1e-3, 0.05, layer_decay=0.75),
        schedule=ScheduleConfig(Duration(epochs, "epochs"), Duration(0.1 * epochs, "epochs"), "cosine"),
        loss=LossConfig("sigmoid" if facts.multi_label else "softmax", 0.1),
        training=TrainingConfig(
            batch_size=min(64, max(8, facts.pictures // 20)),
            average=0.99,
            evaluate_every=Duration(max(1, epochs // 10), "epochs"),
        ),
    )
    return config, said
