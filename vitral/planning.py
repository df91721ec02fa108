"""From the user's words to a complete `RunConfig`: read the data, ask the recipe, apply the overrides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from vitral import teacher
from vitral.config import DataConfig, RunConfig
from vitral.data.decode import decode
from vitral.datasets import read as read_pictures
from vitral.datasets import read_unlabelled, without_labels
from vitral.datasets.dataset import TRAIN, VALIDATION, Dataset, Split
from vitral.datasets.fingerprint import overlaps
from vitral.errors import DataError, UnreadableImageError, UsageError
from vitral.models import Configuration, changed, configuration, described, family_of, positioned
from vitral.objectives import build_objective
from vitral.overrides import override
from vitral.presets import Facts
from vitral.recipes import RECIPES, Recipe
from vitral.registry import look_up
from vitral.serving.device import choose_device
from vitral.serving.predictor import Model
from vitral.weights import Pretrained, read

OVERLAP_LIMIT = 200_000
"""Pictures up to which splits are compared byte for byte before a run; beyond, `vitral data check` does it."""

OVERLAPS_COUNTED = 1000
"""Pairs of equal pictures that are counted; beyond, it is "or more"."""

OVERLAPS_NAMED = 20
"""Pairs of equal pictures that the warning names."""

SAMPLE = 32
"""Training pictures that are opened to learn their size and colours."""


@dataclass(frozen=True)
class Plan:
    """A run before it starts: complete configuration, its data and weights, what was decided and why, and what is
    `known` of the model beforehand, which goes into its metrics; and the `teacher` whose answers it learns."""

    config: RunConfig
    dataset: Dataset
    pretrained: Pretrained | None
    decisions: tuple[str, ...]
    warnings: tuple[str, ...]
    known: Mapping[str, Any] = field(default_factory=dict)
    teacher: Model | None = None


def plan(recipe: str, words: Mapping[str, Any], dataset: Dataset | None = None) -> Plan:
    """Decide everything that a run needs.

    Args:
        recipe: a key of `RECIPES`.
        words: overrides by dotted name, as words or values; "data.path" says where the pictures are.
        dataset: pictures already read (from memory, say); `None` reads "data.path".

    Raises:
        UsageError, DataError, MissingInputError: as the parts say.
    """
    chosen = look_up("recipe", recipe, RECIPES, "vitral recipes")
    base = chosen.config or RunConfig()
    words = _completed(words)
    # Rules between sections (several labels need the sigmoid loss) are judged on the final values only, so each
    # section that is needed early is read by itself.
    data = override(base.data, _section(words, "data."))
    runtime = override(base.runtime, _section(words, "runtime."))
    seed = override(base.training, _section(words, "training.")).seed
    unlabelled = _learns_without_labels(recipe, chosen, words)
    if dataset is None:
        dataset = read_unlabelled(data, seed) if unlabelled else read_pictures(data, seed)
    elif unlabelled:
        dataset = without_labels(dataset)
    on_gpu = choose_device(runtime.device).type != "cpu"
    weights = words.get("model.weights")
    pretrained = read(weights) if weights and weights != "none" else None
    config, decisions = _ask(chosen, base, data, dataset, pretrained, on_gpu, words)
    config = override(replace(config, recipe=recipe), words)
    if "augmentation.flip" in words and "augmentation.check_flip" not in words:
        config = override(config, {"augmentation.check_flip": False})  # the user knows
    config = _settle_sizes(config, words, pretrained)
    if config.optimizer.find_rate and "optimizer.learning_rate" in words:
        raise UsageError("--find-lr finds the rate that --learning-rate says: give one of the two.")
    # Written down: a resume on the other kind of device is told, and can ask for it. A CPU's is left to a trial.
    if config.training.precision is None and (on_gpu or not (pretrained or chosen.tries_precision)):
        config = override(config, {"training.precision": "bfloat16" if on_gpu else "float32"})
        decisions += ["bfloat16, which GPUs multiply faster"] if on_gpu else []
    if config.training.patience and VALIDATION not in dataset.splits:
        raise UsageError(
            "training.patience looks at validation pictures, and there are none: hold some out, or drop it."
        )
    taught = None
    if config.distillation.teacher is not None:
        taught, digest = teacher.find(config.distillation, dataset.classes)
        config = override(config, {"distillation.digest": digest})
    problems = list(dataset.warnings)
    if sum(len(split) for split in dataset.splits.values()) <= OVERLAP_LIMIT:
        problems += describe_overlaps(dataset.splits)
    return Plan(config, dataset, pretrained, (*dataset.notes, *decisions), tuple(problems), teacher=taught)


def model_config(config: RunConfig, classes: int) -> Configuration:
    """The network of a run from scratch."""
    if config.model.name is None:
        raise UsageError("from scratch a model must be named: add --model ViT-Ti/16, or see `vitral models`.")
    named = configuration(config.model.name)
    if config.model.positions in positioned.OWN_KINDS or config.model.positions_at:
        named = positioned.like(named)
    if not config.pretraining.is_off:
        objective = build_objective(config.pretraining)
        classes = objective.CLASSES
        if family_of(named) != objective.FAMILY:
            size = config.model.name.partition("-")[2]
            other = {"mae": f"MAE's own encoder: --model MAE-{size}", "vit": f"a plain ViT: --model ViT-{size}"}
            raise UsageError(f"pre-training by {config.pretraining.objective} takes {other[objective.FAMILY]}.")
    return changed(named, num_classes=classes, **model_overrides(config, named))


def model_words(plan: Plan) -> str | None:
    """What to call the network of a run from scratch; `None` where its weights say what it is."""
    name = plan.config.model.name
    if plan.pretrained is not None or name is None:
        return None
    return described(name, model_config(plan.config, max(1, len(plan.dataset.classes))))


def model_overrides(config: RunConfig, model: Configuration) -> dict[str, Any]:
    """Fields of the network's configuration that the run sets itself; what is off need not be known to its family."""
    if config.model.positions in positioned.OWN_KINDS and not isinstance(model, positioned.PositionedConfig):
        raise UsageError(
            f"positions {config.model.positions} are learned from scratch, and these weights have others: leave "
            "--model.positions out."
        )
    of_run = {k: v for k, v in vars(config.model).items() if k not in ("name", "weights", "freeze", "learn")}
    return {k: v for k, v in of_run.items() if v is not None and (v or hasattr(model, k))}


def _learns_without_labels(name: str, recipe: Recipe, words: Mapping[str, Any]) -> bool:
    """Whether a run is pre-training.

    Raises:
        UsageError: it is, and something was asked for that goes with labels alone; or the other way round.
    """
    unlabelled = recipe.is_pretraining
    objective, weights = words.get("pretraining.objective"), words.get("model.weights")
    if objective == "none" and unlabelled:
        raise UsageError(f"recipe {name} learns without labels: leave --pretraining.objective none out.")
    if objective not in (None, "none") and not unlabelled:
        raise UsageError(f"recipe {name} learns labels: take --recipe mae-pretrain or masked-patch-prediction.")
    if unlabelled and weights not in (None, "none"):
        raise UsageError(
            f"pre-training starts from nothing, not from {weights}: leave that out, or name a network alone, like "
            f"`vitral train PICTURES --recipe {name} --model {'MAE-S/16' if 'mae' in name else 'ViT-S/16'}`."
        )
    return unlabelled


def describe_overlaps(splits: Mapping[str, Split]) -> list[str]:
    """A sentence if pictures of different splits are byte for byte the same."""
    found = overlaps(splits, limit=OVERLAPS_COUNTED)
    if not found:
        return []
    first = "; ".join(f"{a} {path_a} = {b} {path_b}" for a, path_a, b, path_b in found[:OVERLAPS_NAMED])
    count = f"{len(found):,}{' or more' if len(found) >= OVERLAPS_COUNTED else ''}"
    return [
        f"pairs of byte for byte equal pictures in different splits: {count} ({first}), so measured accuracy "
        f"is too good: `vitral data check --json` lists them all."
    ]


def _completed(words: Mapping[str, Any]) -> dict[str, Any]:
    """The words with what goes without saying: a teacher is asked for its likeliest class, as DeiT's is; a progressive
    resolution may end with the image size.

    Raises:
        UsageError: it ends with another size than the one that is named.
    """
    made = dict(words)
    if made.get("distillation.teacher") not in (None, "none"):
        made.setdefault("distillation.kind", "hard")
        made.setdefault("distillation.classes", "by-name")  # a recipe may trust the order of its own teacher's
    stages = made.get("schedule.resolution", ())
    stages = tuple(part.strip() for part in stages.split(",")) if isinstance(stages, str) else tuple(stages)
    if stages and ":" not in stages[-1]:
        size = override(RunConfig().model, {"image_size": stages[-1]}).image_size
        named = override(RunConfig().model, {"image_size": made.get("model.image_size", size)}).image_size
        if named != size:
            raise UsageError(
                f"--progressive-resolution ends with {stages[-1]}, but --image-size says {named[0]}x{named[1]}: they "  # type: ignore[index]
                "are the same size, so give one of them."
            )
        made |= {"model.image_size": size, "schedule.resolution": stages[:-1]}
    return made


def _ask(
    recipe: Recipe,
    base: RunConfig,
    data: DataConfig,
    dataset: Dataset,
    pretrained: Pretrained | None,
    on_gpu: bool,
    words: Mapping[str, Any],
) -> tuple[RunConfig, list[str]]:
    if recipe.choose is None:
        return base if pretrained is None else _from_weights(base, pretrained), []
    if "model.image_size" in words:
        size = override(base.model, {"image_size": words["model.image_size"]}).image_size
    elif "preprocessing.crop" in words:
        size = override(base.preprocessing, {"crop": words["preprocessing.crop"]}).crop
    else:
        size = None
    length = words.get("schedule.duration")
    facts = _look(dataset, data)
    facts = replace(
        facts,
        gpu=on_gpu,
        pretrained=pretrained.preprocessing if pretrained else None,
        image_size=size,
        patch_size=configuration(words["model.name"]).stride if words.get("model.name") else None,
        unlabelled=pretrained is not None and pretrained.described.pretraining is not None,
        lora=bool(override(base.lora, _section(words, "lora.")).rank),
        duration=override(base.schedule, {"duration": length}).duration if length else None,
    )
    config, said = recipe.choose(facts)
    finds = override(base.optimizer, {"find_rate": words.get("optimizer.find_rate", False)}).find_rate
    found = {"optimizer.learning_rate"} if finds else set()
    return config, [reason for setting, reason in said if setting not in words.keys() | found]


def _from_weights(config: RunConfig, pretrained: Pretrained) -> RunConfig:
    """A fixed recipe keeps its size; colours and interpolation are the weights'."""
    theirs = pretrained.preprocessing
    kept = replace(config.preprocessing, mean=theirs.mean, std=theirs.std, interpolation=theirs.interpolation)
    return replace(config, preprocessing=kept, model=replace(config.model, name=None))


def _settle_sizes(config: RunConfig, words: Mapping[str, Any], pretrained: Pretrained | None) -> RunConfig:
    """Make model and preprocessing agree on one input size, the one that the user named if any."""
    size, crop = config.model.image_size, config.preprocessing.crop
    if "model.image_size" in words and "preprocessing.crop" in words and size != crop:
        raise UsageError(f"--model.image-size {size} and --preprocessing.crop {crop} differ: give one of the two.")
    if "model.image_size" in words and size is not None:
        resized = config.preprocessing.at_size(size)
        kept = {"preprocessing.resize": config.preprocessing.resize} if "preprocessing.resize" in words else {}
        config = override(replace(config, preprocessing=resized), kept)
    else:
        config = override(config, {"model.image_size": crop})
    if pretrained is None:
        model_config(config, 2)  # refuse a size that the patch does not divide before anything is made
    return config


def _look(dataset: Dataset, config: DataConfig) -> Facts:
    """Open a few training pictures, spread evenly."""
    train = dataset.splits[TRAIN]
    heights, widths, grey = [], [], []
    for i in np.linspace(0, len(train) - 1, min(SAMPLE, len(train))).astype(int):
        try:
            pixels = decode(train.sources[i], config.max_pixels)
        except UnreadableImageError:
            continue
        heights.append(pixels.shape[0])
        widths.append(pixels.shape[1])
        grey.append(bool((pixels == pixels[:, :, :1]).all()))
    if not heights:
        raise DataError("not one of a sample of the training pictures can be read: `vitral data check` says why.")
    return Facts(
        pictures=len(train),
        classes=len(dataset.classes),
        height=int(np.median(heights)),
        width=int(np.median(widths)),
        grey=all(grey),
        multi_label=dataset.multi_label,
    )


def _section(words: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in words.items() if name.startswith(prefix)}
