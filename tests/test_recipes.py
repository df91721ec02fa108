"""Recipes against the papers' tables, typed in here once more."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vitral.cli import main
from vitral.commands.recipes import computation
from vitral.config import AugmentationConfig, Preprocessing, PretrainingConfig, RunConfig
from vitral.evaluators.probe import DECAYS
from vitral.models import configuration
from vitral.overrides import values
from vitral.planning import model_config
from vitral.presets import Facts, finetune, scratch_small
from vitral.recipes import RECIPES, Grid
from vitral.recipes.bit import hyperrule
from vitral.recipes.frozen import linear_probe
from vitral.training.schedule import Schedule

FIXED = {name: recipe.config for name, recipe in RECIPES.items() if recipe.config is not None}


def config(name: str) -> RunConfig:
    made = RECIPES[name].config
    assert made is not None
    return made


TABLE_3 = {
    # arXiv 2010.11929: epochs, rate, decay, weight decay, dropout; fine-tuned on ImageNet in percent, exaFLOPs (Table 6)
    "table3-jft-B/16": (7, 8e-4, "linear", 0.1, 0.0, "84.15", 224),
    "table3-jft-B/32": (7, 8e-4, "linear", 0.1, 0.0, "80.73", 55),
    "table3-jft-L/32": (7, 6e-4, "linear", 0.1, 0.0, "84.37", 196),
    "table3-jft-L/16": (14, 4e-4, "linear", 0.1, 0.0, "87.12", 1567),
    "table3-jft-H/14": (14, 3e-4, "linear", 0.1, 0.0, "88.08", 4262),
    "table3-jft-R50x1": (7, 1e-3, "linear", 0.1, 0.0, "77.54", 50),
    "table3-jft-R50x2": (7, 1e-3, "linear", 0.1, 0.0, "82.12", 199),
    "table3-jft-R101x1": (7, 8e-4, "linear", 0.1, 0.0, "80.67", 96),
    "table3-jft-R152x1": (7, 6e-4, "linear", 0.1, 0.0, "81.88", 141),
    "table3-jft-R152x2": (7, 6e-4, "linear", 0.1, 0.0, "84.97", 563),
    "table3-jft-R50+B/16": (7, 8e-4, "linear", 0.1, 0.0, "85.58", 274),
    "table3-jft-R50+B/32": (7, 8e-4, "linear", 0.1, 0.0, "84.90", 106),
    "table3-jft-R50+L/32": (7, 2e-4, "linear", 0.1, 0.0, "85.68", 246),
    "table3-jft-R50+L/16": (14, 4e-4, "linear", 0.1, 0.0, "87.12", 1668),
    "table3-i21k-B/16": (90, 1e-3, "linear", 0.03, 0.1, "83.97", None),
    "table3-i21k-B/32": (90, 1e-3, "linear", 0.03, 0.1, "81.28", None),
    "table3-i21k-L/16": (90, 1e-3, "linear", 0.03, 0.1, "85.15", None),
    "table3-i21k-L/32": (90, 1e-3, "linear", 0.03, 0.1, "80.99", None),
    "table3-imagenet-B/16": (300, 3e-3, "cosine", 0.3, 0.1, "77.91", None),
    "table3-imagenet-B/32": (300, 3e-3, "cosine", 0.3, 0.1, "73.38", None),
    "table3-imagenet-L/16": (300, 3e-3, "cosine", 0.3, 0.1, "76.53", None),
    "table3-imagenet-L/32": (300, 3e-3, "cosine", 0.3, 0.1, "71.16", None),
}


def test_every_row_of_table_3_is_there() -> None:
    assert {name for name in RECIPES if name.startswith("table3-")} == TABLE_3.keys()


@pytest.mark.parametrize("name", TABLE_3)
def test_table_3(name: str) -> None:
    epochs, rate, decay, weight_decay, dropout, score, _ = TABLE_3[name]
    made = config(name)
    assert made.training.batch_size == 4096
    assert str(made.schedule.warmup) == "10000 steps"
    assert str(made.schedule.duration) == f"{epochs} epochs"
    assert (made.optimizer.learning_rate, made.schedule.decay) == (rate, decay)
    assert (made.optimizer.weight_decay, made.model.dropout or 0.0) == (weight_decay, dropout)
    assert (made.optimizer.beta1, made.optimizer.beta2) == (0.9, 0.999)
    assert made.optimizer.clip_norm == (1.0 if "imagenet" in name else 0.0)
    assert (made.loss.name, made.loss.label_smoothing, made.model.head_bias) == ("sigmoid", 0.0, -10.0)
    transformer = "ViT" in str(made.model.name)
    assert made.model.representation_size == (configuration(str(made.model.name)).width if transformer else None)
    assert f"ImageNet {score} %" in RECIPES[name].expected


@pytest.mark.parametrize("name", [name for name, row in TABLE_3.items() if row[-1]])
def test_what_a_run_computes_is_what_table_6_says(name: str) -> None:
    compute = computation(RECIPES[name])
    assert compute is not None
    assert compute[0] / 1e18 == pytest.approx(TABLE_3[name][-1], rel=0.045)
    assert f"{TABLE_3[name][-1]:,} exaFLOPs (Table 6)" in RECIPES[name].cost


def test_costs_are_those_of_table_2(capsys: pytest.CaptureFixture[str]) -> None:
    days = {"table3-jft-H/14": "2.5k", "table3-jft-L/16": "0.68k", "table3-i21k-L/16": "0.23k", "bit-L": "9.9k"}
    for name, cost in days.items():
        assert f"{cost} TPUv3-core-days" in RECIPES[name].cost
    assert main(["recipes", "plain-S/16-90ep"]) == 0
    said = capsys.readouterr().out
    assert "6 to 7 hours on a TPUv3-8" in said
    compute = computation(RECIPES["plain-S/16-90ep"])
    assert compute is not None
    assert compute[0] == pytest.approx(6 * 4.61e9 * 90 * 1_281_167, rel=0.01)  # S/16 has 4.61 G multiplications
    assert f"{compute[0] / 1e18:.3g} exaFLOPs" in said


@pytest.mark.parametrize(
    ("name", "steps", "rates"),
    [  # arXiv 2010.11929, Table 4: the rates that the authors tried
        ("table4-imagenet", 20_000, (0.003, 0.01, 0.03, 0.06)), ("table4-cifar", 10_000, (0.001, 0.003, 0.01, 0.03)),
        ("table4-pets-flowers", 500, (0.001, 0.003, 0.01, 0.03)), ("table4-vtab", 2_500, (0.01,)),
    ],
)  # fmt: skip
def test_table_4(name: str, steps: int, rates: tuple[float, ...]) -> None:
    made = config(name)
    assert RECIPES[name].grid == Grid(rates)
    assert made.optimizer.learning_rate in rates
    assert (made.loss.name, made.loss.label_smoothing) == ("softmax", 0.0)
    assert (made.optimizer.name, made.optimizer.momentum, made.optimizer.weight_decay) == ("sgd", 0.9, 0.0)
    assert (made.training.batch_size, made.optimizer.clip_norm, made.schedule.decay) == (512, 1.0, "cosine")
    assert (str(made.schedule.duration), made.preprocessing.crop) == (f"{steps} steps", (384, 384))


@pytest.mark.parametrize("pixels", [512, 518])
def test_the_highest_resolutions_average_the_weights(pixels: int) -> None:
    made = config(f"table2-imagenet-{pixels}")  # section 4.1: Polyak averaging with a factor of 0.9999
    assert (made.training.average, made.preprocessing.crop) == (0.9999, (pixels, pixels))
    assert (str(made.schedule.duration), made.optimizer.name) == ("20000 steps", "sgd")


@pytest.mark.parametrize(
    ("name", "warmup", "held_out"),
    [  # of the authors' code; section B.1.1 and Table 4's caption say what is held out
        ("table4-imagenet", 500, 0.01), ("table4-cifar", 500, 0.02), ("table4-pets-flowers", 100, 0.1),
        ("table4-vtab", 200, 200 / 1000), ("table2-imagenet-512", 500, 0.01), ("table2-imagenet-518", 500, 0.01),
    ],
)  # fmt: skip
def test_transfer_warms_up_and_holds_out_as_the_authors(name: str, warmup: int, held_out: float) -> None:
    made = config(name)
    assert (str(made.schedule.warmup), made.data.validation_fraction) == (f"{warmup} steps", held_out)


@pytest.mark.parametrize(
    ("augmentation", "layers", "magnitude", "mixup"),
    [  # arXiv 2106.10270, section 3: RandAugment layers and magnitude, Mixup
        ("none", 0, 0, 0.0), ("light1", 2, 0, 0.0), ("light2", 2, 10, 0.2), ("medium1", 2, 15, 0.2),
        ("medium2", 2, 15, 0.5), ("strong1", 2, 20, 0.5), ("strong2", 2, 20, 0.8),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    ("name", "epochs", "weight_decay", "head_bias"),
    [("i1k", 300, 0.1, -6.9), ("i21k", 300, 0.03, -10.0), ("i21k-30ep", 30, 0.03, -10.0)],
)
def test_augreg_pretrains_by_seven_augmentations(
    name: str, epochs: int, weight_decay: float, head_bias: float, augmentation: str, layers: int, magnitude: float,
    mixup: float,
) -> None:  # fmt: skip
    made = config(f"augreg-{name}-{augmentation}")
    assert made.augmentation == AugmentationConfig(
        randaugment_layers=layers, randaugment_magnitude=magnitude, mixup=mixup
    )
    optimizer, schedule = made.optimizer, made.schedule
    assert (optimizer.name, optimizer.beta1, optimizer.beta2, optimizer.clip_norm) == ("adamw", 0.9, 0.999, 1.0)
    assert (optimizer.learning_rate, optimizer.weight_decay) == (1e-3, weight_decay)
    assert (schedule.decay, schedule.final, str(schedule.warmup)) == ("cosine", 0.0, "10000 steps")
    assert (str(schedule.duration), made.training.batch_size) == (f"{epochs} epochs", 4096)
    assert (made.loss.name, made.model.head_bias, made.preprocessing.crop) == ("sigmoid", head_bias, (224, 224))
    assert made.model.representation_size == (768 if name == "i1k" else None)  # no hidden layer for ImageNet-21k
    assert made.data.validation_fraction == (0.01 if name == "i1k" else RunConfig().data.validation_fraction)


@pytest.mark.parametrize(("epochs", "score"), [(90, "76.5"), (150, "78.5"), (300, "80.0")])
def test_plain_vit_is_the_papers_baseline(epochs: int, score: str) -> None:
    """arXiv 2205.01580."""
    made = config(f"plain-S/16-{epochs}ep")
    model, optimizer, schedule = made.model, made.optimizer, made.schedule
    assert (model.name, model.pool, model.positions, model.representation_size) == ("ViT-S/16", "gap", "sincos2d", 384)
    assert made.augmentation == AugmentationConfig(randaugment_layers=2, randaugment_magnitude=10, mixup=0.2)
    assert (made.training.batch_size, made.training.average) == (1024, 0.0)
    assert (optimizer.name, optimizer.learning_rate, optimizer.weight_decay) == ("adamw", 1e-3, 0.1)
    assert (optimizer.clip_norm, schedule.decay, str(schedule.warmup)) == (1.0, "cosine", "10000 steps")
    assert str(schedule.duration) == f"{epochs} epochs"
    assert RECIPES[f"plain-S/16-{epochs}ep"].expected == f"ImageNet {score} %"


@pytest.mark.parametrize(
    ("name", "rates", "lengths"),
    [  # arXiv 2106.10270: rates, and (steps, warm-up)
        ("imagenet", (0.01, 0.03), [(20_000, 500)]), ("pets", (1e-3, 3e-3, 0.01), [(500, 100), (2_500, 200)]),
        ("cifar", (1e-3, 3e-3, 0.01), [(2_500, 200), (10_000, 500)]),
        ("vtab", (1e-3, 3e-3, 0.01, 0.03), [(500, 100), (2_500, 200)]),
    ],
)  # fmt: skip
def test_augreg_fine_tunes_by_a_grid(name: str, rates: tuple[float, ...], lengths: list[tuple[int, int]]) -> None:
    grid, made = RECIPES[f"augreg-finetune-{name}"].grid, config(f"augreg-finetune-{name}")
    assert grid is not None
    assert grid.rates == rates
    assert [(str(a), str(b)) for a, b in grid.lengths] == [(f"{a} steps", f"{b} steps") for a, b in lengths]
    assert (made.schedule.duration, made.schedule.warmup) in grid.lengths
    assert made.optimizer.learning_rate in rates
    assert (made.training.batch_size, made.optimizer.clip_norm, made.optimizer.weight_decay) == (512, 1.0, 0.0)


@pytest.mark.parametrize(
    ("pictures", "steps", "mixup"),
    [  # arXiv 1912.11370 and the authors' code: warm-up first, then the steps after which the rate is a tenth
        (800, [100, 200, 300, 400, 500], 0.0), (19_999, [100, 200, 300, 400, 500], 0.0),
        (20_000, [500, 3000, 6000, 9000, 10_000], 0.1), (499_999, [500, 3000, 6000, 9000, 10_000], 0.1),
        (500_000, [500, 6000, 12_000, 18_000, 20_000], 0.1),
    ],
)  # fmt: skip
def test_the_hyperrule_chooses_by_the_number_of_pictures(pictures: int, steps: list[int], mixup: float) -> None:
    made, said = hyperrule(Facts(pictures, 10, 300, 400, pretrained=Preprocessing()))
    schedule = Schedule.build(made.schedule, 512, pictures)
    assert [schedule.warmup, *schedule.drops, schedule.total] == steps
    assert made.augmentation.mixup == mixup
    assert (made.optimizer.name, made.optimizer.learning_rate, made.optimizer.momentum) == ("sgd", 0.003, 0.9)
    assert (made.training.batch_size, made.optimizer.weight_decay) == (512, 0.0)
    assert {decision.setting for decision in said} == {"model.image_size", "schedule.duration"}


@pytest.mark.parametrize(
    ("height", "width", "resized", "cut"),
    [(32, 32, 160, 128), (95, 97, 160, 128), (96, 96, 448, 384), (64, 400, 448, 384)],
)
def test_the_hyperrule_chooses_the_resolution_by_the_area(height: int, width: int, resized: int, cut: int) -> None:
    made, _ = hyperrule(Facts(800, 10, height, width, pretrained=Preprocessing(interpolation="bicubic")))
    assert made.augmentation.crop == "resize-random"
    assert made.augmentation.resize == (resized, resized)
    assert made.preprocessing == Preprocessing((cut, cut), (cut, cut), "bicubic")
    other, _ = hyperrule(Facts(800, 10, height, width, pretrained=Preprocessing(), image_size=(256, 256)))
    assert other.augmentation.resize == (round(256 * resized / cut),) * 2


@pytest.mark.parametrize(
    ("name", "rate", "epochs", "layer_decay", "stochastic_depth"),
    [  # FINETUNE.md of the authors: rate for 256 pictures
        ("B/16", 5e-4, 100, 0.65, 0.1), ("L/16", 1e-3, 50, 0.75, 0.2), ("H/14", 1e-3, 50, 0.75, 0.3),
    ],
)  # fmt: skip
def test_mae_fine_tunes_with_layer_wise_decay(
    name: str, rate: float, epochs: int, layer_decay: float, stochastic_depth: float
) -> None:
    made = config(f"mae-finetune-{name}")
    assert made.optimizer.learning_rate == pytest.approx(rate * made.training.batch_size / 256)
    assert (str(made.schedule.duration), str(made.schedule.warmup)) == (f"{epochs} epochs", "5 epochs")
    assert (made.optimizer.layer_decay, made.model.stochastic_depth) == (layer_decay, stochastic_depth)
    assert (made.augmentation.mixup, made.augmentation.cutmix, made.augmentation.erasing) == (0.8, 1.0, 0.25)
    assert (made.training.batch_size, made.optimizer.weight_decay, made.model.pool) == (1024, 0.05, "gap")
    assert made.optimizer.learning_rate * made.schedule.final == pytest.approx(1e-6)


@pytest.mark.parametrize(
    ("name", "rate", "weight_decay", "epochs", "batch_size", "lowest"),
    [  # the commands of the authors' README files; rates are for their batch
        ("deit-B/16", 5e-4 * 1024 / 512, 0.05, 300, 1024, 1e-5), ("deit-finetune-B/16-384", 5e-6, 1e-8, 30, 512, 5e-6),
        ("deit3-finetune-S/16-384", 1e-5, 0.1, 20, 512, 1e-5), ("deit3-finetune-L/16-224", 1e-5, 0.1, 20, 512, 1e-5),
    ],
)  # fmt: skip
def test_deit(name: str, rate: float, weight_decay: float, epochs: int, batch_size: int, lowest: float) -> None:
    made = config(name)
    schedule = Schedule.build(made.schedule, batch_size, 1_281_167)
    assert made.optimizer.learning_rate == pytest.approx(rate)
    assert rate * schedule.factor(schedule.total - 1) == pytest.approx(lowest, rel=1e-3)
    assert (made.optimizer.weight_decay, str(made.schedule.duration)) == (weight_decay, f"{epochs} epochs")
    assert (made.training.batch_size, made.loss.label_smoothing, made.optimizer.clip_norm) == (batch_size, 0.1, 0.0)
    if name.endswith(("224", "384")):
        assert made.preprocessing.crop == (int(name[-3:]),) * 2


@pytest.mark.parametrize(
    ("name", "pixels", "rate", "epochs", "weight_decay", "stochastic_depth"),
    [  # the commands of README_revenge.md
        ("deit3-S/16", 224, 4e-3, 800, 0.05, 0.05), ("deit3-B/16", 192, 3e-3, 800, 0.05, 0.2),
        ("deit3-L/16", 192, 3e-3, 800, 0.05, 0.45), ("deit3-H/14", 160, 3e-3, 800, 0.05, 0.6),
        ("deit3-i21k-S/16", 224, 1e-3, 240, 0.02, 0.05), ("deit3-i21k-B/16", 224, 1e-3, 240, 0.02, 0.1),
        ("deit3-i21k-L/16", 224, 1e-3, 240, 0.02, 0.3), ("deit3-i21k-H/14", 128, 1e-3, 90, 0.02, 0.5),
        ("deit3-i21k-finetune-S/16", 224, 3e-4, 50, 0.02, 0.05), ("deit3-i21k-finetune-B/16", 224, 3e-4, 50, 0.02, 0.15),
        ("deit3-i21k-finetune-L/16", 224, 3e-4, 50, 0.02, 0.4), ("deit3-i21k-finetune-H/14", 224, 3e-4, 50, 0.02, 0.45),
    ],
)  # fmt: skip
def test_deit_3_is_by_lamb(
    name: str, pixels: int, rate: float, epochs: int, weight_decay: float, stochastic_depth: float
) -> None:
    made, on_imagenet = config(name), "i21k" not in name
    assert (made.preprocessing.crop, made.preprocessing.resize) == ((pixels, pixels), pixels)
    assert (made.optimizer.name, made.optimizer.learning_rate, made.optimizer.clip_norm) == ("lamb", rate, 1.0)
    assert (made.optimizer.weight_decay, made.model.stochastic_depth) == (weight_decay, stochastic_depth)
    assert (str(made.schedule.duration), str(made.schedule.warmup)) == (f"{epochs} epochs", "5 epochs")
    assert rate * made.schedule.final == pytest.approx(1e-5)
    assert made.training.batch_size == 2048
    varied = made.augmentation
    assert (varied.three_augment, varied.colour_jitter, varied.erasing, varied.cutmix) == (True, 0.3, 0.0, 1.0)
    assert (varied.repeats, varied.mixup) == ((3, 0.8) if on_imagenet else (1, 0.0))
    assert (varied.crop, varied.padding) == (("inception", 0) if on_imagenet else ("resize-random", 4))
    assert (made.loss.name, made.loss.label_smoothing) == (("bce", 0.0) if on_imagenet else ("softmax", 0.1))


@pytest.mark.parametrize("size", ["Ti", "S", "B"])
def test_deit_learns_from_its_teacher_half_and_half(size: str) -> None:
    made, alone = config(f"deit-distilled-{size}/16"), config(f"deit-{size}/16")
    assert (made.distillation.kind, made.distillation.alpha) == ("hard", 0.5)
    assert "regnety_160" in str(made.distillation.teacher)
    assert made.augmentation == alone.augmentation
    assert alone.augmentation.repeats == 3
    assert (made.optimizer, made.schedule, made.loss) == (alone.optimizer, alone.schedule, alone.loss)


@pytest.mark.parametrize(
    ("name", "epochs", "drops"),
    [("bit-S", 90, (30, 60, 80)), ("bit-M", 90, (30, 60, 80)), ("bit-L", 40, (10, 23, 30, 37))],
)  # section 3.1 of arXiv 1912.11370
def test_bit_is_trained_in_steps(name: str, epochs: int, drops: tuple[int, ...]) -> None:
    made, pictures = config(name), RECIPES[name].pictures
    assert pictures is not None
    schedule = Schedule.build(made.schedule, 4096, pictures)
    assert (str(made.schedule.duration), schedule.warmup) == (f"{epochs} epochs", 5_000)
    assert schedule.drops == tuple(round(drop * schedule.total / epochs) for drop in drops)
    assert made.optimizer.learning_rate == pytest.approx(0.03 * 4096 / 256)
    assert (made.optimizer.name, made.optimizer.weight_decay, made.optimizer.momentum) == ("sgd", 1e-4, 0.9)
    assert (made.loss.name, made.training.batch_size, made.augmentation.mixup) == ("sigmoid", 4096, 0.0)


def test_a_probe_is_as_long_as_there_are_decays_to_try() -> None:
    made, said = linear_probe(Facts(700, 12, 300, 400, pretrained=Preprocessing()))
    assert made.schedule.duration.steps(made.training.batch_size, 700) == len(DECAYS)
    assert f"for {len(DECAYS)} weight decays" in said[0].reason


def test_imagenet_at_batch_4096_takes_the_papers_number_of_steps() -> None:
    schedule = Schedule.build(config("table3-imagenet-B/16").schedule, 4096, 1_281_167)
    assert schedule.total == pytest.approx(93_800, rel=0.002)


@pytest.mark.parametrize("name", FIXED)
def test_every_recipe_describes_a_model_that_can_be_built(name: str) -> None:
    made = FIXED[name]
    if made.model.name is not None:
        built, published = model_config(made, 1000), configuration(made.model.name)
        for field in ("width", "depth", "mlp_dim", "num_heads", "patch_size", "blocks", "width_factor"):
            assert getattr(built, field, None) == getattr(published, field, None)


@pytest.mark.parametrize("pictures", [5, 100, 1293, 5000, 50_000])
@pytest.mark.parametrize("size", [(8, 8), (28, 28), (32, 32), (48, 64), (224, 224), (1, 500)])
def test_scratch_small_always_fits_the_pictures(pictures: int, size: tuple[int, int]) -> None:
    made, said = scratch_small(Facts(pictures, 10, *size))
    built = model_config(made, 10)
    assert built.image_size == made.preprocessing.crop
    assert made.training.batch_size <= max(16, pictures)
    assert {"model.name", "model.width", "schedule.duration"} <= {decision.setting for decision in said}


def test_finetune_keeps_what_the_weights_were_trained_with() -> None:
    theirs = Preprocessing((224, 224), 248, "bicubic", (0.5,) * 3, (0.5,) * 3)
    made, _ = finetune(Facts(700, 12, 300, 400, pretrained=theirs))
    assert made.preprocessing == theirs
    larger, _ = finetune(Facts(700, 12, 300, 400, pretrained=theirs, image_size=(384, 384)))
    assert (larger.preprocessing.crop, larger.preprocessing.resize) == ((384, 384), 425)


def test_finetune_without_weights_says_that_it_starts_from_nothing() -> None:
    _, said = finetune(Facts(700, 12, 300, 400))
    assert "no pretrained weights" in said[0].reason


@pytest.mark.parametrize(
    ("pictures", "gpu", "epochs"),
    [(20, False, 60), (600, False, 6), (4_500, False, 5), (50_000, False, 3), (50_000, True, 10), (20, True, 60)],
)
def test_finetune_shows_few_pictures_often_and_keeps_a_cpu_from_long_runs(
    pictures: int, gpu: bool, epochs: int
) -> None:
    made, said = finetune(Facts(pictures, 10, 32, 32, gpu=gpu, pretrained=Preprocessing()))
    assert str(made.schedule.duration) == f"{epochs} epochs"
    assert f"{epochs} epochs at 224x224" in said[-1].reason
    assert made.preprocessing.resize == 224  # nothing of a tiny picture is cut off


def test_recipes_are_listed_in_80_columns_each_source_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["recipes"]) == 0
    said = capsys.readouterr().out
    for source in {recipe.source for recipe in RECIPES.values()}:
        assert said.count(f"{source}\n") == 1
    for name, recipe in RECIPES.items():
        (line,) = [line for line in said.splitlines() if line.split(" ")[0] == name]
        assert recipe.expected in line


@pytest.mark.parametrize("name", ["table4-cifar", "augreg-i1k-medium2"])
def test_a_recipe_is_shown_by_what_it_sets_otherwise_than_the_defaults(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made, defaults = values(config(name)), values(RunConfig())
    assert main(["recipes", name]) == 0
    shown = {line.split(" ")[0] for line in capsys.readouterr().out.splitlines()}
    assert shown & defaults.keys() == {key for key in defaults if made[key] != defaults[key]}


@pytest.mark.parametrize("size", ["B/16", "L/16", "H/14"])
def test_mae_pretraining_is_the_papers_table_8(size: str) -> None:
    made = config(f"mae-pretrain-{size}")
    optimizer, batch = made.optimizer, made.training.batch_size
    assert (optimizer.name, optimizer.beta1, optimizer.beta2, optimizer.weight_decay) == ("adamw", 0.9, 0.95, 0.05)
    assert (batch, optimizer.learning_rate, optimizer.clip_norm) == (4096, pytest.approx(1.5e-4 * 4096 / 256), 0.0)
    assert (made.schedule.decay, made.schedule.final, str(made.schedule.warmup)) == ("cosine", 0.0, "40 epochs")
    assert made.pretraining == PretrainingConfig("mae", 0.75, True, 512, 8, 16)
    assert made.augmentation == AugmentationConfig(min_area=0.2)  # a crop and a flip, and nothing else
    assert made.preprocessing.interpolation == "bicubic"
    assert model_config(made, 1).image_size == (224, 224)
    # 40 of 1600 epochs of ImageNet-1k: 12,520 steps up, and half the peak in the middle of what follows
    schedule = Schedule.build(made.schedule, batch, 1_281_167)
    assert schedule.factor(schedule.warmup) == 1.0
    assert schedule.factor((schedule.warmup + schedule.total) // 2) == pytest.approx(0.5, abs=1e-4)


def test_masked_patch_prediction_is_section_b_1_2() -> None:
    made = config("masked-patch-prediction-B/16")
    assert (made.optimizer.name, made.optimizer.learning_rate, made.optimizer.weight_decay) == ("adam", 2e-4, 0.0)
    assert (str(made.schedule.warmup), made.schedule.decay) == ("10000 steps", "cosine")
    assert (str(made.schedule.duration), made.training.batch_size) == ("1000000 steps", 4096)
    assert (made.pretraining.objective, made.pretraining.mask_ratio) == ("masked-patch", 0.5)
    assert model_config(made, 1).num_classes == 8**3


@pytest.mark.parametrize("name", ["mae-pretrain", "masked-patch-prediction"])
def test_pretraining_presets_take_a_plain_vit_for_as_many_pictures(name: str) -> None:
    choose = RECIPES[name].choose
    assert choose is not None
    facts = Facts(pictures=4500, classes=0, height=32, width=32)
    made, said = choose(facts)
    shape = model_config(made, 1)
    assert (shape.image_size, shape.patch_size) == ((32, 32), 4)  # 64 tokens
    assert shape.width < model_config(choose(replace(facts, pictures=50_000))[0], 1).width
    assert made.schedule.duration == scratch_small(facts)[0].schedule.duration
    assert not made.pretraining.is_off
    assert {decision.setting for decision in said} == {"model.name", "model.width", "schedule.duration"}
    assert choose(replace(facts, image_size=(64, 64), patch_size=8))[0].model.name is None


def test_weights_that_saw_no_labels_learn_as_long_as_from_nothing() -> None:
    facts = Facts(pictures=4500, classes=10, height=32, width=32, pretrained=Preprocessing((32, 32), 32))
    (usual, _), (small, _) = finetune(facts), scratch_small(replace(facts, image_size=(32, 32), patch_size=4))
    made, said = finetune(replace(facts, unlabelled=True))
    assert made.schedule == small.schedule != usual.schedule
    assert made.augmentation == small.augmentation
    assert made.optimizer.layer_decay < 1.0 == small.optimizer.layer_decay
    assert (made.model.name, made.preprocessing) == (None, facts.pretrained)
    assert any("pre-trained without labels" in decision.reason for decision in said)
    assert finetune(replace(facts, unlabelled=True, lora=True)) == finetune(replace(facts, lora=True))
