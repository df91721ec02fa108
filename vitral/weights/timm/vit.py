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


def configuration(name: str, published: Mapping[str, Any], _: Stored) -> tuple[ViTConfig, dict[str, str]] | None:
    """The network of timm's model `name`."""
    match = ARCHITECTURE.fullmatch(name)
    if match is None:
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
    found = [Entry("class_token", ("cls_token",)), Entry("position_embedding", ("pos_embed",))]
    found += same("patch_embedding", "patch_embed.proj")
    for i in range(config.depth):
        block = f"blocks.{i}"
        found += same(f"{block}.norm1", f"{block}.norm1") + same(f"{block}.norm2", f"{block}.norm2")
        found += same(f"{block}.attention.qkv", f"{block}.attn.qkv")
        found += same(f"{block}.attention.out", f"{block}.attn.proj")
        found += same(f"{block}.mlp.fc1", f"{block}.mlp.fc1") + same(f"{block}.mlp.fc2", f"{block}.mlp.fc2")
    return found + same("norm", "norm") + same("head", "head")


def name(config: ViTConfig) -> str | None:
    """timm's name for a network, or `None` where timm has none like it."""
    plain = config.pool == "token" and config.positions == "learned" and config.representation_size is None
    for theirs, ours in SIZES.items():
        if plain and all(getattr(config, key) == value for key, value in vit.SIZES[ours].items()):
            return f"vit_{theirs}_patch{config.patch_size}_{config.image_size[0]}"
    return None
