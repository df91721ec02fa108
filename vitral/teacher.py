"""The trained model whose answers a run learns from (arXiv 2012.12877): found, checked and known again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import torch

from vitral.config import DistillationConfig, Preprocessing
from vitral.data.preprocessing import to_json
from vitral.errors import UsageError
from vitral.models.digest import weights_digest
from vitral.serving.loading import load
from vitral.serving.predictor import Model
from vitral.training.distillation import Teacher

DIGITS = 16
"""Hexadecimal digits of a digest: enough to tell teachers apart."""


def find(config: DistillationConfig, classes: Sequence[str]) -> tuple[Model, str]:
    """The teacher and its digest.

    Args:
        classes: those of the run, in their order.

    Raises:
        UsageError: its answers cannot be brought to our classes, or it is not the one that `config.digest` tells.
        MissingInputError, DataError, UnavailableError: as `vitral.serving.loading.load`.
    """
    name = config.teacher
    assert name is not None, "asked for only where there is one"
    model = load(name)
    if model.backend is not None:
        raise UsageError(f"the teacher {name} is an export: name the model folder that it was made from.")
    if model.multi_label and config.kind == "soft":
        raise UsageError(
            f"the teacher {name} answers several questions per picture, and --distillation.kind soft learns the "
            "probabilities of one: take --distillation.kind hard."
        )
    columns(model, config, classes)
    digest = digest_of(model)
    if config.digest is not None and config.digest != digest:
        raise UsageError(
            f"the teacher {name} is not the one that this run learns from (digest {digest}, not {config.digest}): name "
            "that one with --teacher, or start afresh with another --out."
        )
    return model, digest


def digest_of(model: Model) -> str:
    """What tells a teacher's answers: its weights, preprocessing and classes; independent of file and folder."""
    said = {
        "weights": weights_digest(model.network),
        "preprocessing": to_json(model.preprocessing),
        "classes": model.classes if model.named else None,
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:DIGITS]


def columns(model: Model, config: DistillationConfig, classes: Sequence[str]) -> list[int]:
    """For each of our classes the teacher's number of it.

    Raises:
        UsageError: the teacher lacks one, or its names do not tell.
    """
    if config.classes == "in-order":
        if len(model.classes) != len(classes):
            raise UsageError(
                f"the teacher {config.teacher} has {len(model.classes):,} classes and the pictures {len(classes):,}, "
                "so they cannot be the same in order: leave --distillation.classes out."
            )
        return list(range(len(classes)))
    if not model.named or len(set(model.classes)) < len(model.classes):
        kind = "gives several classes the same name" if model.named else "names no classes"
        trusted = (
            ", or, if they are ours in our order, add --distillation.classes in-order"
            if len(model.classes) == len(classes)
            else ""
        )
        raise UsageError(
            f"the teacher {config.teacher} {kind}, so its answers cannot be matched: name a model with --teacher that "
            f"gives each class a name of its own{trusted}."
        )
    places = {name: place for place, name in enumerate(model.classes)}
    missing = [name for name in classes if name not in places]
    if missing:
        raise UsageError(
            f"the teacher does not know {len(missing)} of the {len(classes)} classes ({', '.join(missing[:3])}"
            f"{' ...' * (len(missing) > 3)}): name a model with --teacher that was trained on them, under these names."
        )
    return [places[name] for name in classes]


def teacher(
    model: Model, config: DistillationConfig, ours: Preprocessing, classes: Sequence[str], device: torch.device
) -> Teacher:
    """The teacher as training asks it, on `device`."""
    model.network.to(device).requires_grad_(False)
    theirs = torch.tensor(columns(model, config, classes), device=device)
    return Teacher(model.network, ours, model.preprocessing, theirs)


def said(model: Model, config: DistillationConfig, ours: Preprocessing) -> str:
    """The decision, for printing."""
    how = "its likeliest class" if config.kind == "hard" else f"its probabilities at temperature {config.temperature:g}"
    size, own = model.preprocessing.crop, ours.crop
    seen = "" if size == own else f", which sees the same pictures at {size[0]}x{size[1]}"
    return f"learning from the answers of {config.teacher}{seen} ({how}), {config.alpha:.0%} of the loss"
