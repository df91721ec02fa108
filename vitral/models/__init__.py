"""Every model by its paper's name: `VARIANTS`, and `create_model`."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from typing import Any

import torch

from vitral.errors import UsageError
from vitral.models import vit
from vitral.models.vit import VisionTransformer, ViTConfig
from vitral.registry import look_up, nearest

VARIANTS: dict[str, ViTConfig] = {**vit.VARIANTS}
"""Configuration of every published variant, by the papers' names."""


def configuration(name: str, **overrides: Any) -> ViTConfig:
    """The configuration of variant `name` with some fields changed.

    A name need not be in `VARIANTS`: "ViT-S/4" is any size of `vit.SIZES` with any patch size.

    Args:
        overrides: fields of `ViTConfig`; an `image_size` may be one number for a square.

    Raises:
        UsageError: unknown name or field, or values that do not fit together; the nearest names are given.
    """
    match = re.fullmatch(r"ViT-(\w+)/(\d{1,3})", name)
    if name not in VARIANTS and match and match[1] in vit.SIZES and int(match[2]):
        base = ViTConfig(patch_size=int(match[2]), image_size=_near_224(int(match[2])), **vit.SIZES[match[1]])
    else:
        base = look_up("model", name, VARIANTS)
    known = [f.name for f in fields(ViTConfig)]
    for key in overrides:
        if key not in known:
            close = nearest(key, known)
            raise UsageError(f"a ViT has no field {key!r}: did you mean {' or '.join(close or known)}?")
    if isinstance(overrides.get("image_size"), int):
        overrides["image_size"] = (overrides["image_size"],) * 2
    return replace(base, **overrides)


def _near_224(patch_size: int) -> tuple[int, int]:
    side = max(1, 224 // patch_size) * patch_size
    return side, side


def create_model(name: str, *, device: str | torch.device = "cpu", **overrides: Any) -> VisionTransformer:
    """A freshly initialised model on `device` ("meta" builds only the shapes), in evaluation mode.

    >>> create_model("ViT-B/16", num_classes=10)
    """
    with torch.device(device):
        return VisionTransformer(configuration(name, **overrides)).eval()
