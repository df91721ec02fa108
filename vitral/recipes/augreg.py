"""How to train your ViT (arXiv 2106.10270): augmentation and regularisation."""

from __future__ import annotations

from vitral.config import (
    AugmentationConfig,
    DataConfig,
    Duration,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    Preprocessing,
    RunConfig,
    ScheduleConfig,
    TrainingConfig,
)
from vitral.recipes.recipe import IMAGENET, IMAGENET_21K, MINIVAL, Grid, Recipe, epochs, steps

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


def _pretrain(data: str, augmentation: str, length: int = 300) -> RunConfig:
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
        schedule=ScheduleConfig(epochs(length), steps(10_000), "cosine"),
        loss=LossConfig("sigmoid"),
        training=TrainingConfig(batch_size=4096),
        data=MINIVAL if data == "i1k" else DataConfig(),
    )


SMALL_RATES = (0.001, 0.003, 0.01)


def _lengths(*pairs: tuple[int, int]) -> tuple[tuple[Duration, Duration], ...]:
    return tuple((steps(length), steps(warmup)) for length, warmup in pairs)


FINETUNE = {
    # name: what is tried: rates, and lengths with warm-ups; share of train held out; expected
    "imagenet": (Grid((0.01, 0.03), _lengths((20_000, 500))), 0.01, "ImageNet 85.49 % (B/16 from 21k)"),
    "pets": (Grid(SMALL_RATES, _lengths((500, 100), (2_500, 200))), 0.1, "Pets 93.78 % (B/32; 224 pixels)"),
    "cifar": (Grid(SMALL_RATES, _lengths((2_500, 200), (10_000, 500))), 0.02, "CIFAR-100 91.35 % (B/32)"),
    "vtab": (Grid((*SMALL_RATES, 0.03), _lengths((500, 100), (2_500, 200))), 0.2, "of 19 tasks, by data set"),
}


def _finetune(grid: Grid, validation: float) -> RunConfig:
    """SGD with momentum, batch 512, cosine, clip 1, no dropout or weight decay, 384 pixels (224 by --image-size)."""
    length, warmup = grid.lengths[-1]
    return RunConfig(
        model=ModelConfig(image_size=(384, 384), dropout=0.0, stochastic_depth=0.0),
        preprocessing=Preprocessing(crop=(384, 384), resize=(384, 384)),
        optimizer=OptimizerConfig("sgd", 0.01, clip_norm=1.0),
        schedule=ScheduleConfig(length, warmup, "cosine"),
        training=TrainingConfig(batch_size=512, evaluate_every=steps(max(100, length.amount // 20))),
        data=DataConfig(validation_fraction=validation),
    )


PRETRAIN = {
    # the beginning of the name: (data, epochs), ImageNet in percent of B/16 at 224 pixels, at best (Table 3)
    "augreg-i1k": (("i1k", 300), 79.84),
    "augreg-i21k": (("i21k", 300), 83.96),
    "augreg-i21k-30ep": (("i21k", 30), 80.42),
}

RECIPES = {
    **{
        f"{name}-{augmentation}": Recipe(
            "arXiv 2106.10270, section 3",
            f"ImageNet {score:.2f} % at best",
            _pretrain(data, augmentation, length),
            note="The score is the best of B/16 at 224 pixels over all these settings"
            f"{', fine-tuned on ImageNet' if data == 'i21k' else ''}; the authors also tried dropout and stochastic "
            "depth of 0.1, and weight decay of 0.03 and 0.1.",
            pictures=IMAGENET if data == "i1k" else IMAGENET_21K,
        )
        for name, ((data, length), score) in PRETRAIN.items()
        for augmentation in AUGMENTATION
    },
    **{
        f"augreg-finetune-{name}": Recipe("arXiv 2106.10270, section 3", expected, _finetune(grid, held), grid=grid)
        for name, (grid, held, expected) in FINETUNE.items()
    },
}
