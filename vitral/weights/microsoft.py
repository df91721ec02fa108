"""The files of Swin's and BEiT's authors (microsoft/Swin-Transformer, microsoft/unilm): weights without a config.json.

Everything is read off names and shapes. Heads are the columns of a bias table, windows and grids its rows.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vitral.config import Preprocessing
from vitral.errors import DataError, UsageError
from vitral.models.beit import CLASS_OFFSETS, BEiTConfig
from vitral.models.swin import SwinConfig
from vitral.weights.colours import IMAGENET_MEAN, IMAGENET_STD
from vitral.weights.layout import Described
from vitral.weights.mapping import Entry, written
from vitral.weights.stored import Shape, Stored
from vitral.weights.timm import beit, swin

TABLE = "attn.relative_position_bias_table"

SWIN = {swin.AUTHORS_MERGING, f"layers.0.blocks.0.{TABLE}", "patch_embed.norm.weight", "head.weight"}
BEIT = {"cls_token", f"blocks.0.{TABLE}", "blocks.0.attn.q_bias", "blocks.0.gamma_1", "fc_norm.weight", "head.weight"}
"""Names that only files of these have together."""

SHARED_TABLE = "rel_pos_bias.relative_position_bias_table"
"""In the files of BEiT's pre-training, which have no classes."""

SQUASHED_FROM = 384
"""Pixels from which Swin's authors evaluate on the squashed picture (TEST.CROP of their configurations)."""

UNCROPPED_FROM = 384
"""Pixels from which BEiT's authors resize the shorter side to the input (crop_pct in their datasets.py)."""


BEITS = ("beit", "beitv2")
"""Beginnings of the names of BEiT's files. Both versions have the same names and shapes inside, and other colours."""


def recognises(stored: Stored, config: Mapping[str, Any]) -> bool:
    """Whether a file has the names of one of the two, and no config.json that says more than which BEiT it is."""
    names = stored.shapes.keys()
    return set(config) <= {"architecture"} and (names >= SWIN or names >= BEIT or SHARED_TABLE in names)


def describe(stored: Stored, config: Mapping[str, Any], _: Path) -> Described:
    """The model that the names and shapes make.

    Raises:
        DataError: the shapes are of no square window or grid, the file is one of pre-training, or nothing tells which
            version of BEiT it is.
    """
    shapes = stored.shapes
    if SHARED_TABLE in shapes:
        raise DataError(
            "the weights are BEiT's of pre-training alone, which share one bias table and have no classes: take those "
            "that were fine-tuned, whose names end in ft22k or ft22kto1k."
        )
    classes = shapes["head.weight"][0]
    if shapes.keys() >= SWIN:
        swin_config, notes = _swin(shapes, classes)
        size = swin_config.image_size
        resize = size if size[0] >= SQUASHED_FROM else int(256 / 224 * size[0])
        preprocessing = Preprocessing(size, resize, "bicubic", IMAGENET_MEAN, IMAGENET_STD)
        return Described(swin_config, preprocessing, left_out=swin.computed(shapes), notes=notes)
    beit_config, second = _beit(shapes, classes), _is_second(stored, config)
    size = beit_config.image_size
    resize = size[0] if size[0] >= UNCROPPED_FROM else int(size[0] / 0.875)
    colours = (IMAGENET_MEAN, IMAGENET_STD) if second else ()
    return Described(beit_config, Preprocessing(size, resize, "bicubic", *colours), left_out=beit.computed(shapes))


def entries(config: Any, stored: Stored | None) -> list[Entry]:
    """Where each parameter stands."""
    return swin.named(config, authors=True) if isinstance(config, SwinConfig) else beit.entries(config, stored)


def write(folder: Path, described: Described, tensors: Mapping[str, Tensor]) -> None:
    """Write the model.pth that the authors' programs open. It has no place for preprocessing and class names.

    Beside a BEiT stands a config.json that says of which version it is; nobody else needs it.

    Raises:
        UsageError: the model is neither a Swin nor a BEiT.
    """
    if not isinstance(described.config, SwinConfig | BEiTConfig):
        raise UsageError("Microsoft's files hold Swins and BEiTs: choose another layout.")
    torch.save({"model": written(entries(described.config, None), tensors)}, folder / "model.pth")
    if isinstance(described.config, BEiTConfig):
        version = BEITS[described.preprocessing.mean == IMAGENET_MEAN]
        (folder / "config.json").write_text(json.dumps({"architecture": version}) + "\n", encoding="utf-8")


def _is_second(stored: Stored, config: Mapping[str, Any]) -> bool:
    """Whether a file is of BEiT v2 (arXiv 2208.06366): by the config.json beside it, or by its name."""
    said = str(config["architecture"] if config else stored.path.name).partition("_")[0]
    if said not in BEITS:
        raise DataError(
            f"{stored.path} is a BEiT, and nothing tells whether of the first version, whose colours are brought to "
            f'-1..1, or the second, which has ImageNet\'s: put {{"architecture": "beit"}} or '
            f'{{"architecture": "beitv2"}} as config.json beside it.'
        )
    return said == BEITS[1]


def _swin(shapes: Mapping[str, Shape], classes: int) -> tuple[SwinConfig, tuple[str, ...]]:
    stages = 1 + max(int(name.split(".")[1]) for name in shapes if name.startswith("layers."))
    tables = [f"layers.{i}.blocks.0.{TABLE}" for i in range(stages)]
    windows = [_side(shapes[table][0], table) for table in tables]
    width, channels, patch, _ = shapes["patch_embed.proj.weight"]
    mask = shapes.get("layers.0.blocks.1.attn_mask")  # windows in the picture x tokens x tokens
    if mask is not None:
        side = patch * math.isqrt(mask[0]) * windows[0]
    else:  # the first stage that is one window, or the last
        stage = next((i for i, window in enumerate(windows) if window < windows[0]), stages - 1)
        side = patch * 2**stage * windows[stage]
    config = SwinConfig(
        width=width,
        depths=tuple(_count(shapes, rf"layers\.{i}\.blocks\.(\d+)\.") for i in range(stages)),
        num_heads=tuple(shapes[table][1] for table in tables),
        window_size=windows[0],
        patch_size=patch,
        image_size=(side, side),
        num_classes=classes,
        channels=channels,
    )
    note = f"the file does not say its image size: {side} is the one that its windows fit"
    return config, (note,) if mask is None else ()


def _beit(shapes: Mapping[str, Shape], classes: int) -> BEiTConfig:
    width, channels, patch, _ = shapes["patch_embed.proj.weight"]
    rows, heads = shapes[f"blocks.0.{TABLE}"]
    side = patch * _side(rows - CLASS_OFFSETS, f"blocks.0.{TABLE}")
    return BEiTConfig(
        patch_size=patch,
        width=width,
        depth=_count(shapes, r"blocks\.(\d+)\."),
        mlp_dim=shapes["blocks.0.mlp.fc1.weight"][0],
        num_heads=heads,
        image_size=(side, side),
        num_classes=classes,
        channels=channels,
    )


def _count(names: Iterable[str], pattern: str) -> int:
    """How many blocks there are, by their numbers."""
    matches = (re.match(pattern, name) for name in names)
    return 1 + max(int(match[1]) for match in matches if match)


def _side(rows: int, table: str) -> int:
    """Tokens along a side of the square that has (2 side - 1)^2 offsets."""
    root = math.isqrt(max(rows, 0))
    if root * root != rows or root % 2 == 0:
        raise DataError(f"{table} has {rows} offsets, which no square makes: the file is not one of the authors'.")
    return (root + 1) // 2
