"""Transformers' Swin: `SwinForImageClassification`, and `SwinModel`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitral.errors import DataError
from vitral.models.swin import LAYER_NORM_EPS, MLP_RATIO, SwinConfig
from vitral.weights.huggingface.blocks import ATTENTION, MLP, Renaming, is_in_memory, prefix_of, renamed
from vitral.weights.huggingface.published import class_count, gelu, patch, require_fixed, size
from vitral.weights.mapping import Entry, joined, same
from vitral.weights.stored import Stored

MODEL_TYPES = ("swin",)
TABLE: Renaming = (
    (
        r"\.attention\.self\.relative_position_bias_table$",
        ".attention.relative_position_bias.relative_position_bias_table",
    ),
)
KIND = {"mlp_ratio": float(MLP_RATIO), "use_absolute_embeddings": False, "layer_norm_eps": LAYER_NORM_EPS}
"""What the published ones have in common."""

INDEX = "relative_position_index"
"""Where each pair of tokens looks its bias up: older versions wrote it into the file."""


def configuration(published: Mapping[str, Any], stored: Stored) -> tuple[SwinConfig, dict[str, str]]:
    """The network, and tensors left out with the reasons."""
    require_fixed(published)
    for name, value in KIND.items():
        if published.get(name, value) != value:
            raise DataError(f"{name} is {published[name]}: of Swins only those where it is {value} are read.")
    if gelu(published) != "exact":
        raise DataError(f"the activation {published['hidden_act']!r} is not read: Swin has the exact GELU.")
    config = SwinConfig(
        width=int(published["embed_dim"]),
        depths=tuple(int(depth) for depth in published["depths"]),
        num_heads=tuple(int(heads) for heads in published["num_heads"]),
        window_size=int(published.get("window_size", 7)),
        patch_size=patch(published.get("patch_size", 4)),
        image_size=size(published.get("image_size", 224)),
        num_classes=class_count(published, stored),
        dropout=float(published.get("hidden_dropout_prob", 0.0)),
        stochastic_depth=float(published.get("drop_path_rate", 0.1)),
        channels=int(published.get("num_channels", 3)),
    )
    return config, {name: "it follows from the window's size" for name in stored.shapes if name.endswith(INDEX)}


def entries(config: SwinConfig, stored: Stored | None) -> list[Entry]:
    """Transformers' name for each parameter."""
    prefix = prefix_of(stored, "swin.")
    found = same("patch_embedding", f"{prefix}embeddings.patch_embeddings.projection")
    found += same("patch_norm", f"{prefix}embeddings.norm")
    for stage, depth in enumerate(config.depths):
        layer = f"{prefix}encoder.layers.{stage}"
        for i in range(depth):
            found += _block(f"stages.{stage}.blocks.{i}", f"{layer}.blocks.{i}")
        if stage + 1 < len(config.depths):  # merging ends a stage there, and begins the next here
            found += same(f"stages.{stage + 1}.merging.norm", f"{layer}.downsample.norm")
            found += same(f"stages.{stage + 1}.merging.reduction", f"{layer}.downsample.reduction", "weight")
    found += same("norm", f"{prefix}layernorm") + same("head", "classifier")
    return renamed(found, (*TABLE, *ATTENTION, *MLP)) if is_in_memory(stored) else found


def _block(ours: str, theirs: str) -> list[Entry]:
    found = same(f"{ours}.norm1", f"{theirs}.layernorm_before") + same(f"{ours}.norm2", f"{theirs}.layernorm_after")
    attention = f"{theirs}.attention.self"
    for kind in ("weight", "bias"):
        parts = tuple(f"{attention}.{part}.{kind}" for part in ("query", "key", "value"))
        found.append(Entry(f"{ours}.attention.qkv.{kind}", parts, joined(3)))
    found.append(Entry(f"{ours}.attention.relative_positions", (f"{attention}.relative_position_bias_table",)))
    found += same(f"{ours}.attention.out", f"{theirs}.attention.output.dense")
    return (
        found
        + same(f"{ours}.mlp.fc1", f"{theirs}.intermediate.dense")
        + same(f"{ours}.mlp.fc2", f"{theirs}.output.dense")
    )


def written(config: SwinConfig, _: bool) -> dict[str, Any]:
    """The part of config.json that describes the network."""
    height, width = config.image_size
    return {
        "architectures": ["SwinForImageClassification"],
        "model_type": "swin",
        **KIND,
        "embed_dim": config.width,
        "depths": list(config.depths),
        "num_heads": list(config.num_heads),
        "window_size": config.window_size,
        "patch_size": config.patch_size,
        "image_size": height if height == width else [height, width],
        "hidden_act": "gelu",
        "hidden_dropout_prob": config.dropout,
        "drop_path_rate": config.stochastic_depth,
        "num_channels": config.channels,
        "qkv_bias": True,
    }
