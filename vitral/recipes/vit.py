"""The Vision Transformer's own tables (arXiv 2010.11929): pre-training and transfer."""

from __future__ import annotations

from dataclasses import replace

from vitral.config import (
    DataConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    Preprocessing,
    RunConfig,
    ScheduleConfig,
    TrainingConfig,
)
from vitral.recipes.recipe import IMAGENET, IMAGENET_21K, JFT, MINIVAL, Grid, Recipe, epochs, steps

SOURCE = "arXiv 2010.11929"

LOWEST = 1e-5
"""Learning rate at the end of a pre-training, of the authors' public checkpoints."""


def _pretrain(
    model: str,
    length: float,
    rate: float,
    decay: str,
    weight_decay: float,
    dropout: float,
    clip: float,
    rep: int | None,
    held_out: DataConfig,
) -> RunConfig:
    """One row of Table 3: AdamW, batch 4096, warm-up 10,000 steps, 224 pixels, Inception crop and flip.

    Not in the table but in the authors' public checkpoints and code: sigmoid loss, head bias -10, a rate that
    ends at 1e-5. ResNets have no positions, pool or dropout to set.
    """
    transformer = {"dropout": dropout, "representation_size": rep, "pool": "token", "positions": "learned"}
    return RunConfig(
        model=ModelConfig(name=model, head_bias=-10.0, **(transformer if "ViT" in model else {})),  # type: ignore[arg-type]
        data=held_out,
        preprocessing=Preprocessing(resize=(224, 224)),
        optimizer=OptimizerConfig("adamw", rate, weight_decay, clip_norm=clip),
        schedule=ScheduleConfig(
            epochs(length), steps(10_000), "cosine" if decay == "cosine" else "linear", final=LOWEST / rate
        ),
        loss=LossConfig("sigmoid"),
        training=TrainingConfig(batch_size=4096),
    )


JFT_ROWS = {
    # row of Table 3: epochs, learning rate; ImageNet in percent after fine-tuning, exaFLOPs (both Table 6)
    "ViT-B/16": (7, 8e-4, 84.15, 224),
    "ViT-B/32": (7, 8e-4, 80.73, 55),
    "ViT-L/32": (7, 6e-4, 84.37, 196),
    "ViT-L/16": (14, 4e-4, 87.12, 1567),
    "ViT-H/14": (14, 3e-4, 88.08, 4262),
    "BiT-R50x1": (7, 1e-3, 77.54, 50),
    "BiT-R50x2": (7, 1e-3, 82.12, 199),
    "BiT-R101x1": (7, 8e-4, 80.67, 96),
    "BiT-R152x1": (7, 6e-4, 81.88, 141),
    "BiT-R152x2": (7, 6e-4, 84.97, 563),
    "R50+ViT-B/16": (7, 8e-4, 85.58, 274),
    "R50+ViT-B/32": (7, 8e-4, 84.90, 106),
    "R50+ViT-L/32": (7, 2e-4, 85.68, 246),
    "R50+ViT-L/16": (14, 4e-4, 87.12, 1668),
}

I21K_ROWS = {"ViT-B/16": 83.97, "ViT-B/32": 81.28, "ViT-L/16": 85.15, "ViT-L/32": 80.99}
"""ImageNet in percent after fine-tuning at 384 pixels (Table 5), of rows of Table 3 with 90 epochs of ImageNet-21k."""

IMAGENET_ROWS = {"ViT-B/16": 77.91, "ViT-B/32": 73.38, "ViT-L/16": 76.53, "ViT-L/32": 71.16}
"""Likewise, of 300 epochs of ImageNet."""

SHORTER = {"table3-jft-L/16": "86.30", "table3-jft-R50+L/16": "86.60"}
"""Percent after 7 epochs instead of 14 (Table 6)."""

DAYS = {"table3-jft-H/14": "2.5k", "table3-jft-L/16": "0.68k", "table3-i21k-L/16": "0.23k"}
"""TPUv3-core-days of Table 2."""


def hidden_size(model: str) -> int | None:
    """Width of the tanh layer: the transformer's own; `None` for a ResNet, which has none."""
    size = model.rpartition("-")[2].partition("/")[0]
    return {"B": 768, "L": 1024, "H": 1280}.get(size)


def _table_3() -> dict[str, Recipe]:
    """Every row of the table, with every model that it names."""
    made = {}
    for model, (length, rate, score, compute) in JFT_ROWS.items():
        name = f"table3-jft-{_short(model)}"
        config = _pretrain(model, length, rate, "linear", 0.1, 0.0, 0.0, hidden_size(model), DataConfig())
        cost = f"{compute:,} exaFLOPs (Table 6)" + (f", {DAYS[name]} TPUv3-core-days (Table 2)" if name in DAYS else "")
        made[name] = _row(name, f"ImageNet {score:.2f} %", config, cost, JFT)
    for model, score in I21K_ROWS.items():
        name = f"table3-i21k-{_short(model)}"
        config = _pretrain(model, 90, 1e-3, "linear", 0.03, 0.1, 0.0, hidden_size(model), DataConfig())
        cost = f"{DAYS[name]} TPUv3-core-days (Table 2)" if name in DAYS else ""
        made[name] = _row(name, f"ImageNet {score:.2f} % at 384", config, cost, IMAGENET_21K)
    for model, score in IMAGENET_ROWS.items():
        name = f"table3-imagenet-{_short(model)}"
        config = _pretrain(model, 300, 3e-3, "cosine", 0.3, 0.1, 1.0, hidden_size(model), MINIVAL)
        made[name] = _row(name, f"ImageNet {score:.2f} % at 384", config, "", IMAGENET)
    return made


def _short(model: str) -> str:
    return model.replace("ViT-", "").removeprefix("BiT-")


def _row(name: str, expected: str, config: RunConfig, cost: str, pictures: int) -> Recipe:
    note = "The score is after fine-tuning, of Tables 5 and 6."
    if name in SHORTER:
        note += f" With --epochs 7 it is {SHORTER[name]} %."
    if name in ("table3-i21k-L/16", "table3-i21k-L/32"):
        note += " Table 3 also has 30 epochs."
    return Recipe(f"{SOURCE}, Table 3", expected, config, note=note, cost=cost, pictures=pictures)


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
    **_table_3(),
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
