"""Training recipes as values: the papers' tables, each with its source and the score to expect; and two presets
that look at the data first.

A recipe is the starting point of a `RunConfig`; every value can be overridden by its option.
"""

from __future__ import annotations

from collections.abc import Callable
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
    TrainingConfig,
)
from vitral.presets import Decision, Facts, finetune, scratch_small


@dataclass(frozen=True)
class Recipe:
    """Where a run starts from.

    Attributes:
        source: table or section of a paper, with its arXiv number.
        expected: the published score that the recipe should reach, and on what.
        config: the values; or
        choose: facts about the data -> the values and one sentence for each choice.
        note: what else the source says.
    """

    source: str
    expected: str
    config: RunConfig | None = None
    choose: Callable[[Facts], tuple[RunConfig, list[Decision]]] | None = None
    note: str = ""


def _epochs(amount: float) -> Duration:
    return Duration(amount, "epochs")


def _steps(amount: float) -> Duration:
    return Duration(amount, "steps")


def _pretrain(
    model: str,
    epochs: float,
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
            _epochs(epochs), _steps(10_000), "cosine" if decay == "cosine" else "linear", final=1e-5 / rate
        ),
        loss=LossConfig("sigmoid"),
        training=TrainingConfig(batch_size=4096),
    )


VIT = "arXiv 2010.11929"

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


def _transfer(steps: int, rate: float, warmup: int, validation: float) -> RunConfig:
    """One row of Table 4: SGD with momentum, batch 512, cosine, no weight decay, clip 1, 384 pixels."""
    return RunConfig(
        model=ModelConfig(image_size=(384, 384)),
        preprocessing=Preprocessing(crop=(384, 384), resize=(384, 384)),
        optimizer=OptimizerConfig("sgd", rate, clip_norm=1.0),
        schedule=ScheduleConfig(_steps(steps), _steps(warmup), "cosine"),
        training=TrainingConfig(batch_size=512, evaluate_every=_steps(max(100, steps // 20))),
        data=replace(RunConfig().data, validation_fraction=validation),
    )


TABLE_4 = {
    # name: (steps, learning rate, warm-up, share of train held out), grid, expected with ViT-B/16 from ImageNet-21k
    "table4-imagenet": ((20_000, 0.03, 500, 0.01), "{.003, .01, .03, .06}", "83.97 %"),
    "table4-cifar": ((10_000, 0.01, 500, 0.02), "{.001, .003, .01, .03}", "CIFAR-10 98.95 %, CIFAR-100 91.67 %"),
    "table4-pets-flowers": ((500, 0.01, 100, 0.1), "{.001, .003, .01, .03}", "Pets 94.43 %, Flowers 99.38 %"),
    "table4-vtab": ((2_500, 0.01, 200, 0.2), "{.01}", "mean of 19 tasks 72.7 % (ViT-L/16)"),
}

AUGREG_AUGMENTATION = {
    # section 3 of arXiv 2106.10270: (RandAugment layers, magnitude, Mixup alpha)
    "none": (0, 0.0, 0.0),
    "light1": (2, 0.0, 0.0),
    "light2": (2, 10.0, 0.2),
    "medium1": (2, 15.0, 0.2),
    "medium2": (2, 15.0, 0.5),
    "strong1": (2, 20.0, 0.5),
    "strong2": (2, 20.0, 0.8),
}


def _augreg(data: str, augmentation: str) -> RunConfig:
    layers, magnitude, mixup = AUGREG_AUGMENTATION[augmentation]
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
        schedule=ScheduleConfig(_epochs(300), _steps(10_000), "cosine"),
        loss=LossConfig("sigmoid"),
        training=TrainingConfig(batch_size=4096),
    )


def _plain(epochs: int) -> RunConfig:
    """ "Better plain ViT baselines": S/16, batch 1024, mean of tokens, fixed positions, RandAugment and Mixup."""
    return RunConfig(
        model=ModelConfig(name="ViT-S/16", pool="gap", positions="sincos2d", representation_size=384),
        preprocessing=Preprocessing(),
        augmentation=AugmentationConfig(randaugment_layers=2, randaugment_magnitude=10.0, mixup=0.2),
        optimizer=OptimizerConfig("adamw", 1e-3, 0.1, clip_norm=1.0),
        schedule=ScheduleConfig(_epochs(epochs), _steps(10_000), "cosine"),
        training=TrainingConfig(batch_size=1024),
    )


RECIPES: dict[str, Recipe] = {
    "finetune": Recipe(
        "AdamW with layer-wise decay, after arXiv 2106.08254 and 2111.06377", "depends on the pictures", choose=finetune
    ),
    "scratch-small": Recipe("after arXiv 2112.13492 and 2205.01580", "depends on the pictures", choose=scratch_small),
    **{
        name: Recipe(
            f"{VIT}, Table 3", expected, _pretrain(*row), note="The score is after fine-tuning, of Tables 5 and 6."
        )
        for name, (row, expected) in TABLE_3.items()
    },
    **{
        name: Recipe(f"{VIT}, Table 4", expected, _transfer(*row), note=f"Learning rates tried: {grid}.")
        for name, (row, grid, expected) in TABLE_4.items()
    },
    **{
        f"augreg-{data}-{augmentation}": Recipe(
            "arXiv 2106.10270, section 3",
            f"ImageNet {'79.84' if data == 'i1k' else '83.96'} % at best",
            _augreg(data, augmentation),
            note="The score is the best of B/16 at 224 pixels over all these settings.",
        )
        for data in ("i1k", "i21k")
        for augmentation in AUGREG_AUGMENTATION
    },
    **{
        f"plain-S/16-{epochs}ep": Recipe("arXiv 2205.01580, Table 1", f"ImageNet {score} %", _plain(epochs))
        for epochs, score in ((90, 76.5), (150, 78.5), (300, 80.0))
    },
}
