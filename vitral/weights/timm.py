"""timm's layout of a Vision Transformer: its names, its config.json, both ways.

A folder as timm publishes it: `model.safetensors` and `config.json` with "architecture" and "pretrained_cfg".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vitral.config import Interpolation, Preprocessing
from vitral.errors import DataError
from vitral.models import vit
from vitral.models.vit import ViTConfig

NAMES = (
    # (vitral's, timm's): prefixes of parameter names; {i} is a block's number
    ("patch_embedding.", "patch_embed.proj."),
    ("class_token", "cls_token"),
    ("position_embedding", "pos_embed"),
    ("blocks.{i}.norm1.", "blocks.{i}.norm1."),
    ("blocks.{i}.attention.qkv.", "blocks.{i}.attn.qkv."),
    ("blocks.{i}.attention.out.", "blocks.{i}.attn.proj."),
    ("blocks.{i}.norm2.", "blocks.{i}.norm2."),
    ("blocks.{i}.mlp.", "blocks.{i}.mlp."),
    ("norm.", "norm."),
    ("head.", "head."),
)

ARCHITECTURE = re.compile(r"vit_(tiny|small|base|large|huge|so400m|giant|gigantic)_patch(\d+)_(\d+)")
SIZES = {
    "tiny": "Ti",
    "small": "S",
    "base": "B",
    "large": "L",
    "huge": "H",
    "so400m": "So400m",
    "giant": "g",
    "gigantic": "G",
}


def recognises(config: Mapping[str, Any]) -> bool:
    """Whether a config.json is one of timm's."""
    return "architecture" in config and ("pretrained_cfg" in config or "num_features" in config)


def to_ours(name: str) -> str | None:
    """vitral's name for a parameter of timm's, or `None` where it has none."""
    return _translate(name, [(theirs, ours) for ours, theirs in NAMES])


def to_theirs(name: str) -> str | None:
    """timm's name for a parameter of vitral's, or `None` where it has none (pre_logits, attention_pool)."""
    return _translate(name, NAMES)


def _translate(name: str, table: Any) -> str | None:
    block = re.match(r"blocks\.(\d+)\.", name)
    number = block[1] if block else ""
    for source, target in table:
        prefix = source.format(i=number)
        if name == prefix or (prefix.endswith(".") and name.startswith(prefix)):
            return str(target.format(i=number)) + name[len(prefix) :]
    return None


def read_config(
    config: Mapping[str, Any], _: Path | None = None
) -> tuple[ViTConfig, Preprocessing, tuple[str, ...], dict[str, str], bool]:
    """Model, preprocessing, class names, their descriptions, and `False` (one label a picture), from a config.json.
    It says everything: the folder that it lies in is not looked at.

    Raises:
        DataError: an architecture that is no plain ViT.
    """
    name = str(config["architecture"])
    match = ARCHITECTURE.fullmatch(name)
    if match is None:
        raise DataError(
            f"the weights are of architecture {name!r}: only plain ViTs like vit_base_patch16_224 are read."
        )
    published = {**config, **config.get("pretrained_cfg", {})}
    if config.get("global_pool", "token") != "token":
        raise DataError(
            f"the weights pool by {config['global_pool']!r}: of timm's ViTs only those with a class token are read."
        )
    side = published.get("input_size", [3, int(match[3]), int(match[3])])
    model = ViTConfig(
        patch_size=int(match[2]),
        image_size=(int(side[1]), int(side[2])),
        num_classes=int(config.get("num_classes", published.get("num_classes", 1000))),
        gelu="exact",  # timm computes these weights with the exact GELU, whatever they were trained with
        **vit.SIZES[SIZES[match[1]]],
    )
    labels = tuple(str(label) for label in published.get("label_names", ()))
    return (
        model,
        _preprocessing(published, model.image_size),
        labels,
        dict(published.get("label_descriptions", {})),
        False,
    )


def _preprocessing(published: Mapping[str, Any], size: tuple[int, int]) -> Preprocessing:
    interpolation: Interpolation = published.get("interpolation", "bicubic")
    return Preprocessing(
        crop=size,
        resize=int(min(size) / published.get("crop_pct", 0.875)),  # timm rounds down
        interpolation=interpolation,
        mean=tuple(published.get("mean", (0.485, 0.456, 0.406))),
        std=tuple(published.get("std", (0.229, 0.224, 0.225))),
    )
