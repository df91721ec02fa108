"""torchvision's Vision Transformers."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from vitral.config import Preprocessing
from vitral.errors import DataError
from vitral.models.vit import SIZES, ViTConfig
from vitral.weights.mapping import Entry, same
from vitral.weights.stored import Stored
from vitral.weights.torchvision.normalised import IMAGENET

MARKS: tuple[str, ...] = ("class_token", "conv_proj.weight", "encoder.pos_embedding", "encoder.ln.weight")

NAMES = {"B/16": "vit_b_16", "B/32": "vit_b_32", "L/16": "vit_l_16", "L/32": "vit_l_32", "H/14": "vit_h_14"}

LINEAR = "lc_swag"
"""In the names of SWAG's weights with only the head trained on ImageNet."""


def configuration(stored: Stored, beside: Mapping[str, Any]) -> ViTConfig:
    """The network that the shapes make; the heads, which they do not tell, by the known sizes or as said beside."""
    shapes = stored.shapes
    width, channels, patch, _ = shapes["conv_proj.weight"]
    depth = len([name for name in shapes if re.fullmatch(r"encoder\.layers\.encoder_layer_\d+\.ln_1\.weight", name)])
    rows = shapes["encoder.pos_embedding"][1] - 1
    side = math.isqrt(rows)
    if side * side != rows:
        raise DataError(f"{rows} positions and a class token make no square grid: torchvision has no such model.")
    pre_logits = shapes.get("heads.pre_logits.weight")
    return ViTConfig(
        patch_size=patch,
        width=width,
        depth=depth,
        mlp_dim=shapes[f"encoder.layers.encoder_layer_0.{_mlp(stored)[0]}.weight"][0],
        num_heads=_heads(width, depth, stored, beside),
        image_size=(side * patch, side * patch),
        num_classes=shapes["heads.head.weight"][0],
        representation_size=pre_logits[0] if pre_logits else None,
        gelu="exact",
        channels=channels,
        position_resize="torchvision",
    )


def _heads(width: int, depth: int, stored: Stored, beside: Mapping[str, Any]) -> int:
    if "num_heads" in beside:
        return int(beside["num_heads"])
    for size in SIZES.values():
        if (size["width"], size["depth"]) == (width, depth):
            return int(size["num_heads"])
    raise DataError(
        f"how many attention heads {depth} blocks of width {width} have cannot be told from shapes: write "
        f'{{"num_heads": ...}} into {stored.path.with_suffix(".json").name} beside it.'
    )


def preprocessing(config: ViTConfig, file: str) -> Preprocessing:
    """The first weights: a cut from 256 (ViT-L/16: 242); SWAG's, of more pixels: no border, bicubic."""
    side = config.image_size[0]
    large = (config.patch_size, config.width) == (16, 1024)
    if side != 224 or config.patch_size == 14 or LINEAR in file:
        return Preprocessing(config.image_size, side, "bicubic", **IMAGENET)
    return Preprocessing(config.image_size, 242 if large else 256, "bilinear", **IMAGENET)


def entries(config: ViTConfig, stored: Stored | None) -> list[Entry]:
    """torchvision's name for each parameter."""
    found = [Entry("class_token", ("class_token",)), Entry("position_embedding", ("encoder.pos_embedding",))]
    found += same("patch_embedding", "conv_proj")
    fc1, fc2 = _mlp(stored)
    for i in range(config.depth):
        ours, theirs = f"blocks.{i}", f"encoder.layers.encoder_layer_{i}"
        found += same(f"{ours}.norm1", f"{theirs}.ln_1") + same(f"{ours}.norm2", f"{theirs}.ln_2")
        for kind in ("weight", "bias"):  # q, k and v stand one above the other in both
            found += [Entry(f"{ours}.attention.qkv.{kind}", (f"{theirs}.self_attention.in_proj_{kind}",))]
        found += same(f"{ours}.attention.out", f"{theirs}.self_attention.out_proj")
        found += same(f"{ours}.mlp.fc1", f"{theirs}.{fc1}") + same(f"{ours}.mlp.fc2", f"{theirs}.{fc2}")
    if config.representation_size is not None:
        found += same("pre_logits", "heads.pre_logits")
    return found + same("norm", "encoder.ln") + same("head", "heads.head")


def _mlp(stored: Stored | None) -> tuple[str, str]:
    """Names of the two dense layers; files from before torchvision 0.13 have others."""
    if stored is not None and "encoder.layers.encoder_layer_0.mlp.linear_1.weight" in stored.shapes:
        return "mlp.linear_1", "mlp.linear_2"
    return "mlp.0", "mlp.3"


def builders(config: ViTConfig) -> dict[str, dict[str, Any]]:
    """torchvision's, with what each fixes; pictures of any square are welcome to all."""
    square = (config.image_size[0],) * 2
    same_in_all = {"gelu": "exact", "pool": "token", "positions": "learned", "channels": 3, "image_size": square}
    return {
        theirs: {"patch_size": int(size.split("/")[1]), **SIZES[size.split("/")[0]], **same_in_all}
        for size, theirs in NAMES.items()
    }
