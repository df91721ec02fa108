"""timm's distilled DeiTs. Those without the distillation token are plain ViTs, and DeiT III's have LayerScale."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from vitral.models import vit as sizes
from vitral.models.deit import DistilledConfig
from vitral.weights.mapping import Entry, same
from vitral.weights.stored import Stored
from vitral.weights.timm import vit
from vitral.weights.timm.published import SHAPE, activation, gelu, input_of, require_pool, shape_of

ARCHITECTURE = re.compile(r"deit_(tiny|small|base)_distilled_patch(\d+)_(\d+)")
SIZES = {"tiny": "Ti", "small": "S", "base": "B"}

ARGUMENTS = (*SHAPE, "mlp_ratio", "act_layer")
"""Of timm's constructor, those that are understood."""


def configuration(name: str, published: Mapping[str, Any], _: Stored) -> tuple[DistilledConfig, dict[str, str]] | None:
    """The network of timm's model `name`."""
    match = ARCHITECTURE.fullmatch(name)
    if match is None:
        return None
    require_pool("distilled DeiTs", published, "token")
    config = DistilledConfig(
        gelu=gelu(name, published),
        position_resize="timm",
        **shape_of(published, {"patch_size": int(match[2]), **sizes.SIZES[SIZES[match[1]]]}),
        **input_of(published, int(match[3])),
    )
    return config, {}


def entries(config: DistilledConfig, _: Stored | None) -> list[Entry]:
    """timm's name for each parameter."""
    found = [Entry("distillation_token", ("dist_token",))]
    found += vit.encoder(config.depth)
    return found + same("norm", "norm") + same("head", "head") + same("distillation_head", "head_dist")


def name(config: DistilledConfig) -> str | None:
    """timm's name for a network, or `None` where timm has none like it."""
    for theirs, ours in SIZES.items():
        if config.patch_size == 16 and vit.is_of_size(config, ours):
            side = 384 if theirs == "base" and config.image_size == (384, 384) else 224
            return f"deit_{theirs}_distilled_patch16_{side}"
    return None


def arguments(config: DistilledConfig) -> dict[str, Any]:
    """What `timm.create_model` must be told beside the name."""
    return activation(config)
