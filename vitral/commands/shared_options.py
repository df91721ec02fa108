"""Options that several verbs have, and how given options become settings."""

from __future__ import annotations

import argparse
from typing import Any

from vitral.config import RunConfig
from vitral.overrides import Knob, describe, knobs, parse

KNOBS = {knob.name: knob for knob in knobs(RunConfig) if knob.name not in ("recipe", "data.path", "model.weights")}
"""Every setting of a run that has an option of its own."""

SHORT = {
    # the option people type -> the setting it stands for
    "--batch-size": "training.batch_size",
    "--learning-rate": "optimizer.learning_rate",
    "--image-size": "model.image_size",
    "--seed": "training.seed",
    "--freeze": "model.freeze",
    "--lora": "lora.rank",
    "--teacher": "distillation.teacher",
    "--progressive-resolution": "schedule.resolution",
    "--find-lr": "optimizer.find_rate",
    "--precision": "training.precision",
    "--device": "runtime.device",
    "--workers": "runtime.workers",
    "--cache": "runtime.cache",
    "--augment-on": "runtime.augment_on",
}

DATA = {
    "--path-column": "data.path_column",
    "--label-column": "data.label_column",
    "--image-folder": "data.image_folder",
    "--multi-label": "data.multi_label",
    "--max-pixels": "data.max_pixels",
}

PREPROCESSING = {
    "--resize": "preprocessing.resize",
    "--crop": "preprocessing.crop",
    "--interpolation": "preprocessing.interpolation",
    "--mean": "preprocessing.mean",
    "--std": "preprocessing.std",
}


MODEL = "model folder, file of weights, name from `vitral models`, or repository of Hugging Face"
"""Help of a MODEL, whatever the verb does with it."""


def share(word: str) -> float:
    """A word as a share between 0 and 1, neither of them, for argparse."""
    try:
        value = float(word)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{word!r} is no share between 0 and 1, like 0.95")
    return value


def option_of(name: str) -> str:
    """The option of a setting: "optimizer.learning_rate" is --optimizer.learning-rate."""
    return "--" + name.replace("_", "-")


def add_settings(group: Any, options: dict[str, str]) -> None:
    """Add options that each stand for one setting."""
    for option, name in options.items():
        knob = KNOBS[name]
        kind: dict[str, Any] = {"metavar": _metavar(knob)}
        if knob.type is bool:
            kind = {"action": argparse.BooleanOptionalAction}
        group.add_argument(option, help=_help(knob), dest=name, default=argparse.SUPPRESS, **kind)


def given(arguments: argparse.Namespace, *prefixes: str) -> dict[str, Any]:
    """The settings that were given, as values, by dotted name.

    Raises:
        UsageError: a value that its setting cannot take.
    """
    named = {name: value for name, value in vars(arguments).items() if name in KNOBS and name.startswith(prefixes)}
    return {
        name: parse(value, KNOBS[name].type, _said(name)) if isinstance(value, str) else value
        for name, value in named.items()
    }


def section(arguments: argparse.Namespace, prefix: str) -> dict[str, Any]:
    """The given settings of one part of the configuration, by their names there."""
    return {name.removeprefix(prefix): value for name, value in given(arguments, prefix).items()}


def _said(name: str) -> str:
    shorter = {setting: option for options in (SHORT, DATA, PREPROCESSING) for option, setting in options.items()}
    return shorter.get(name, option_of(name))


def _metavar(knob: Knob) -> str:
    return knob.name.rsplit(".", 1)[-1].upper()


def _help(knob: Knob) -> str:
    said = knob.meaning if knob.type is bool else f"{knob.meaning} ({describe(knob.type)})"
    return said.replace("%", "%%")
