"""timm's EfficientNets: "tf_" pads as the authors do, the plain ones as torchvision does."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vitral.models.efficientnet import STAGES, VARIANTS, EfficientNetConfig
from vitral.weights.mapping import Entry, same
from vitral.weights.stored import Stored
from vitral.weights.timm.published import input_of, require_pool
from vitral.weights.torchvision.normalised import conv_norm

ARCHITECTURE = re.compile(r"(tf_)?efficientnet_(b[0-7]|l2)")

ARGUMENTS: tuple[str, ...] = ()
"""Of timm's constructor, those that are understood."""

CONVENTIONS: dict[str, dict[str, Any]] = {
    "tf_": {"padding": "same", "norm_eps": 1e-3},
    "": {"padding": "symmetric", "norm_eps": 1e-5},
}


def configuration(
    name: str, published: Mapping[str, Any], _: Stored
) -> tuple[EfficientNetConfig, dict[str, str]] | None:
    """The network of timm's model `name`."""
    match = ARCHITECTURE.fullmatch(name)
    if match is None:
        return None
    require_pool("EfficientNets", published, "avg")
    variant = VARIANTS[f"EfficientNet-{match[2].upper()}"]
    return replace(variant, **input_of(published, variant.image_size[0]), **CONVENTIONS[match[1] or ""]), {}


def entries(config: EfficientNetConfig, _: Stored | None) -> list[Entry]:
    """timm's name for each parameter and buffer."""
    found = conv_norm("stem", "conv_stem", "bn1")
    for s, stage in enumerate(STAGES):
        # The kernels are named for what they do, the normalisations counted.
        kernels = {"expand": "conv_pw", "depthwise": "conv_dw", "project": "conv_pwl"}
        if stage.expansion == 1:
            kernels = {"depthwise": "conv_dw", "project": "conv_pw"}
        for b in range(config.deep(stage.layers)):
            ours, theirs = f"stages.{s}.{b}", f"blocks.{s}.{b}"
            for i, (part, kernel) in enumerate(kernels.items()):
                found += conv_norm(f"{ours}.{part}", f"{theirs}.{kernel}", f"{theirs}.bn{i + 1}")
            found += same(f"{ours}.squeeze_excite.squeeze", f"{theirs}.se.conv_reduce")
            found += same(f"{ours}.squeeze_excite.excite", f"{theirs}.se.conv_expand")
    return found + conv_norm("top", "conv_head", "bn2") + same("head", "classifier")


def name(config: EfficientNetConfig) -> str | None:
    """timm's name for a network, or `None` where timm has none like it."""
    for variant, like in VARIANTS.items():
        if (config.width_factor, config.depth_factor) == (like.width_factor, like.depth_factor):
            for prefix, convention in CONVENTIONS.items():
                if all(getattr(config, key) == value for key, value in convention.items()):
                    return prefix + variant.replace("-", "_").lower()
    return None
