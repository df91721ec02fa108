"""vitral's model folder: the artefact that describes itself.

model.safetensors    parameters, by the model's own names
config.json          architecture, image size and a checksum of model.safetensors
preprocessing.json   from pixels to input
classes.json         class names in the order of the head's rows
metrics.json         what was measured, and on what; the temperature of the probabilities
README.md            the model card

What was pre-trained without labels has neither head nor class names: config.json has an entry "pretraining", and the
tensors that a classifier has no use for have names that begin with "pretraining.".
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from vitral.data.preprocessing import from_json, to_json
from vitral.errors import DataError, StorageError, UsageError
from vitral.files import replace_durably
from vitral.models import FAMILIES, changed, family_of
from vitral.models.network import is_too_large
from vitral.models.pretext import ASIDE
from vitral.overrides import describe as describe_kind
from vitral.overrides import fits, knobs
from vitral.registry import look_up, nearest
from vitral.weights.aside import OLD, written_aside
from vitral.weights.checksum import checksum_of
from vitral.weights.json_files import read_object
from vitral.weights.layout import Described, without_head
from vitral.weights.mapping import Entry
from vitral.weights.stored import Stored

WHY_ASIDE = "only pre-training needs it"
"""Of tensors whose names begin with `ASIDE`."""

FORMAT = 1
"""Raised whenever an older vitral could misread a newer folder."""


def recognises(_: Stored, config: Mapping[str, Any]) -> bool:
    """Whether a config.json is one of vitral's."""
    return is_ours(config)


def is_ours(config: Mapping[str, Any]) -> bool:
    """Whether a config.json is one of vitral's."""
    return config.get("library") == "vitral"


def entries(_: Any, stored: Stored | None) -> list[Entry]:
    """Names in the folder are the model's own."""
    assert stored is not None, "a model folder is written by `write_model`"
    return [Entry(name, (name,)) for name in stored.shapes if not name.startswith(ASIDE)]


def describe(stored: Stored, config: Mapping[str, Any], folder: Path) -> Described:
    """Model, preprocessing and classes.

    Raises:
        DataError: a field is missing, unknown or out of range, or the folder is of a newer format.
    """
    if config.get("format") != FORMAT:
        raise DataError(
            f"{folder} has format {config.get('format')}, this vitral reads format {FORMAT}: update vitral."
        )
    try:
        model = _configuration(str(config.get("family", "vit")), config["model"])
        preprocessing = from_json(_read(folder / "preprocessing.json"))
        classes = _read(folder / "classes.json")
        names = tuple(classes["names"])
        multi_label = classes.get("multi_label", False)
        if not isinstance(classes["names"], list) or not all(isinstance(name, str) for name in names):
            raise TypeError("classes.json must list the class names")
        if type(multi_label) is not bool:
            raise TypeError("classes.json: multi_label must be true or false")
        changed(model, image_size=preprocessing.crop)  # refuses an input that the model cannot take
        descriptions = {str(k): str(v) for k, v in classes.get("descriptions", {}).items()}
        checksum = config.get("checksum")  # folders of vitral 0.1 have none
        if checksum is not None and not isinstance(checksum, str):
            raise TypeError("config.json: checksum must be words")
        pretraining = config.get("pretraining")  # only what was made without labels has it, and it has no head
        if pretraining is not None and not isinstance(pretraining, dict):
            raise TypeError("config.json: pretraining must be an object")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{folder} is not a whole model folder ({error}): save or train it again.") from error
    if pretraining is not None:
        left_out = {name: WHY_ASIDE for name in stored.shapes if name.startswith(ASIDE)}
        return Described(
            model, preprocessing, left_out=left_out, headless=True, pretraining=pretraining, checksum=checksum
        )
    if len(names) != model.num_classes:
        raise DataError(
            f"{folder} names {len(names)} classes, its head has {model.num_classes}: save or train it again."
        )
    return Described(model, preprocessing, names, descriptions, multi_label, checksum=checksum)


def write(folder: Path, described: Described, tensors: Mapping[str, Tensor]) -> None:
    """A model folder without metrics, its card naming what it is; of what was pre-trained, without a head."""
    if described.pretraining is not None:
        kept = {entry.ours for entry in without_head([Entry(name, (name,)) for name in tensors], described.config)}
        tensors = {name: value for name, value in tensors.items() if name in kept}
    write_model(folder, described, tensors, {}, "")


def write_model(
    folder: Path, described: Described, tensors: Mapping[str, Tensor], metrics: Mapping[str, Any], card: str
) -> None:
    """Write a model folder; an older one in its place is replaced only when the new one is whole.

    Raises:
        UsageError: something other than a model folder stands in its place.
        StorageError: it could not be written; what was there before is untouched.
    """
    _require_replaceable(folder)
    model = described.config
    config = {"library": "vitral", "format": FORMAT, "family": family_of(model), "model": dataclasses.asdict(model)}
    if described.pretraining is not None:
        config["pretraining"] = dict(described.pretraining)
    contents = {
        "config.json": config,
        "preprocessing.json": to_json(described.preprocessing),
        "classes.json": {
            "names": list(described.classes),
            "descriptions": described.descriptions,
            "multi_label": described.multi_label,
        },
        "metrics.json": dict(metrics),
    }
    with written_aside(folder) as aside:
        plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        save_file(plain, aside / "model.safetensors", metadata={"format": "pt"})
        config["checksum"] = checksum_of(aside / "model.safetensors")
        for name, value in contents.items():
            (aside / name).write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        (aside / "README.md").write_text(card, encoding="utf-8")
        # safetensors lets nobody else read what it writes
        (aside / "model.safetensors").chmod((aside / "config.json").stat().st_mode)


def replace_metrics(folder: Path, metrics: Mapping[str, Any], note: str) -> Path:
    """Give a model folder other metrics, and its card a sentence about them.

    Args:
        note: a paragraph in Markdown for the end of the card.

    Returns:
        where the older metrics are kept: metrics-1.json, or the next number that is free.

    Raises:
        StorageError: it could not be written; what was there before is untouched.
    """
    kept = next(path for k in itertools.count(1) if not (path := folder / f"metrics-{k}.json").exists())
    card = folder / "README.md"
    try:
        before = folder / "metrics.json"
        replace_durably(kept, before.read_bytes() if before.exists() else b"{}\n")
        replace_durably(before, json.dumps(dict(metrics), indent=1, ensure_ascii=False).encode() + b"\n")
        if card.exists():
            replace_durably(card, card.read_bytes().rstrip() + f"\n\n{note}\n".encode())
    except OSError as error:
        raise StorageError(
            f"cannot write to {folder} ({error.strerror}): free some space or check its rights."
        ) from error
    return kept


def _require_replaceable(folder: Path) -> None:
    """Refuse to take the place of anything but an empty folder or an older model of vitral's."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    try:
        ours = is_ours(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError, AttributeError):
        ours = False
    if not ours:
        raise UsageError(f"{folder} is there and is not a model of vitral's, so it is not replaced: name another.")


def recover(folder: Path) -> None:
    """Undo an exchange that a crash cut in two: give the old folder its name back, and remove what was left aside."""
    for left in sorted(folder.parent.glob(f".{folder.name}-*")):
        if left.name.endswith(OLD) and not folder.exists():
            left.rename(folder)
        else:
            shutil.rmtree(left, ignore_errors=True)


def _configuration(family: str, plain: Mapping[str, Any]) -> Any:
    """The network's configuration: every field known, of its type, and in range."""
    kind = look_up("model family", family, FAMILIES).config
    known = {knob.name: knob.type for knob in knobs(kind)}
    read = {name: tuple(value) if isinstance(value, list) else value for name, value in plain.items()}
    for name, value in read.items():
        if name not in known:
            raise DataError(
                f"config.json has an unknown field {name!r}: did you mean {' or '.join(nearest(name, known))}?"
            )
        if not fits(value, known[name]):
            raise DataError(f"config.json: {name} must be {describe_kind(known[name])}, not {plain[name]!r}")
        if is_too_large(value):
            raise DataError(f"config.json: {name} must be below 2^24, not {plain[name]!r}")
    return kind(**read)


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise DataError(f"{path} is missing: the model folder is not whole.")
    return read_object(path, "copy or train it again")
