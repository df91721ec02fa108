"""Files of facebookresearch/deit: DeiT, its distilled form and DeiT III, as `.pth` with {"model": ...}."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vitral.config import Preprocessing
from vitral.errors import DataError, UsageError
from vitral.models import family_of
from vitral.models.deit import PREFIX, DistilledConfig
from vitral.models.layerscale import DEIT3, LayerScaleConfig
from vitral.models.vit import ViTConfig
from vitral.weights.from_shapes import has_blocks, imagenet, shape_of
from vitral.weights.layout import Described
from vitral.weights.mapping import Entry, same, written
from vitral.weights.stored import Stored
from vitral.weights.timm import deit as timm_deit
from vitral.weights.timm import vit as timm_vit

FILE = "model.pth"
"""What `write` calls the file; the authors' have names like deit_base_patch16_224-b5f2ef4d.pth."""

OLD_CROP = 0.875
"""Share of the picture that is cut out in evaluation: 224 of 256."""

NEW_CROP = 1.0
"""Likewise DeiT III's, as all its commands have it (`--eval-crop-ratio 1.0`)."""


def recognises(stored: Stored, config: Mapping[str, Any]) -> bool:
    """Whether a file has a head, blocks in timm's names, and neither MAE's norm nor DINOv2's mask."""
    others = ("mask_token", "fc_norm.weight", "reg_token")
    has_head = "head.weight" in stored.shapes
    return has_blocks(stored, config) and has_head and not any(name in stored.shapes for name in others)


def describe(stored: Stored, config: Mapping[str, Any], _: Path) -> Described:
    """The model that the shapes make.

    Raises:
        DataError: it may as well be another's plain ViT, and nothing says that it is DeiT's; or shapes leave a choice.
    """
    classes = stored.shapes["head.weight"][0]
    model: ViTConfig | DistilledConfig | LayerScaleConfig
    if "dist_token" in stored.shapes:
        model = DistilledConfig(num_classes=classes, **shape_of(stored, config, PREFIX))
    elif "blocks.0.gamma_1" in stored.shapes:
        model = LayerScaleConfig(num_classes=classes, **shape_of(stored, config, 0), **DEIT3)
    else:
        if not (str(config.get("architecture", "")).startswith("deit_") or stored.path.name.startswith("deit_")):
            raise DataError(
                "it is a plain ViT in timm's names, and nothing says how pictures are to be prepared for it: put a "
                'config.json beside it, for a ViT of timm\'s like {"architecture": "vit_tiny_patch16_224", '
                f'"num_classes": {classes}, "pretrained_cfg": {{"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}}}} '
                'with its own numbers, for DeiT {"architecture": "deit_base_patch16_224"}.'
            )
        shape = shape_of(stored, config, 1)
        model = ViTConfig(num_classes=classes, gelu="exact", position_resize="huggingface", **shape)
    return Described(model, _preprocessing(model))


def entries(config: Any, stored: Stored | None) -> list[Entry]:
    """Where each parameter stands: timm's names, but for LayerScale."""
    family = family_of(config)
    if family == "vit":
        return timm_vit.entries(config, stored)
    if family == "deit":
        return timm_deit.entries(config, stored)
    found = timm_vit.encoder(config.depth)
    for i in range(config.depth):
        found += [Entry(f"blocks.{i}.scale{k}", (f"blocks.{i}.gamma_{k}",)) for k in (1, 2)]
    return found + same("norm", "norm") + same("head", "head")


def write(folder: Path, described: Described, tensors: Mapping[str, Tensor]) -> None:
    """Write what the authors' `--resume` opens: {"model": ...}.

    Raises:
        UsageError: their code has no such model.
    """
    config = described.config
    plain = isinstance(config, ViTConfig) and (config.pool, config.positions, config.representation_size) == (
        "token", "learned", None,
    )  # fmt: skip
    third = isinstance(config, LayerScaleConfig) and (
        config.pool, config.registers, config.class_position, config.mlp,
    ) == ("token", 0, False, "gelu")  # fmt: skip
    if not (plain or third or isinstance(config, DistilledConfig)) or config.gelu != "exact":
        raise UsageError("DeiT's code has no model of this shape: choose another layout.")
    torch.save({"model": written(entries(config, None), tensors)}, folder / FILE)


def _preprocessing(model: ViTConfig | DistilledConfig | LayerScaleConfig) -> Preprocessing:
    share = NEW_CROP if isinstance(model, LayerScaleConfig) else OLD_CROP
    return imagenet(model.image_size, int(min(model.image_size) / share))
