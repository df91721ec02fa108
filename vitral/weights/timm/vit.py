"""timm's plain Vision Transformers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from vitral.errors import DataError
from vitral.models import vit
from vitral.models.vit import ViTConfig
from vitral.weights.mapping import Entry, same
from vitral.weights.stored import Stored

ARCHITECTURE = re.compile(r"(?:vit|deit)_(tiny|small|base|large|huge|so400m|giant|gigantic)_patch(\d+)_(\d+)")
"""DeiT without the distillation token is the plain ViT."""

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

PATCHES = {
    "tiny": (16,), "small": (8, 16, 32), "base": (8, 16, 32), "large": (14, 16, 32), "huge": (14,), "giant": (14,),
    "gigantic": (14,),
}  # fmt: skip
"""Patch sizes that timm has a name for, all at 224 pixels, those of 16 and 32 at 384 too."""


def configuration(name: str, published: Mapping[str, Any], _: Stored) -> tuple[ViTConfig, dict[str, str]] | None:
    """The network of timm's model `name`."""
    match = ARCHITECTURE.fullmatch(name)
    if match is None or published.get("global_pool") == "avg":  # which is MAE's, with a class token
        return None
    if published.get("global_pool", "token") != "token":
        raise DataError(
            f"the weights pool by {published['global_pool']!r}: of timm's ViTs only those with a class token are read."
        )
    side = published.get("input_size", [3, int(match[3]), int(match[3])])
    config = ViTConfig(
        patch_size=int(match[2]),
        image_size=(int(side[1]), int(side[2])),
        num_classes=int(published.get("num_classes", 1000)),
        gelu="exact",  # timm computes these weights with the exact GELU, whatever they were trained with
        **vit.SIZES[SIZES[match[1]]],
    )
    return config, {}


def entries(config: ViTConfig, _: Stored | None) -> list[Entry]:
    """timm's name for each parameter."""
    return encoder(config.depth) + same("norm", "norm") + same("head", "head")


def encoder(depth: int) -> list[Entry]:
    """Names of the tokens and blocks, which timm's descendants of ViT share."""
    found = [Entry("class_token", ("cls_token",)), Entry("position_embedding", ("pos_embed",))]
    found += same("patch_embedding", "patch_embed.proj")
    for i in range(depth):
        found += whole_block(f"blocks.{i}")
    return found


def whole_block(name: str) -> list[Entry]:
    """Names of a plain block, which is called the same there and here."""
    return block(name, name) + same(f"{name}.mlp.fc1", f"{name}.mlp.fc1") + same(f"{name}.mlp.fc2", f"{name}.mlp.fc2")


def block(ours: str, theirs: str) -> list[Entry]:
    """Names of a block's norms and attention."""
    found = same(f"{ours}.norm1", f"{theirs}.norm1") + same(f"{ours}.norm2", f"{theirs}.norm2")
    return (
        found
        + same(f"{ours}.attention.qkv", f"{theirs}.attn.qkv")
        + same(f"{ours}.attention.out", f"{theirs}.attn.proj")
    )


def name(config: ViTConfig) -> str | None:
    """timm's name for a network, or `None` where timm has none like it."""
    plain = config.pool == "token" and config.positions == "learned" and config.representation_size is None
    return name_of(config) if plain else None


def name_of(config: Any) -> str | None:
    """timm's name for the ViT of these sizes, or `None`; of another input it is the one for 224 pixels."""
    for theirs, patches in PATCHES.items():
        if config.patch_size in patches and is_of_size(config, SIZES[theirs]):
            large = config.image_size == (384, 384) and config.patch_size in (16, 32)
            return f"vit_{theirs}_patch{config.patch_size}_{384 if large else 224}"
    return None


def is_of_size(config: Any, size: str) -> bool:
    """Whether width, depth, MLP and heads are those of a key of `vitral.models.vit.SIZES`."""
    return all(getattr(config, key) == value for key, value in vit.SIZES[size].items())
