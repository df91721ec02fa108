"""timm's plain residual networks; the names of their parameters are torchvision's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vitral.models.resnet import VARIANTS, ResNetConfig
from vitral.weights.stored import Stored
from vitral.weights.timm.published import input_of, require_pool
from vitral.weights.torchvision.names import name_of
from vitral.weights.torchvision.resnet import builders, entries

__all__ = ["ARGUMENTS", "configuration", "entries", "name"]

ARCHITECTURES = {name.replace("-", "").lower(): name for name in VARIANTS}

ARGUMENTS: tuple[str, ...] = ()
"""Of timm's constructor, those that are understood."""


def configuration(name: str, published: Mapping[str, Any], _: Stored) -> tuple[ResNetConfig, dict[str, str]] | None:
    """The network of timm's model `name`."""
    if name not in ARCHITECTURES:
        return None
    require_pool("ResNets", published, "avg")
    variant = VARIANTS[ARCHITECTURES[name]]
    return replace(variant, **input_of(published, variant.image_size[0])), {}


def name(config: ResNetConfig) -> str | None:
    """timm's name for a network, or `None` where timm has none like it."""
    return name_of(config, builders(config))
