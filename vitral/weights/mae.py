"""Files of facebookresearch/mae, as `.pth` with {"model": ...}: fine-tuned, and pre-trained with or without decoder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from vitral.errors import DataError, UsageError
from vitral.models.mae import MaeConfig
from vitral.models.positions import mae_sincos2d
from vitral.weights.from_shapes import has_blocks, imagenet, shape_of
from vitral.weights.layout import Described, without_head
from vitral.weights.mapping import Entry, written
from vitral.weights.stored import Stored
from vitral.weights.timm import mae as timm_mae

FILE = "model.pth"
"""What `write` calls the file; the authors' have names like mae_finetuned_vit_base.pth."""

CROP = 224 / 256
"""Share of the picture that is cut out in evaluation, up to 224 pixels; larger inputs see all of it."""

TOLERANCE = 1e-4
"""Largest difference at which a position table is still MAE's."""

NOTE = "the class token is pooled, as in the authors' linear probe; they fine-tune with the patches' mean: pool gap"


def recognises(stored: Stored, config: Mapping[str, Any]) -> bool:
    """Whether a file has the norm of a fine-tuned MAE, or blocks without a head."""
    others = any(name == "reg_token" or name.endswith(".ls1.gamma") for name in stored.shapes)
    if others or not has_blocks(stored, config):
        return False
    return "fc_norm.weight" in stored.shapes or "head.weight" not in stored.shapes


def describe(stored: Stored, config: Mapping[str, Any], _: Path) -> Described:
    """The classifier that the shapes make.

    Raises:
        DataError: it has neither MAE's norm nor its positions, so it may be anyone's; or shapes leave a choice.
    """
    pool: Literal["gap", "token"] = "gap" if "fc_norm.weight" in stored.shapes else "token"
    headless = "head.weight" not in stored.shapes
    classes = 1 if headless else stored.shapes["head.weight"][0]
    model = MaeConfig(num_classes=classes, pool=pool, **shape_of(stored, config, 1))
    if pool == "token":
        table = stored.tensor("pos_embed").float()
        difference = (table - mae_sincos2d(model.grid_size, model.width)).abs().max()
        if not difference <= TOLERANCE:
            raise DataError(
                f"{stored.path} is a ViT in timm's names without a head, and its positions are not MAE's: nothing says "
                f"how pictures are to be prepared; put timm's config.json beside it."
            )
    side = min(model.image_size)
    return Described(
        model,
        imagenet(model.image_size, int(side / CROP) if side <= 224 else side),
        left_out={name: "of the decoder, which only pre-training needs" for name in stored.shapes if _decodes(name)},
        headless=headless,
        notes=(NOTE,) if headless and pool == "token" else (),
    )


def entries(config: MaeConfig, stored: Stored | None) -> list[Entry]:
    """Where each parameter stands: timm's names."""
    return timm_mae.entries(config, stored)


def write(folder: Path, described: Described, tensors: Mapping[str, Tensor]) -> None:
    """Write what the authors' fine-tuning opens: {"model": ...}.

    Raises:
        UsageError: their code has no such model.
    """
    config = described.config
    if not isinstance(config, MaeConfig) or config.gelu != "exact":
        raise UsageError("MAE's code has no model of this shape: choose another layout.")
    found = entries(config, None)
    if described.headless:
        found = without_head(found, config)
    torch.save({"model": written(found, tensors)}, folder / FILE)


def _decodes(name: str) -> bool:
    return name == "mask_token" or name.startswith("decoder_")
