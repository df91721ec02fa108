"""What the verbs that measure share: labelled pictures for a model, and how a measured share is written."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, NamedTuple

from vitral.commands.shared_options import section
from vitral.console import Screen
from vitral.errors import UsageError

if TYPE_CHECKING:
    from vitral.config import DataConfig
    from vitral.datasets import Cut, Dataset, Split
    from vitral.serving.predictor import Model

UNNAMED = "the model names no classes: labels are taken as their numbers"


class Labelled(NamedTuple):
    """Pictures to measure a model on: how they are read, the split's name, what the screen calls it ("all" where the
    data has no splits), the split, with labels in the model's classes, and the data set that it is of."""

    config: DataConfig
    name: str
    shown: str
    split: Split
    dataset: Dataset


def labelled(model: Model, arguments: argparse.Namespace, screen: Screen, of: str = "") -> Labelled:
    """The pictures that the arguments name, for this model.

    Args:
        of: the beginning of every sentence that is said of them.
    """
    from vitral.config import DataConfig
    from vitral.datasets import read_for_evaluation
    from vitral.datasets.class_list import NAMES, label_names
    from vitral.overrides import override

    data = override(DataConfig(path=arguments.pictures, multi_label=model.multi_label), section(arguments, "data."))
    require_single(model, data.multi_label, arguments)
    labels = getattr(arguments, "labels", NAMES)
    if labels == NAMES and not model.named:
        screen.decide(f"{of}{UNNAMED}")
    names = label_names(labels, model.classes)
    dataset = read_for_evaluation(data, names, arguments.split, cut_of(model.metrics))
    say(dataset, screen, of)
    ((name, split),) = dataset.splits.items()
    return Labelled(data, name, "all" if dataset.whole else name, split, dataset)


def say(dataset: Dataset, screen: Screen, of: str = "") -> None:
    """What was decided and what is wrong with the pictures."""
    for sentence in dataset.notes:
        screen.decide(f"{of}{sentence}")
    for sentence in dataset.warnings:
        screen.warn(f"{of}{sentence}")


def require_single(model: Model, multi_label: bool, arguments: argparse.Namespace) -> None:
    """Refuse what does not go with the number of labels that the model gives a picture."""
    if multi_label != model.multi_label:
        kind = "several labels" if model.multi_label else "one label"
        raise UsageError(f"the model gives a picture {kind}: leave --multi-label out, the model knows.")
    for option in ("real", "abstain_at", "conformal", "only_present_classes", "corruptions", "corruption"):
        if model.multi_label and getattr(arguments, option, None):
            raise UsageError(f"--{option.replace('_', '-')} is for models that give a picture one label: leave it out.")


def cut_of(metrics: dict[str, Any]) -> Cut | None:
    """How the model's own validation pictures were held out, if its folder says so."""
    from vitral.datasets import Cut

    try:
        return Cut(**metrics["held_out"])
    except (KeyError, TypeError):
        return None


def headlines(found: dict[str, Any], name: str, classes: int) -> list[str]:
    """The numbers that stand first, of a split of that name, one sentence each; top-5 only of more than 5 classes."""
    shares = {"top1": "top-1", "top5": "top-5"} if classes > 5 else {"top1": "top-1"}
    tops = ", ".join(f"{words} {found[key]:.2%}{spread(found, key)}" for key, words in shares.items())
    said = [f"{name}: {tops} of {found['count']:,} pictures"]
    if "mean_average_precision" in found:
        ends = found.get("intervals", {}).get("mean_average_precision")
        shown = f" ({ends['low']:.4f} to {ends['high']:.4f})" if ends else ""
        said.append(f"{name}: mean average precision {found['mean_average_precision']:.4f}{shown}")
    return said


def of_patches(found: dict[str, Any], name: str) -> list[str]:
    """What pre-training without labels comes to, of a split of that name."""
    ends = found.get("intervals", {}).get("loss")
    shown = f" ({ends['low']:.4f} to {ends['high']:.4f})" if ends else ""
    right = f", colours named rightly {found['patch_accuracy']:.2%}" if "patch_accuracy" in found else ""
    return [f"{name}: loss {found['loss']:.4f}{shown}{right}, of {found['count']:,} pictures"]


def spread(found: dict[str, Any], name: str) -> str:
    """The interval of a share in brackets, in percent: " (80.1 to 84.3)"; nothing if there is none."""
    ends = found.get("intervals", {}).get(name)
    return f" ({100 * ends['low']:.1f} to {100 * ends['high']:.1f})" if ends else ""
