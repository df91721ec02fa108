"""timm's layouts: `model.safetensors` and a `config.json` with "architecture" and "pretrained_cfg".

One module per family; each knows the architectures that it reads by their names.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Protocol

from safetensors.torch import save_file
from torch import Tensor

from vitral.config import Interpolation, Preprocessing
from vitral.errors import DataError, UsageError
from vitral.models import family_of
from vitral.models.adapter import AdapterConfig
from vitral.weights.colours import IMAGENET_MEAN, IMAGENET_STD
from vitral.weights.layout import DEPTH, Described, require_counts, without_head
from vitral.weights.mapping import Entry, written
from vitral.weights.stored import Stored
from vitral.weights.timm import (
    adapter,
    beit,
    bit,
    deit,
    efficientnet,
    hybrid,
    layerscale,
    mae,
    mixer,
    resnet,
    swin,
    vit,
)
from vitral.weights.timm.published import NotReadError, arguments_of, laid_over, require_known


class Architecture(Protocol):
    """What a module of `FAMILIES` offers."""

    @property
    def ARGUMENTS(self) -> Collection[str] | None:  # noqa: N802 - a constant of the module
        """Arguments of timm's constructor that `configuration` understands, beside those that all do; `None`: all."""

    def configuration(
        self, name: str, published: Mapping[str, Any], stored: Stored, /
    ) -> tuple[Any, dict[str, str]] | None:
        """The network of timm's model `name`, and tensors left out with the reasons; `None` if it is not one of this
        family. `published` is as `laid_over` makes it. Raises `NotReadError` for a value that is not understood."""

    def entries(self, config: Any, stored: Stored | None, /) -> list[Entry]:
        """As `Layout.entries`."""

    def name(self, config: Any, /) -> str | None:
        """timm's name for a network, or `None` where timm has none like it."""


FAMILIES: dict[str, Architecture] = {
    "vit": vit, "deit": deit, "layerscale": layerscale, "mae": mae, "hybrid": hybrid, "bit": bit, "mixer": mixer,
    "beit": beit, "swin": swin, "resnet": resnet, "efficientnet": efficientnet,
    "adapter": adapter,
}  # fmt: skip
"""By the key of `vitral.models.FAMILIES`."""

ARGUMENTS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "vit": vit.arguments,
    "deit": deit.arguments,
    "layerscale": layerscale.arguments,
    "hybrid": hybrid.arguments,
    "mae": mae.arguments,
    "adapter": adapter.arguments,
}
"""What `timm.create_model` must be told of a network beside its name and input size."""

READ = (
    "plain ViTs like vit_base_patch16_224, hybrids like vit_base_r50_s16_384, DeiT's, DeiT III's, DINOv2's and MAE's, "
    "BEiTs, Swins, BiTs like resnetv2_50x1_bit, Mixers like mixer_b16_224, resnet18 to 152, efficientnet_b0 to b7 and "
    "tf_efficientnet_b0 to l2"
)
"""What can be read, for errors."""


def recognises(_: Stored, config: Mapping[str, Any]) -> bool:
    """Whether a config.json is one of timm's."""
    return "architecture" in config and ("pretrained_cfg" in config or "num_features" in config)


def describe(stored: Stored, config: Mapping[str, Any], _: Path) -> Described:
    """The model that config.json names; it says everything.

    Raises:
        DataError: it is not read. UnavailableError: it is, by timm, which is not installed.
    """
    return described(stored, config, FAMILIES)


def described(stored: Stored, config: Mapping[str, Any], families: Mapping[str, Architecture]) -> Described:
    """As `describe`, by the first of `families` that takes the model."""
    name = str(config["architecture"]).split(".")[0]  # what follows the dot is a choice of weights
    published = laid_over(config)
    given = arguments_of(published)
    require_counts({key: value for key, value in given.items() if DEPTH.search(key)}, stored)
    headless = published.get("num_classes") == 0
    if headless:
        published["num_classes"] = 1  # of the zero head, until classes are known
    model, left_out = _configuration(name, published, stored, families)
    headless = headless or (isinstance(model, AdapterConfig) and adapter.headless(model))
    return Described(
        model,
        preprocessing_of(published, model.image_size),
        _class_names(published, 0 if headless else model.num_classes),
        dict(published.get("label_descriptions") or {}),
        left_out=left_out,
        headless=headless,
    )


def _class_names(published: Mapping[str, Any], rows: int) -> tuple[str, ...]:
    """Names in the order of the head's rows; none where there is no head, or nothing names them.

    Raises:
        DataError: "label_names" is no list, or has another number of names.
    """
    names = published.get("label_names") or []
    if not isinstance(names, list | tuple) or not all(type(name) in (str, int) for name in names):
        raise DataError(f"label_names must be a list of class names, not {names!r:.60}.")
    if rows and names and len(names) != rows:
        raise DataError(f"label_names names {len(names)} classes, the head has {rows}.")
    return tuple(map(str, names)) if rows else ()


def _configuration(
    name: str, published: Mapping[str, Any], stored: Stored, families: Mapping[str, Architecture]
) -> tuple[Any, dict[str, str]]:
    """The network, of the first family that has timm's model with just these arguments.

    What our own family cannot have, the adapter, which is the last, may: it is timm's model itself.
    """
    refused = None
    for architecture in families.values():
        try:
            found = architecture.configuration(name, published, stored)
            if found is not None:
                require_known(name, published, architecture.ARGUMENTS)
                return found
        except NotReadError as error:
            refused = refused or error
    raise refused or adapter.refusal(name, published, READ)


def entries(config: Any, stored: Stored | None) -> list[Entry]:
    """Where each parameter stands."""
    return FAMILIES[family_of(config)].entries(config, stored)


def write(folder: Path, described: Described, tensors: Mapping[str, Tensor]) -> None:
    """Write what `timm.create_model("local-dir:FOLDER", pretrained=True)` opens, and Transformers' Auto classes by it.

    Raises:
        UsageError: timm has no such model.
    """
    config, preprocessing = described.config, described.preprocessing
    family = FAMILIES.get(family_of(config))
    name = family.name(config) if family else None
    if family is None or name is None:
        raise UsageError("timm has no model of this shape: choose another layout.")
    if preprocessing.resize is None or isinstance(preprocessing.resize, tuple):
        crop = {"crop_pct": 1.0, "crop_mode": "squash" if preprocessing.resize else "center"}
    else:
        crop = {"crop_pct": _share(min(preprocessing.crop), preprocessing.resize), "crop_mode": "center"}
    rows = 0 if described.headless else config.num_classes
    published = {
        "input_size": [getattr(config, "channels", 3), *config.image_size],
        "mean": list(preprocessing.mean),
        "std": list(preprocessing.std),
        "interpolation": preprocessing.interpolation,
        **crop,
        "num_classes": rows,
    }
    whole: dict[str, Any] = {"architecture": name, "num_classes": rows, "pretrained_cfg": published}
    if described.classes:  # beside "pretrained_cfg", where Transformers looks for them too
        whole["label_names"] = list(described.classes)
    if described.descriptions:
        whole["label_descriptions"] = described.descriptions
    arguments = {"img_size": list(config.image_size)} if hasattr(config, "patch_size") else {}
    arguments |= ARGUMENTS.get(family_of(config), lambda _: {})(config)
    whole["model_args"] = arguments
    if "global_pool" in arguments:
        whole["global_pool"] = arguments["global_pool"]
    entries = family.entries(config, None)
    if described.headless:
        entries = without_head(entries, config)
    save_file(written(entries, tensors), folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _share(cut: int, whole: int) -> float:
    """`cut` / `whole`, or the next smaller number, so that `cut` by it is not below `whole` where timm rounds down."""
    share = cut / whole
    return share if int(cut / share) == whole else math.nextafter(share, 0)


def preprocessing_of(published: Mapping[str, Any], size: tuple[int, int]) -> Preprocessing:
    """What a "pretrained_cfg" means, for a network of that input size.

    Raises:
        DataError: pictures are cut otherwise than at the centre.
    """
    mode = published.get("crop_mode", "center")
    if mode not in ("center", "squash"):
        raise DataError(f"crop_mode {mode!r} is not read: pictures are cut at the centre ('center') or squashed.")
    interpolation: Interpolation = published.get("interpolation", "bicubic")
    sides = [int(side / published.get("crop_pct", 0.875)) for side in size]  # timm rounds down
    return Preprocessing(
        crop=size,
        resize=(sides[0], sides[1]) if mode == "squash" else min(sides),
        interpolation=interpolation,
        mean=tuple(published.get("mean", IMAGENET_MEAN)),
        std=tuple(published.get("std", IMAGENET_STD)),
    )
