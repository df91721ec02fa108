"""timm's hybrids of a ResNet and a Vision Transformer, those of the authors' weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vitral.models import hybrid
from vitral.models.hybrid import HybridConfig
from vitral.weights.mapping import Entry, same
from vitral.weights.stored import Stored
from vitral.weights.timm import vit

ARCHITECTURES = {
    "vit_tiny_r_s16_p8": "R+ViT-Ti/16",
    "vit_small_r26_s32": "R26+ViT-S/32",
    "vit_base_r26_s32": "R26+ViT-B/32",
    "vit_base_r50_s16": "R50+ViT-B/16",
    "vit_large_r50_s32": "R50+ViT-L/32",
}
"""Our variants by timm's names without the input size."""


def configuration(name: str, published: Mapping[str, Any], _: Stored) -> tuple[HybridConfig, dict[str, str]] | None:
    """The network of timm's model `name`.

    timm adds 1e-5 to the variances of groups and 1e-8 to those of filters; the weights were trained with the
    authors' values, which ours keeps. Scores differ in the fourth digit.
    """
    match = re.fullmatch(r"(\w+)_(\d+)", name)
    if match is None or match[1] not in ARCHITECTURES:
        return None
    vit.require_token_pool(published)
    config = replace(
        hybrid.VARIANTS[ARCHITECTURES[match[1]]],
        image_size=vit.image_size(published, int(match[2])),
        num_classes=int(published.get("num_classes", 1000)),
        gelu=vit.gelu(published),
    )
    return config, {}


def entries(config: HybridConfig, stored: Stored | None) -> list[Entry]:
    """timm's name for each parameter."""
    backbone = "patch_embed.backbone"
    root = f"{backbone}.stem" if config.blocks else backbone
    found = vit.entries(config, stored) + same("resnet.root.conv", f"{root}.conv", "weight")
    found += same("resnet.root.norm", f"{root}.norm")
    for stage, count in enumerate(config.blocks):
        for unit in range(count):
            ours, theirs = f"resnet.stages.{stage}.{unit}", f"{backbone}.stages.{stage}.blocks.{unit}"
            for part in (1, 2, 3):
                found += same(f"{ours}.conv{part}", f"{theirs}.conv{part}", "weight")
                found += same(f"{ours}.norm{part}", f"{theirs}.norm{part}")
            if unit == 0:
                found += same(f"{ours}.projection", f"{theirs}.downsample.conv", "weight")
                found += same(f"{ours}.projection_norm", f"{theirs}.downsample.norm")
    return found


def name(config: HybridConfig) -> str | None:
    """timm's name for a network, or `None` where timm has none like it."""
    plain = config.pool == "token" and config.positions == "learned" and config.representation_size is None
    shape = ("patch_size", "width", "depth", "mlp_dim", "num_heads", "blocks", "width_factor", "channels")
    for theirs, ours in ARCHITECTURES.items():
        if plain and all(getattr(config, key) == getattr(hybrid.VARIANTS[ours], key) for key in shape):
            return f"{theirs}_224"
    return None


def arguments(config: HybridConfig) -> dict[str, Any]:
    """What `timm.create_model` must be told beside the name."""
    return {"act_layer": "gelu_tanh"} if config.gelu == "tanh" else {}
