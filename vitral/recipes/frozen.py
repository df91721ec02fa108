"""Learning the head alone, on what a pretrained network says of pictures that are never varied: minutes, not hours.

Both look at the weights first: pictures come to the network as its own preprocessing wants them.
"""

from __future__ import annotations

from vitral.config import (
    AugmentationConfig,
    Duration,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
    ScheduleConfig,
    TrainingConfig,
)
from vitral.errors import UsageError
from vitral.presets import Decision, Facts
from vitral.recipes.recipe import Recipe, epochs, steps

UNVARIED = AugmentationConfig(crop="none", flip=False)

DECAYS_TRIED = 11
"""Weight decays of `vitral.evaluators.probe`; each is a step of the run."""


def _base(facts: Facts, recipe: str) -> RunConfig:
    if facts.pretrained is None:
        raise UsageError(f"recipe {recipe} needs weights to start from: add --model WEIGHTS.")
    size = facts.image_size or facts.pretrained.crop
    return RunConfig(
        model=ModelConfig(image_size=size, learn="head"),
        preprocessing=facts.pretrained.at_size(size),
        augmentation=UNVARIED,
    )


def head_only(facts: Facts) -> tuple[RunConfig, list[Decision]]:
    """A linear head by AdamW: of any loss, with class weights, balance, patience."""
    base = _base(facts, "head-only")
    duration = facts.duration or epochs(min(200, max(20, round(300_000 / facts.pictures))))
    said = Decision("schedule.duration", f"{facts.pictures:,} training pictures: {duration}, each fast once it is seen")
    config = RunConfig(
        model=base.model, preprocessing=base.preprocessing, augmentation=base.augmentation,
        optimizer=OptimizerConfig("adamw", 3e-3, 1e-2, clip_norm=0.0),
        schedule=ScheduleConfig(duration, Duration(0, "steps"), "cosine"),
        loss=LossConfig("sigmoid" if facts.multi_label else "softmax"),
        training=TrainingConfig(
            batch_size=min(256, max(16, facts.pictures // 8)), evaluate_every=_tenth(duration),
            checkpoint_every=_tenth(duration), log_every=Duration(50, "steps"),
        ),
    )  # fmt: skip
    return config, [said]


def linear_probe(facts: Facts) -> tuple[RunConfig, list[Decision]]:
    """Logistic regression solved to the end, the weight decay chosen on validation pictures."""
    base = _base(facts, "linear-probe")
    if facts.multi_label:
        raise UsageError("recipe linear-probe is for one label per picture: use --recipe head-only.")
    reason = f"solved to the end, for {DECAYS_TRIED} weight decays: learning rate, length and batches play no part"
    config = RunConfig(
        model=base.model, preprocessing=base.preprocessing, augmentation=base.augmentation,
        optimizer=OptimizerConfig("lbfgs"), schedule=ScheduleConfig(steps(DECAYS_TRIED)),
        training=TrainingConfig(evaluate_every=steps(1)),
    )  # fmt: skip
    return config, [Decision("optimizer.name", reason)]


def _tenth(duration: Duration) -> Duration:
    return Duration(duration.amount / 10, duration.unit)


RECIPES = {
    "head-only": Recipe("AdamW on features of frozen weights", "depends on the pictures", choose=head_only),
    "linear-probe": Recipe(
        "logistic regression on standardised features, solved, after the linear probe of arXiv 2111.06377",
        "ImageNet 67.8 % (MAE B/16)",
        choose=linear_probe,
        note="With MAE's larger weights: L/16 76.0 %, H/14 77.2 %.",
    ),
}
