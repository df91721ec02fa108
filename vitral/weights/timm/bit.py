"""timm's conversions of the BiT ResNets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vitral.models import bit
from vitral.models.bit import BiTConfig
from vitral.weights.mapping import CONVOLUTION, Entry, same
from vitral.weights.stored import Stored
from vitral.weights.timm.published import input_of, require_pool

ARCHITECTURE = re.compile(r"resnetv2_(50x1|50x3|101x1|101x3|152x2|152x4)_bit")

ARGUMENTS: tuple[str, ...] = ()
"""Of timm's constructor, those that are understood."""

FILTER_VARIANCE_EPS = 1e-8
"""With which timm computes, and Transformers too; the authors train with less."""


def configuration(name: str, published: Mapping[str, Any], _: Stored) -> tuple[BiTConfig, dict[str, str]] | None:
    """The network of timm's model `name`."""
    match = ARCHITECTURE.fullmatch(name)
    if match is None:
        return None
    require_pool("BiTs", published, "avg")
    variant = bit.VARIANTS[f"BiT-R{match[1]}"]
    return replace(variant, filter_variance_eps=FILTER_VARIANCE_EPS, **input_of(published, 224)), {}


def entries(config: BiTConfig, _: Stored | None) -> list[Entry]:
    """timm's name for each parameter."""
    found = same("root.conv", "stem.conv", "weight")
    for stage, count in enumerate(config.blocks):
        for unit in range(count):
            ours, theirs = f"stages.{stage}.{unit}", f"stages.{stage}.blocks.{unit}"
            for part in (1, 2, 3):
                found += same(f"{ours}.norm{part}", f"{theirs}.norm{part}")
                found += same(f"{ours}.conv{part}", f"{theirs}.conv{part}", "weight")
            if unit == 0:
                found += same(f"{ours}.projection", f"{theirs}.downsample.conv", "weight")
    found += [Entry("head.weight", ("head.fc.weight",), CONVOLUTION), Entry("head.bias", ("head.fc.bias",))]
    return found + same("norm", "norm")


def name(config: BiTConfig) -> str | None:
    """timm's name for a network, or `None` where timm has none like it."""
    for ours, variant in bit.VARIANTS.items():
        theirs = f"resnetv2_{ours.removeprefix('BiT-R')}_bit"
        alike = all(getattr(config, key) == getattr(variant, key) for key in ("blocks", "width_factor", "channels"))
        if alike and ARCHITECTURE.fullmatch(theirs):
            return theirs
    return None
