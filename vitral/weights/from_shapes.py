"""What the shapes of a file say of a Vision Transformer, where its names are timm's and no configuration comes along.

Meta's research code (DeiT, MAE, DINOv2) saves such files: cls_token, pos_embed, patch_embed.proj, blocks.0.attn.qkv.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from vitral.config import Preprocessing
from vitral.errors import DataError
from vitral.models import vit
from vitral.models.layerscale import GIANT
from vitral.weights.colours import IMAGENET_MEAN, IMAGENET_STD
from vitral.weights.stored import Stored

SAID = ("architecture", "num_heads", "decoder_num_heads", "image_size")
"""What a config.json may say beside such a file: all that shapes cannot."""

HEADS = {(size["width"], size["depth"]): size["num_heads"] for size in (*vit.SIZES.values(), GIANT)}
"""Attention heads by (width, depth), in every published size."""


def has_blocks(stored: Stored, config: Mapping[str, Any], prefix: str = "") -> bool:
    """Whether a file is of a ViT in timm's names, with nothing beside it but what `SAID` lists."""
    needed = ("cls_token", "pos_embed", "patch_embed.proj.weight")
    return set(config) <= set(SAID) and all(prefix + name in stored.shapes for name in needed)


def shape_of(
    stored: Stored, config: Mapping[str, Any], before_grid: int, prefix: str = "", first_block: str = "blocks.0"
) -> dict[str, Any]:
    """The fields of a configuration that shapes say: sizes, patch, heads, input.

    Args:
        config: what is said beside the file: "num_heads", "image_size".
        before_grid: rows of the position table before the grid's.
        prefix: what every name begins with.
        first_block: name of the first block.

    Raises:
        DataError: heads or input size are not determined by the shapes, and nothing says them.
    """
    width, channels, patch, _ = stored.shapes[f"{prefix}patch_embed.proj.weight"]
    block = re.compile(re.escape(prefix) + r"blocks\.(?:\d+\.)?(\d+)\.norm1\.weight")
    depth = sum(1 for name in stored.shapes if block.fullmatch(name))
    mlp = f"{prefix}{first_block}.mlp."
    inner = stored.shapes.get(f"{mlp}fc2.weight") or stored.shapes[f"{mlp}w3.weight"]
    return {
        "patch_size": patch,
        "width": width,
        "depth": depth,
        "mlp_dim": inner[1],
        "num_heads": _heads(width, depth, config, stored),
        "image_size": _image_size(stored.shapes[f"{prefix}pos_embed"][1] - before_grid, patch, config, stored),
        "channels": channels,
    }


def _heads(width: int, depth: int, config: Mapping[str, Any], stored: Stored) -> int:
    if "num_heads" in config:
        return int(config["num_heads"])
    if (width, depth) not in HEADS:
        raise DataError(
            f"{stored.path} has {depth} blocks {width} wide, which no published model has, and its shapes do not tell "
            f'the attention heads: put a config.json beside it, {{"num_heads": ...}}.'
        )
    return HEADS[width, depth]


def _image_size(patches: int, patch: int, config: Mapping[str, Any], stored: Stored) -> tuple[int, int]:
    if "image_size" in config:
        height, width = config["image_size"]
        return int(height), int(width)
    side = math.isqrt(max(0, patches))
    if side * side != patches or not side:
        raise DataError(
            f"{stored.path} has positions for {patches} patches, which is no square: put a config.json beside it, "
            f'{{"image_size": [height, width]}}.'
        )
    return side * patch, side * patch


def imagenet(size: tuple[int, int], resize: int) -> Preprocessing:
    """ImageNet's mean and standard deviation, bicubic: how all of Meta's ViTs were trained.

    Args:
        resize: shorter side before the cut, in pixels.
    """
    return Preprocessing(crop=size, resize=resize, interpolation="bicubic", mean=IMAGENET_MEAN, std=IMAGENET_STD)
