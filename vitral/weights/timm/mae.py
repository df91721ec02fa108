"""timm's ViTs that pool the patches' mean and then normalise it, as MAE's are fine-tuned: `global_pool="avg"`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitral.errors import DataError
from vitral.models import vit as sizes
from vitral.models.mae import MaeConfig
from vitral.weights.mapping import Entry, same
from vitral.weights.stored import Stored
from vitral.weights.timm import vit
from vitral.weights.timm.published import activation, gelu, input_of, shape_of

ARGUMENTS = vit.ARGUMENTS
"""Of timm's constructor, those that are understood."""


def configuration(name: str, published: Mapping[str, Any], stored: Stored) -> tuple[MaeConfig, dict[str, str]] | None:
    """The network of timm's model `name`."""
    match = vit.ARCHITECTURE.fullmatch(name)
    if match is None or published.get("global_pool") != "avg":
        return None
    if "cls_token" not in stored.shapes or "fc_norm.weight" not in stored.shapes:
        raise DataError(
            "the weights pool by 'avg' without a class token or without fc_norm: of those only MAE's, with both, are "
            "read."
        )
    config = MaeConfig(
        gelu=gelu(name, published),
        position_resize="timm",
        **shape_of(published, {"patch_size": int(match[2]), **sizes.SIZES[vit.SIZES[match[1]]]}),
        **input_of(published, int(match[3])),
    )
    return config, {}


def entries(config: MaeConfig, _: Stored | None) -> list[Entry]:
    """timm's name for each parameter."""
    norm = "fc_norm" if config.pool == "gap" else "norm"
    return vit.encoder(config.depth) + same("norm", norm) + same("head", "head")


def name(config: MaeConfig) -> str | None:
    """timm's name for a network, or `None` where timm has none like it."""
    return vit.name_of(config)


def arguments(config: MaeConfig) -> dict[str, Any]:
    """What `timm.create_model` must be told beside the name."""
    return activation(config) | ({"global_pool": "avg"} if config.pool == "gap" else {})
