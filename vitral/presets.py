"""Presets: choices made from the data, each with its reason in one sentence."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

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

FINETUNING_RATE = 5e-4
"""Peak learning rate for fine-tuning on `FEW` pictures and more. Found with ViT-Ti/16 on 4,500 pictures of CIFAR-10."""

FEW = 4_000
"""Training pictures below which it is less: on 648 pictures of flowers 2e-4 reaches 99.58 %, 5e-4 98.75 %."""

LORA_RATE = 1e-3
"""Peak learning rate of LoRA's matrices, in every layer alike: B begins at zero. On 648 pictures of flowers the frozen
ViT-Ti/16 with them reaches what all of its weights reach."""

ROOMY = 8 * 10**9
"""Bytes of a GPU's memory from which on ViT-B/16 is what a fine-tuning starts from: its weights, their gradients and
Adam's averages take 1.4 GB, and a batch must fit beside them."""

TINY = 24
"""Pixels of the shorter side below which moving a picture by one pixel is moving it far."""


COMPACT_SIDE = 128
"""Pixels that the shorter side of a picture is brought down to before a compact hybrid learns from nothing."""

BLOCK_RATE = 0.25
"""Learning rate of a compact hybrid's encoder blocks as a share of that of its convolutions, which batch normalisation
lets learn faster. Found on 5,000 pictures of CIFAR-10 in two core-minutes, with one block and with two."""

MANY = 20_000
"""Training pictures from which on a larger network is worth its time, learning from nothing."""


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
        image_size: asked for explicitly, in pixels; `None` leaves it to the preset.
        patch_size: of the model asked for by name, in pixels (of a convolutional network: what lies between two
            positions of its last map); `None` leaves the whole model to the preset.
        duration: asked for explicitly; `None` leaves it to the preset.
        lora: whether only low-rank updates and the head learn.
        unlabelled: the weights to start from were pre-trained by vitral without labels.
    """

    pictures: int
    classes: int
    height: int
    width: int
    grey: bool = False
    multi_label: bool = False
    gpu: bool = False
    pretrained: Preprocessing | None = None
    image_size: Size | None = None
    patch_size: int | None = None
    duration: Duration | None = None
    lora: bool = False
    unlabelled: bool = False


class Decision(NamedTuple):
    """Why a setting was chosen: nothing to say where the user sets it otherwise."""

    setting: str
    reason: str


def scratch_small(facts: Facts) -> tuple[RunConfig, list[Decision]]:
    """Training from nothing on a few hundred to fifty thousand pictures."""
    size, model, said = _scratch_network(facts)
    compact = (model.name or "").startswith("Compact")
    tiny = min(facts.height, facts.width) < TINY
    characters = facts.grey and min(size) <= 32
    if characters:
        said.append(Decision("augmentation.flip", "small grey pictures are often characters, so they are not mirrored"))
    shown = max(1_000_000, 100 * facts.pictures) if facts.gpu else min(400_000, max(90_000, 40 * facts.pictures))
    epochs = min(300, max(1, round(shown / facts.pictures)))
    duration = facts.duration or Duration(epochs, "epochs")
    shown_in_all = epochs * facts.pictures
    said.append(Decision("schedule.duration", f"{epochs} epochs, so that about {shown_in_all:,} pictures are shown"))
    config = RunConfig(
        model=replace(model, image_size=size),
        preprocessing=Preprocessing(crop=size, resize=min(size)),
        augmentation=_compact_augmentation(size, characters) if compact else
        _scratch_augmentation(size, tiny, characters),
        optimizer=OptimizerConfig(
            "adamw", 2e-3 if compact or (model.width or 192) < 128 else 1e-3, 0.05,
            block_rate=BLOCK_RATE if compact else 1.0,
        ),
        schedule=ScheduleConfig(duration, share(duration, 0.07 if compact else 0.05), "cosine"),
        loss=LossConfig("sigmoid" if facts.multi_label else "softmax", 0.1),
        training=TrainingConfig(
            batch_size=min(32 if compact else 128, max(16, 2 ** (facts.pictures // 20).bit_length() // 2)),
            average=0.99, evaluate_every=share(duration, 0.1, 1), checkpoint_every=share(duration, 0.05, 1),
            precision=None if compact or facts.gpu else "float32",
        ),
    )  # fmt: skip
    return config, said


def _scratch_network(facts: Facts) -> tuple[Size, ModelConfig, list[Decision]]:
    """Input size and network, with the reasons: a compact hybrid but for tiny pictures and where a model was named."""
    tiny = min(facts.height, facts.width) < TINY
    if tiny or facts.patch_size is not None:
        size, patch, said = _scratch_input(facts)
        if facts.patch_size is not None:
            return size, ModelConfig(), said  # the variant that was named, as it is
        model, reason = _scratch_model(facts.pictures, patch)
        return size, model, [*said, Decision("model.width", reason)]
    side = min(facts.height, facts.width, COMPACT_SIDE)
    token = 8 if (min(facts.image_size) if facts.image_size else side) <= 64 else 16
    size = facts.image_size or (round(side / token) * token,) * 2
    tokens = -(-size[0] // token) * -(-size[1] // token)
    layers, blocks = (6, "an encoder block") if facts.pictures < MANY else (10, "4 encoder blocks")
    reason = (
        f"pictures are about {facts.height}x{facts.width}: input {size[0]}x{size[1]}, of which convolutions make "
        f"{tokens} tokens, since from few pictures these learn more than patches do"
    )
    behind = f"{facts.pictures:,} training pictures: {blocks} behind {layers} convolutions"
    model = ModelConfig(name=f"Compact-R{layers}/{token}", stochastic_depth=0.05)
    return size, model, [Decision("model.name", reason), Decision("model.width", behind)]


def share(duration: Duration, part: float, least_epochs: float = 0) -> Duration:
    """A part of a duration; of epochs whole ones, and at least so many, where a least is given."""
    amount = part * duration.amount
    if least_epochs and duration.unit == "epochs":
        amount = max(least_epochs, amount // 1)
    return Duration(amount, duration.unit)


def _scratch_model(pictures: int, patch: int) -> tuple[ModelConfig, str]:
    width, depth, heads = (96, 6, 3) if pictures < 3_000 else (128, 6, 4)
    if pictures >= MANY:
        width, depth, heads = 192, 9, 3
    model = ModelConfig(
        name=f"ViT-Ti/{patch}", pool="gap", positions="learned", width=width, depth=depth, num_heads=heads,
        mlp_dim=4 * width, stochastic_depth=0.1 if depth > 6 else 0.05,
    )  # fmt: skip
    return model, f"{pictures} training pictures: {depth} blocks of width {width}"


def _scratch_input(facts: Facts) -> tuple[Size, int, list[Decision]]:
    """Input size and patch size in pixels, with the reasons."""
    said: list[Decision] = []
    if facts.patch_size is not None:
        return _named_input(facts, facts.patch_size)
    side = min(facts.height, facts.width, 64)
    tiny = side < TINY
    if tiny and facts.image_size is None:
        side *= 2
        reason = "pictures this small are enlarged twice, so that crops can move them by parts of a pixel"
        said.append(Decision("model.image_size", reason))
    size = facts.image_size or (side, side)
    wanted = max(2, round(min(size) / (4 if tiny else 8)))
    if facts.image_size is None:
        patch = wanted
        size = (max(1, round(side / patch)) * patch,) * 2
    else:  # the divisor of both sides that is nearest to what is wanted
        whole = math.gcd(*size)
        patch = min((p for p in range(1, whole + 1) if whole % p == 0), key=lambda p: abs(p - wanted))
    tokens = (size[0] // patch) * (size[1] // patch)
    reason = (
        f"pictures are about {facts.height}x{facts.width}: input {size[0]}x{size[1]}, patches of {patch} pixels "
        f"({tokens} tokens), since small patches learn more from little data"
    )
    said.append(Decision("model.name", reason))
    return size, patch, said


def _named_input(facts: Facts, patch: int) -> tuple[Size, int, list[Decision]]:
    """For a model that was named: the pictures' own size up to 224, and at least four positions each way."""
    if facts.image_size is not None:
        return facts.image_size, patch, []
    side = max(4, round(min(facts.height, facts.width, 224) / patch)) * patch
    reason = (
        f"pictures are about {facts.height}x{facts.width}: input {side}x{side}, a position for every {patch} pixels"
    )
    return (side, side), patch, [Decision("model.image_size", reason)]


def _scratch_augmentation(size: Size, tiny: bool, characters: bool) -> AugmentationConfig:
    if tiny:
        return AugmentationConfig(min_area=0.7, flip=not characters)
    small = min(size) <= 40
    return AugmentationConfig(
        crop="resize-random" if small else "inception", padding=min(size) // 8 if small else 0, min_area=0.3,
        flip=not characters, randaugment_layers=0 if characters else 2,
        randaugment_magnitude=0.0 if characters else 5.0, mixup=0.2, cutmix=0.0 if characters else 1.0,
    )  # fmt: skip


def _compact_augmentation(size: Size, characters: bool) -> AugmentationConfig:
    """Light: in the epochs that minutes allow, a hybrid gains little from pictures that are hard to learn."""
    small = min(size) <= 40
    return AugmentationConfig(
        crop="resize-random" if small else "inception", padding=min(size) // 8 if small else 0, min_area=0.3,
        flip=not characters, randaugment_layers=0 if characters else 2,
        randaugment_magnitude=0.0 if characters else 5.0,
    )  # fmt: skip


def finetune(facts: Facts) -> tuple[RunConfig, list[Decision]]:
    """Transfer of pretrained weights to a folder of pictures; without weights, `scratch_small`."""
    if facts.pretrained is None:
        config, others = scratch_small(facts)
        reason = "there are no pretrained weights to start from (--model), so training starts from nothing"
        return config, [Decision("model.weights", reason), *others]
    if facts.unlabelled and not facts.lora:
        return _after_pretraining(facts, facts.pretrained)
    said: list[Decision] = []
    preprocessing = facts.pretrained
    size = facts.image_size or preprocessing.crop
    preprocessing = preprocessing.at_size(size)
    if facts.image_size is None and max(facts.height, facts.width) <= 64:
        preprocessing = replace(preprocessing, resize=min(size))  # the border of a tiny picture is too dear to cut off
    # Enough to learn from few. On a GPU all of them 10 times; on a CPU 3 to 6 times, about 22,500 pictures in between.
    usual = 10 if facts.gpu else min(6, max(3, 22_500 // facts.pictures))
    # Few pictures must not move the weights far from where they began: the rate shrinks as their square root.
    rate = FINETUNING_RATE * min(1.0, math.sqrt(facts.pictures / FEW))
    if facts.lora:
        rate = LORA_RATE
        said.append(Decision("optimizer.learning_rate", f"learning rate {rate:.1e} in every layer: only LoRA learns"))
    if rate < FINETUNING_RATE:
        reason = f"learning rate {rate:.1e}: fewer than {FEW:,} pictures move the pretrained weights less"
        said.append(Decision("optimizer.learning_rate", reason))
    batch = min(32, max(8, facts.pictures // 20))
    few = ", so that a pass has about 20 steps" if 8 < batch < 32 else ""
    said.append(Decision("training.batch_size", f"batches of {batch}{few}"))
    epochs = min(60, max(usual, round(3_900 / facts.pictures)))
    where = "" if usual == 10 else " on a CPU"
    duration = facts.duration or Duration(epochs, "epochs")
    reason = f"{facts.pictures:,} training pictures{where}: {epochs} epochs at {size[0]}x{size[1]}"
    said.append(Decision("schedule.duration", reason))
    config = RunConfig(
        model=ModelConfig(image_size=size),
        preprocessing=preprocessing,
        augmentation=AugmentationConfig(min_area=0.5, check_flip=True),
        optimizer=OptimizerConfig("adamw", float(f"{rate:.1e}"), 0.05, layer_decay=1.0 if facts.lora else 0.75),
        schedule=ScheduleConfig(duration, share(duration, 0.1), "cosine"),
        loss=LossConfig("sigmoid" if facts.multi_label else "softmax", 0.1),
        training=TrainingConfig(
            batch_size=batch,
            average=0.99,
            evaluate_every=share(duration, 0.1, 1),
            first_look=True,
        ),
    )
    return config, said


def pretrain_small(facts: Facts) -> tuple[RunConfig, list[Decision]]:
    """What learns without labels: a plain ViT, whose patches can be hidden one by one, for as many pictures."""
    size, patch, said = _scratch_input(facts)
    if facts.patch_size is None:
        model, reason = _scratch_model(facts.pictures, patch)
        said = [*said, Decision("model.width", reason)]
    else:
        model = ModelConfig()  # the variant that was named, as it is
    small, others = scratch_small(replace(facts, image_size=size, patch_size=patch))
    said += [decision for decision in others if decision.setting in ("schedule.duration", "augmentation.flip")]
    return replace(small, model=replace(model, image_size=size, stochastic_depth=None)), said


def _after_pretraining(facts: Facts, theirs: Preprocessing) -> tuple[RunConfig, list[Decision]]:
    """Weights that know pictures but no classes: as long and as varied as from nothing, the lower layers at lower rates
    (arXiv 2111.06377, section A.2, where they learn for 50 to 100 epochs)."""
    size = facts.image_size or theirs.crop
    config, others = scratch_small(replace(facts, image_size=size, patch_size=1))  # of a ViT, whichever it is
    reason = "the weights were pre-trained without labels: classes are learned as long as from nothing"
    config = replace(
        config,
        model=ModelConfig(image_size=size, stochastic_depth=config.model.stochastic_depth),
        preprocessing=theirs.at_size(size),
        optimizer=replace(config.optimizer, layer_decay=0.75),
    )
    kept = [decision for decision in others if decision.setting in ("schedule.duration", "augmentation.flip")]
    return config, [Decision("optimizer.layer_decay", reason), *kept]


def start_from(device: str, memory: int | None) -> tuple[str, str]:
    """The published model that a fine-tuning starts from where none is named, and why.

    Args:
        device: kind of device, as torch calls it.
        memory: of a GPU, in bytes, where it says.
    """
    if device == "cpu":
        return "ViT-Ti/16", "on a CPU, where ViT-S/16 is 3.7 times the work"
    if memory is not None and memory >= ROOMY:
        return "ViT-B/16", f"on a GPU with {memory / 1e9:.0f} GB"
    return "ViT-S/16", "on a GPU that may be too small for ViT-B/16" if memory is None else (
        f"on a GPU with {memory / 1e9:.0f} GB, which is little for ViT-B/16"
    )
