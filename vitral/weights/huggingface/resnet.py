"""Transformers' ResNet: `ResNetForImageClassification`, and `ResNetModel`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitral.errors import DataError, UsageError
from vitral.models.resnet import ResNetConfig
from vitral.weights.huggingface.blocks import prefix_of
from vitral.weights.huggingface.published import class_count, size
from vitral.weights.mapping import STATISTICS, Entry, same
from vitral.weights.stored import Stored

MODEL_TYPES = ("resnet",)
HEAD = "classifier.1"
KIND: dict[str, Any] = {
    "hidden_act": "relu",
    "downsample_in_first_stage": False,
    "downsample_in_bottleneck": False,
}
"""What the published ones have in common: version 1.5."""

PARTS = {"basic": ("first", "second"), "bottleneck": ("reduce", "spatial", "restore")}


def configuration(published: Mapping[str, Any], stored: Stored) -> tuple[ResNetConfig, dict[str, str]]:
    """The network, and tensors left out with the reasons."""
    for name, value in KIND.items():
        if published.get(name, value) != value:
            raise DataError(f"{name} is {published[name]}: of ResNets only those where it is {value} are read.")
    blocks = [int(depth) for depth in published["depths"]]
    if len(blocks) != 4:
        raise DataError(f"{len(blocks)} stages are not read: a ResNet has 4.")
    config = ResNetConfig(
        (blocks[0], blocks[1], blocks[2], blocks[3]),
        published.get("layer_type", "bottleneck"),
        int(published["embedding_size"]),
        size(published["image_size"]),
        class_count(published, stored, f"{HEAD}.weight"),
        channels=int(published.get("num_channels", 3)),
    )
    if list(published["hidden_sizes"]) != list(config.stage_widths):
        raise DataError(f"channels {published['hidden_sizes']} are not those of a ResNet: {list(config.stage_widths)}.")
    return config, {}


def entries(config: ResNetConfig, stored: Stored | None) -> list[Entry]:
    """Transformers' name for each tensor."""
    prefix = prefix_of(stored, "resnet.")
    found = _unit("stem", f"{prefix}embedder.embedder")
    before = config.width
    for stage, (count, after) in enumerate(zip(config.blocks, config.stage_widths, strict=True)):
        for i in range(count):
            ours, theirs = f"stages.{stage}.{i}", f"{prefix}encoder.stages.{stage}.layers.{i}"
            for k, part in enumerate(PARTS[config.block]):
                found += _unit(f"{ours}.{part}", f"{theirs}.layer.{k}")
            if before != after or (stage and not i):
                found += _unit(f"{ours}.shortcut", f"{theirs}.shortcut")
            before = after
    return found + same("head", HEAD)


def _unit(ours: str, theirs: str) -> list[Entry]:
    return same(f"{ours}.conv", f"{theirs}.convolution", "weight") + same(
        f"{ours}.norm", f"{theirs}.normalization", *STATISTICS
    )


def written(config: ResNetConfig, _: bool) -> dict[str, Any]:
    """The part of config.json that describes the network.

    Raises:
        UsageError: Transformers' ResNet cannot be like it.
    """
    if config.norm_eps != 1e-5:
        raise UsageError(f"Transformers' ResNet normalises with 1e-5, this one with {config.norm_eps}: choose another.")
    return {
        "architectures": ["ResNetForImageClassification"],
        "model_type": "resnet",
        **KIND,
        "layer_type": config.block,
        "embedding_size": config.width,
        "hidden_sizes": list(config.stage_widths),
        "depths": list(config.blocks),
        "num_channels": config.channels,
        "image_size": list(config.image_size),
    }
