"""timm's BEiTs, of both versions; the authors' names are the same."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from vitral.models import beit
from vitral.models.beit import BEiTConfig
from vitral.weights.mapping import Entry, same
from vitral.weights.stored import Stored
from vitral.weights.timm.published import arguments_of, input_of, require_pool

ARCHITECTURE = re.compile(r"beit(v2)?_(base|large)_patch(\d+)_(\d+)")
SIZES = {"base": "B", "large": "L"}

ARGUMENTS = {"embed_dim": "width", "depth": "depth", "num_heads": "num_heads", "init_values": "layer_scale"}
"""Our fields by arguments of timm's constructor, those that are understood."""

V2_LAYER_SCALE = 1e-5
"""Of BEiT v2 (arXiv 2208.06366) in both sizes."""


def configuration(name: str, published: Mapping[str, Any], stored: Stored) -> tuple[BEiTConfig, dict[str, str]] | None:
    """The network of timm's model `name`."""
    match = ARCHITECTURE.fullmatch(name)
    if match is None:
        return None
    require_pool("BEiTs", published, "avg")
    shape: dict[str, Any] = dict(beit.SIZES[SIZES[match[2]]])
    if match[1]:
        shape["layer_scale"] = V2_LAYER_SCALE
    given = arguments_of(published)
    shape |= {ours: given[theirs] for theirs, ours in ARGUMENTS.items() if theirs in given}
    shape["mlp_dim"] = 4 * shape["width"]
    config = BEiTConfig(patch_size=int(match[3]), **shape, **input_of(published, int(match[4])))
    return config, computed(stored.shapes)


def computed(names: Iterable[str]) -> dict[str, str]:
    """Those of the names that older files hold beside the parameters, each with the reason why it is left out."""
    reason = "which row of the bias table is whose follows from the grid"
    return {name: reason for name in names if name.endswith(".relative_position_index")}


def entries(config: BEiTConfig, _: Stored | None) -> list[Entry]:
    """timm's name for each parameter."""
    found = [Entry("class_token", ("cls_token",)), *same("patch_embedding", "patch_embed.proj")]
    for i in range(config.depth):
        block = f"blocks.{i}"
        attention = same(f"{block}.attention.qkv", f"{block}.attn.qkv", "weight")
        attention += same(f"{block}.attention", f"{block}.attn", "q_bias", "v_bias")
        table = (f"{block}.attn.relative_position_bias_table",)
        attention.append(Entry(f"{block}.attention.relative_positions", table))
        found += same(f"{block}.norm1", f"{block}.norm1") + attention
        found += same(f"{block}.attention.out", f"{block}.attn.proj") + same(f"{block}.norm2", f"{block}.norm2")
        found += same(f"{block}.mlp.fc1", f"{block}.mlp.fc1") + same(f"{block}.mlp.fc2", f"{block}.mlp.fc2")
        found += [Entry(f"{block}.scale{k}", (f"{block}.gamma_{k}",)) for k in (1, 2)]
    return found + same("norm", "fc_norm") + same("head", "head")


def name(config: BEiTConfig) -> str | None:
    """timm's name for a network, or `None` where timm has none like it."""
    side = config.image_size[0]
    for theirs, ours in SIZES.items():
        shape = {key: value for key, value in beit.SIZES[ours].items() if key != "layer_scale"}
        if config.patch_size == 16 and all(getattr(config, key) == value for key, value in shape.items()):
            native = side if side in (384, 512 if ours == "L" else 384) else 224
            return f"beit_{theirs}_patch16_{native}"
    return None
