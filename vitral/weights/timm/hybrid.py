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
from vitral.weights.timm.published import activation, gelu, input_of, require_pool, shape_of

ARCHITECTURES = {
    "vit_tiny_r_s16_p8": "R+ViT-Ti/16",
    "vit_small_r26_s32": "R26+ViT-S/32",
    "vit_base_r26_s32": "R26+ViT-B/32",
    "vit_base_r50_s16": "R50+ViT-B/16",
    "vit_large_r50_s32": "R50+ViT-L/32",
}
"""Our variants by timm's names without the input size."""

ARGUMENTS = ("embed_dim", "depth", "num_heads", "mlp_ratio", "act_layer")
"""Of timm's constructor, those that are understood."""

EPSILONS: dict[str, Any] = {"group_norm_eps": 1e-5, "filter_std_eps": 0.0, "filter_variance_eps": 1e-8}
"""With which timm computes, whatever the weights were trained with: scores differ from the authors' in about the fourth
digit."""


def configuration(name: str, published: Mapping[str, Any], _: Stored) -> tuple[HybridConfig, dict[str, str]] | None:
    """The network of timm's model `name`."""
    match = re.fullmatch(r"(\w+)_(\d+)", name)
    if match is None or match[1] not in ARCHITECTURES:
        return None
    require_pool("hybrids", published, "token")
    variant = hybrid.VARIANTS[ARCHITECTURES[match[1]]]
    usual = {key: getattr(variant, key) for key in ("width", "depth", "mlp_dim", "num_heads")}
    config = replace(
        variant,
        gelu=gelu(name, published),
        **EPSILONS,
        **shape_of(published, usual),
        **input_of(published, int(match[2])),
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
    return activation(config)
