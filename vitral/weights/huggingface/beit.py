"""Transformers' BEiT: `BeitForImageClassification` as it was published, fine-tuned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitral.errors import DataError, UsageError
from vitral.models.beit import BEiTConfig
from vitral.weights.huggingface.blocks import ATTENTION, LAYERS, MLP, is_in_memory, prefix_of, renamed
from vitral.weights.huggingface.published import class_count, require_fixed
from vitral.weights.huggingface.vit import encoder, sizes
from vitral.weights.mapping import Entry, joined, same
from vitral.weights.stored import Stored

MODEL_TYPES = ("beit",)
KIND = {
    "use_relative_position_bias": True,
    "use_shared_relative_position_bias": False,
    "use_absolute_position_embeddings": False,
    "use_mean_pooling": True,
}
"""What the fine-tuned ones have in common."""

TABLE = "relative_position_bias.relative_position_bias_table"

NOT_SQUARE = (
    "Transformers' BEiT takes height for width in its relative positions, so only square inputs are read and written."
)
"""Why others are refused: weights trained by others' definition would give other scores there."""


def configuration(published: Mapping[str, Any], stored: Stored) -> tuple[BEiTConfig, dict[str, str]]:
    """The network, and tensors left out with the reasons."""
    require_fixed(published)
    for name, value in KIND.items():
        if published.get(name, name == "use_mean_pooling") != value:
            raise DataError(
                f"{name} is {published.get(name)}: of BEiT's only fine-tuned ones are read, where it is {value}."
            )
    fields = encoder(published)
    if fields.pop("gelu") != "exact":
        raise DataError(f"the activation {published['hidden_act']!r} is not read: BEiT has the exact GELU.")
    del fields["position_resize"]
    if not _is_square(fields["image_size"]):
        raise DataError(NOT_SQUARE)
    config = BEiTConfig(
        **fields,
        num_classes=class_count(published, stored),
        layer_scale=float(published.get("layer_scale_init_value", 0.1)),
        stochastic_depth=float(published.get("drop_path_rate", 0.1)),
    )
    reason = "it stands for hidden patches, in pre-training only"
    return config, {name: reason for name in stored.shapes if name.endswith("embeddings.mask_token")}


def entries(config: BEiTConfig, stored: Stored | None) -> list[Entry]:
    """Transformers' name for each parameter."""
    prefix = prefix_of(stored, "beit.")
    found = [Entry("class_token", (f"{prefix}embeddings.cls_token",))]
    found += same("patch_embedding", f"{prefix}embeddings.patch_embeddings.projection")
    for i in range(config.depth):
        found += _block(f"blocks.{i}", f"{prefix}encoder.layer.{i}", is_in_memory(stored))
    found += same("norm", f"{prefix}pooler.layernorm") + same("head", "classifier")
    return renamed(found, (*LAYERS, *ATTENTION, *MLP)) if is_in_memory(stored) else found


def _block(ours: str, theirs: str, in_memory: bool) -> list[Entry]:
    found = same(f"{ours}.norm1", f"{theirs}.layernorm_before") + same(f"{ours}.norm2", f"{theirs}.layernorm_after")
    attention = f"{theirs}.attention.attention"
    parts = tuple(f"{attention}.{part}.weight" for part in ("query", "key", "value"))
    found.append(Entry(f"{ours}.attention.qkv.weight", parts, joined(3)))
    found += [Entry(f"{ours}.attention.{part[0]}_bias", (f"{attention}.{part}.bias",)) for part in ("query", "value")]
    place = theirs if in_memory else attention
    found.append(Entry(f"{ours}.attention.relative_positions", (f"{place}.{TABLE}",)))
    found += same(f"{ours}.attention.out", f"{theirs}.attention.output.dense")
    found += same(f"{ours}.mlp.fc1", f"{theirs}.intermediate.dense") + same(f"{ours}.mlp.fc2", f"{theirs}.output.dense")
    return found + [Entry(f"{ours}.scale{k}", (f"{theirs}.lambda_{k}",)) for k in (1, 2)]


def written(config: BEiTConfig, _: bool) -> dict[str, Any]:
    """The part of config.json that describes the network.

    Raises:
        UsageError: its input is not square.
    """
    if not _is_square(config.image_size):
        raise UsageError(NOT_SQUARE)
    return {
        "architectures": ["BeitForImageClassification"],
        "model_type": "beit",
        **KIND,
        **sizes(config),
        "layer_scale_init_value": config.layer_scale,
        "drop_path_rate": config.stochastic_depth,
    }


def _is_square(size: tuple[int, int]) -> bool:
    return size[0] == size[1]
