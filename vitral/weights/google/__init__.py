"""The authors' own files: JAX parameters in one .npz, of vision_transformer, big_vision and big_transfer.

One module per family. A file says what it is by its names and shapes. What it cannot say is by its authors' code:
pixels from -1 to 1, squashed to the input size (bilinear; TensorFlow's has no antialiasing, ours has), tanh GELU.
A `config.json` that is written beside it carries what else a model has and is taken up again; nobody else needs it:

    {"layout": "google", "model": {"image_size": [224, 160]}, "preprocessing": {...}, "classes": {"names": [...]}}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from vitral.config import Preprocessing
from vitral.data.preprocessing import from_json, to_json
from vitral.errors import DataError, UsageError
from vitral.models import changed, family_of
from vitral.overrides import describe as describe_kind
from vitral.overrides import fits, knobs
from vitral.weights.google import bit, hybrid, mixer, vit
from vitral.weights.google.tree import PREFIXES, Tree
from vitral.weights.layout import Described, without_head
from vitral.weights.mapping import Entry, written
from vitral.weights.stored import Stored


class Architecture(Protocol):
    """What a module of `FAMILIES` offers."""

    def recognises(self, tree: Tree, /) -> bool:
        """Whether the arrays are of this family."""

    def configuration(self, tree: Tree, size: tuple[int, int] | None, /) -> Any:
        """The network by the shapes; `size` is that of the input where it is known."""

    def notes(self, tree: Tree, /) -> list[str]:
        """Sentences that the report should carry."""

    def entries(self, config: Any, tree: Tree | None, /) -> list[Entry]:
        """Names without a prefix; `None` for those that are written."""


FAMILIES: dict[str, Architecture] = {"vit": vit, "hybrid": hybrid, "bit": bit, "mixer": mixer}
"""By the key of `vitral.models.FAMILIES`."""

CARRIED = ("image_size", "gelu", "dropout", "stochastic_depth", "head_bias", "checkpoint_blocks", "position_resize")
"""Fields of a configuration that no shape tells."""

HEADS = ("head/kernel", *bit.HEADS.values())
"""Names of a head's kernel."""

WHOLE_IMAGENET = 21_843
"""Classes of ImageNet-21k."""

FILE = "model.npz"


def recognises(stored: Stored, _: Mapping[str, Any]) -> bool:
    """Whether names are the authors'."""
    return _find(stored) is not None


def describe(stored: Stored, config: Mapping[str, Any], _: Path) -> Described:
    """The model that the shapes tell, and what config.json adds if it is ours.

    Raises:
        DataError: the shapes do not fit together, or leave open what nothing else tells.
    """
    found = _find(stored)
    assert found is not None, "it was recognised"
    family, tree = found
    beside = config if config.get("layout") == "google" else {}
    carried = beside.get("model", {})
    size = carried.get("image_size")
    size = None if size is None else _checked("image_size", size, {"image_size": tuple[int, int]})
    model = FAMILIES[family].configuration(tree, size)
    kinds = {knob.name: knob.type for knob in knobs(type(model))}
    model = changed(model, **{name: _checked(name, value, kinds) for name, value in carried.items()})
    classes = beside.get("classes", {})
    names = tuple(str(name) for name in classes.get("names", ()))
    if names and len(names) != model.num_classes:
        raise DataError(f"config.json names {len(names)} classes, the head has {model.num_classes}.")
    squashed = Preprocessing(crop=model.image_size, resize=model.image_size)
    return Described(
        model,
        from_json(beside["preprocessing"]) if "preprocessing" in beside else squashed,
        names,
        {str(name): str(words) for name, words in classes.get("descriptions", {}).items()},
        bool(classes.get("multi_label", False)),
        left_out=tree.left_out(),
        notes=(*FAMILIES[family].notes(tree), *_zero_head(tree)),
        headless=not any(name in tree for name in HEADS),
    )


def entries(config: Any, stored: Stored | None) -> list[Entry]:
    """Where each parameter stands."""
    family = FAMILIES[family_of(config)]
    if stored is None:
        return family.entries(config, None)
    found = _find(stored)
    assert found is not None, "it was recognised"
    tree = found[1]
    return [
        Entry(entry.ours, tuple(tree.prefix + name for name in entry.theirs), entry.form)
        for entry in family.entries(config, tree)
    ]


def write(folder: Path, described: Described, tensors: Mapping[str, Tensor]) -> None:
    """Write `model.npz`, which the authors' codes open, and a config.json with what has no place in it.

    Raises:
        UsageError: the authors' codes have no such model.
    """
    config = described.config
    if family_of(config) not in FAMILIES:
        raise UsageError("the authors' codes have no model of this family: choose another layout.")
    found = entries(config, None)
    made = written(without_head(found, config) if described.headless else found, tensors)
    arrays: dict[str, Any] = {name: value.detach().cpu().numpy() for name, value in made.items()}
    np.savez(folder / FILE, **arrays)
    known = {field.name for field in fields(config)}
    beside = {
        "layout": "google",
        "model": {name: value for name, value in asdict(config).items() if name in CARRIED and name in known},
        "preprocessing": to_json(described.preprocessing),
        "classes": {
            "names": list(described.classes),
            "descriptions": described.descriptions,
            "multi_label": described.multi_label,
        },
    }
    (folder / "config.json").write_text(json.dumps(beside, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _find(stored: Stored) -> tuple[str, Tree] | None:
    """Family and place of the model in a file."""
    for prefix in PREFIXES:
        tree = Tree(stored, prefix)
        for name, family in FAMILIES.items():
            if family.recognises(tree):
                return name, tree
    return None


def _checked(name: str, value: Any, kinds: Mapping[str, Any]) -> Any:
    """A field of config.json in the type of the configuration's."""
    if name not in CARRIED or name not in kinds:
        raise DataError(f"config.json has a field {name!r} of the model: only {', '.join(CARRIED)} can be there.")
    value = tuple(value) if isinstance(value, list) else value
    if not fits(value, kinds[name]):
        raise DataError(f"config.json: {name} must be {describe_kind(kinds[name])}, not {value!r}.")
    return value


def _zero_head(tree: Tree) -> list[str]:
    """The published ImageNet-21k files of 2020 have lost their heads."""
    if "head/kernel" not in tree or tree.shape("head/kernel", 2)[1] != WHOLE_IMAGENET:
        return []
    if tree.stored.tensor(f"{tree.prefix}head/kernel").any():
        return []
    return [
        "its head for ImageNet-21k is all zeros, as it was published: give it classes to learn, or take its features"
    ]
