"""torchvision's layout: the state dict of one of its models in a file, recognised by names and shapes alone.

Such a file says neither its classes nor its preprocessing. The preprocessing is the one that torchvision documents for
the model; NAME.json beside NAME.pth may say otherwise:

    {"classes": [...], "descriptions": {...}, "multi_label": false, "preprocessing": {...}, "num_heads": 12}

Each part may be missing. `write` makes such a pair; torchvision itself needs only the state dict.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from vitral.config import Preprocessing
from vitral.data.preprocessing import from_json, to_json
from vitral.errors import DataError, UsageError
from vitral.models import changed, family_of
from vitral.weights.json_files import read_object
from vitral.weights.layout import Described
from vitral.weights.mapping import Entry, written
from vitral.weights.stored import Stored
from vitral.weights.torchvision import efficientnet, resnet, vit
from vitral.weights.torchvision.names import Builders, difference, name_of


class Architecture(Protocol):
    """What a module of `FAMILIES` offers."""

    MARKS: tuple[str, ...]
    """Names that stand together in no other file."""

    def configuration(self, stored: Stored, beside: Mapping[str, Any], /) -> Any:
        """The network that the shapes make; `beside` is NAME.json, or {}. Raises `DataError` where they leave a choice
        that it does not answer."""

    def preprocessing(self, config: Any, file: str, /) -> Preprocessing:
        """The usual one of that network. `file` is the file's name, from which later weights can be told."""

    def entries(self, config: Any, stored: Stored | None, /) -> list[Entry]:
        """As `Layout.entries`."""

    def builders(self, config: Any, /) -> Builders:
        """torchvision's of the family, and the fields of `config` that each fixes."""


FAMILIES: dict[str, Architecture] = {"vit": vit, "resnet": resnet, "efficientnet": efficientnet}
"""By the key of `vitral.models.FAMILIES`."""

OTHERS_KEYS = {"library", "architecture", "architectures", "model_type"}
"""What a config.json of another layout says."""


def recognises(stored: Stored, config: Mapping[str, Any]) -> bool:
    """Whether the names are torchvision's and nothing beside them says otherwise."""
    return not OTHERS_KEYS & config.keys() and _architecture(stored) is not None


def describe(stored: Stored, _: Mapping[str, Any], __: Path) -> Described:
    """The network by its shapes, the rest from NAME.json or as torchvision documents it."""
    architecture = _architecture(stored)
    assert architecture is not None, "asked of a file that was not recognised"
    beside = _beside(stored.path)
    config = architecture.configuration(stored, beside)
    notes: tuple[str, ...] = ()
    if "preprocessing" in beside:
        preprocessing = from_json(beside["preprocessing"])
        if not hasattr(config, "patch_size"):  # of a Vision Transformer the positions say it
            config = changed(config, image_size=preprocessing.crop)
    else:
        preprocessing = architecture.preprocessing(config, stored.path.name)
        height, width = preprocessing.crop
        notes = (
            f"preprocessing is torchvision's usual for these weights (resize {preprocessing.resize}, crop "
            f"{height}x{width}, {preprocessing.interpolation}); {_path_beside(stored.path).name} can say otherwise",
        )
    classes = tuple(str(name) for name in beside.get("classes", ()))
    if classes and len(classes) != config.num_classes:
        raise DataError(f"{len(classes)} class names stand beside a head of {config.num_classes} classes.")
    descriptions = {str(k): str(v) for k, v in beside.get("descriptions", {}).items()}
    return Described(config, preprocessing, classes, descriptions, bool(beside.get("multi_label", False)), notes=notes)


def entries(config: Any, stored: Stored | None) -> list[Entry]:
    """Where each parameter and buffer stands."""
    return FAMILIES[family_of(config)].entries(config, stored)


def write(folder: Path, described: Described, tensors: Mapping[str, Tensor]) -> None:
    """Write NAME.pth, which `torchvision.models.NAME().load_state_dict(torch.load(...))` takes, and NAME.json.

    Raises:
        UsageError: torchvision has no such model.
    """
    config = described.config
    family = FAMILIES.get(family_of(config))
    if family is None:
        raise UsageError("torchvision has no model of this family: choose another layout.")
    builders = family.builders(config)
    name = name_of(config, builders)
    if name is None:
        raise UsageError(
            f"torchvision has no model that computes the same ({difference(config, builders)}): choose another layout."
        )
    beside = {
        "model": name,
        "image_size": list(config.image_size),
        "num_classes": config.num_classes,
        **({"num_heads": config.num_heads} if hasattr(config, "num_heads") else {}),
        "preprocessing": to_json(described.preprocessing),
        "classes": list(described.classes),
        "descriptions": described.descriptions,
        "multi_label": described.multi_label,
    }
    file = folder / f"{name}.pth"
    torch.save(
        {key: value.detach().cpu() for key, value in written(family.entries(config, None), tensors).items()}, file
    )
    _path_beside(file).write_text(json.dumps(beside, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _architecture(stored: Stored) -> Architecture | None:
    return next((a for a in FAMILIES.values() if all(mark in stored.shapes for mark in a.MARKS)), None)


def _path_beside(file: Path) -> Path:
    return file.with_suffix(".json")


def _beside(file: Path) -> dict[str, Any]:
    """What NAME.json says, or nothing."""
    path = _path_beside(file)
    if not path.is_file() or path.name == "config.json":
        return {}
    return read_object(path, "mend or remove it")
