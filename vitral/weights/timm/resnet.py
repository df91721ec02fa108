"""timm's plain residual networks; the names of their parameters are torchvision's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vitral.models.resnet import VARIANTS, ResNetConfig
from vitral.weights.stored import Stored
from vitral.weights.torchvision.resnet import entries
from vitral.weights.torchvision.resnet import name as torchvisions_name

__all__ = ["configuration", "entries", "name"]

ARCHITECTURES = {name.replace("-", "").lower(): name for name in VARIANTS}


def configuration(name: str, published: Mapping[str, Any], _: Stored) -> tuple[ResNetConfig, dict[str, str]] | None:
    """The network of timm's model `name`."""
    if name not in ARCHITECTURES:
        return None
    variant = VARIANTS[ARCHITECTURES[name]]
    channels, height, width = published.get("input_size", (3, *variant.image_size))
    classes = int(published.get("num_classes", 1000))
    return replace(variant, image_size=(int(height), int(width)), num_classes=classes, channels=int(channels)), {}


def name(config: ResNetConfig) -> str | None:
    """timm's name for a network, or `None` where timm has none like it."""
    return torchvisions_name(config)
