"""timm's ViTs with LayerScale: DeiT III's and DINOv2's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from vitral.models import vit as sizes
from vitral.models.layerscale import DEIT3, GIANT, LayerScaleConfig
from vitral.weights.mapping import Entry, same
from vitral.weights.stored import Stored
from vitral.weights.timm import vit
from vitral.weights.timm.published import activation, arguments_of, gelu, input_of, require_pool, shape_of

DEIT3_NAME = re.compile(r"deit3_(small|medium|base|large|huge)_patch(\d+)_(\d+)")
DINOV2_NAME = re.compile(r"vit_(small|base|large|giant)_patch14(?:_reg(\d+))?_dinov2")
SIZES = {"small": "S", "medium": "M", "base": "B", "large": "L", "huge": "H", "giant": "g"}

ARGUMENTS = ("depth", "num_heads", "act_layer", "init_values")
"""Of timm's constructor, those that are understood."""


def configuration(name: str, published: Mapping[str, Any], _: Stored) -> tuple[LayerScaleConfig, dict[str, str]] | None:
    """The network of timm's model `name`."""
    deit3, dinov2 = DEIT3_NAME.fullmatch(name), DINOV2_NAME.fullmatch(name)
    fields: dict[str, Any]
    if deit3:
        fields = {"patch_size": int(deit3[2]), **sizes.SIZES[SIZES[deit3[1]]], **DEIT3}
        usual = int(deit3[3])
    elif dinov2:
        registers = int(dinov2[2] or 0)
        fields = {"patch_size": 14, **(GIANT if dinov2[1] == "giant" else sizes.SIZES[SIZES[dinov2[1]]])}
        # timm adds the class token's position to the token itself where there are registers.
        fields |= {"registers": registers, "class_position": not registers}
        usual = 518
    else:
        return None
    require_pool("ViTs with LayerScale", published, "token")
    if "init_values" in arguments_of(published):
        fields["layer_scale"] = float(arguments_of(published)["init_values"])
    config = LayerScaleConfig(
        gelu=gelu(name, published),
        position_resize="timm",
        **shape_of(published, fields),
        **input_of(published, usual),
    )
    return config, {}


def entries(config: LayerScaleConfig, _: Stored | None) -> list[Entry]:
    """timm's name for each parameter."""
    found = [Entry("class_token", ("cls_token",)), Entry("position_embedding", ("pos_embed",))]
    found += [Entry("registers", ("reg_token",))] if config.registers else []
    found += same("patch_embedding", "patch_embed.proj")
    first, second = ("w12", "w3") if config.mlp == "swiglu" else ("fc1", "fc2")
    for i in range(config.depth):
        block = f"blocks.{i}"
        found += vit.block(block, block)
        found += same(f"{block}.mlp.{first}", f"{block}.mlp.fc1") + same(f"{block}.mlp.{second}", f"{block}.mlp.fc2")
        found += [Entry(f"{block}.scale{k}", (f"{block}.ls{k}.gamma",)) for k in (1, 2)]
    return found + same("norm", "norm") + same("head", "head")


def name(config: LayerScaleConfig) -> str | None:
    """timm's name for a network, or `None` where timm has none like it."""
    if config.pool != "token":
        return None
    if config.class_position or config.registers:
        return _dinov2_name(config)
    for theirs in ("small", "medium", "base", "large", "huge"):
        patch = 14 if theirs == "huge" else 16
        if config.mlp == "gelu" and config.patch_size == patch and vit.is_of_size(config, SIZES[theirs]):
            large = config.image_size == (384, 384) and theirs in ("small", "base", "large")
            return f"deit3_{theirs}_patch{patch}_{384 if large else 224}"
    return None


def _dinov2_name(config: LayerScaleConfig) -> str | None:
    known = (True, 0), (False, 4)
    if config.patch_size != 14 or (config.class_position, config.registers) not in known:
        return None
    for theirs in ("small", "base", "large", "giant"):
        size = GIANT if theirs == "giant" else {**sizes.SIZES[SIZES[theirs]], "mlp": "gelu"}
        if all(getattr(config, key) == value for key, value in size.items()):
            return f"vit_{theirs}_patch14{'_reg4' if config.registers else ''}_dinov2"
    return None


def arguments(config: LayerScaleConfig) -> dict[str, Any]:
    """What `timm.create_model` must be told beside the name."""
    return activation(config) if config.mlp == "gelu" else {}
