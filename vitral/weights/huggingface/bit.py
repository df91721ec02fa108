"""Transformers' BiT: `BitForImageClassification`, and `BitModel`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitral.errors import DataError
from vitral.models.bit import EXPANSION, BiTConfig
from vitral.weights.huggingface.blocks import prefix_of
from vitral.weights.huggingface.published import class_count, size
from vitral.weights.mapping import Entry, same
from vitral.weights.stored import Stored
from vitral.weights.timm.bit import FILTER_VARIANCE_EPS

MODEL_TYPES = ("bit",)
HEAD = "classifier.1"
KIND: dict[str, Any] = {
    "layer_type": "preactivation",
    "global_padding": None,
    "embedding_dynamic_padding": False,
    "num_groups": 32,
    "hidden_act": "relu",
    "output_stride": 32,
}
"""What BiT's have in common."""


def configuration(published: Mapping[str, Any], stored: Stored) -> tuple[BiTConfig, dict[str, str]]:
    """The network, and tensors left out with the reasons."""
    for name, value in KIND.items():
        if published.get(name, value) != value:
            raise DataError(f"{name} is {published[name]}: of BiT's only those where it is {value} are read.")
    blocks = tuple(int(depth) for depth in published["depths"])
    factor, rest = divmod(int(published["embedding_size"]), 64)
    widths = [int(width) * int(published.get("width_factor", 1)) for width in published["hidden_sizes"]]
    if rest or widths != _widths(factor, len(blocks)):
        raise DataError(f"channels {published['embedding_size']}, {widths} are not those of a BiT: 64, 256, 512 ...")
    config = BiTConfig(
        blocks,
        factor,
        size(published["image_size"]),
        class_count(published, stored, f"{HEAD}.weight"),
        channels=int(published.get("num_channels", 3)),
        filter_variance_eps=FILTER_VARIANCE_EPS,
    )
    return config, {}


def _widths(factor: int, stages: int) -> list[int]:
    return [64 * factor * EXPANSION * 2**stage for stage in range(stages)]


def entries(config: BiTConfig, stored: Stored | None) -> list[Entry]:
    """Transformers' name for each parameter."""
    prefix = prefix_of(stored, "bit.")
    found = same("root.conv", f"{prefix}embedder.convolution", "weight")
    for stage, count in enumerate(config.blocks):
        for unit in range(count):
            ours, theirs = f"stages.{stage}.{unit}", f"{prefix}encoder.stages.{stage}.layers.{unit}"
            for part in (1, 2, 3):
                found += same(f"{ours}.norm{part}", f"{theirs}.norm{part}")
                found += same(f"{ours}.conv{part}", f"{theirs}.conv{part}", "weight")
            if unit == 0:
                found += same(f"{ours}.projection", f"{theirs}.downsample.conv", "weight")
    return found + same("norm", f"{prefix}norm") + same("head", HEAD)


def written(config: BiTConfig, _: bool) -> dict[str, Any]:
    """The part of config.json that describes the network."""
    return {
        "architectures": ["BitForImageClassification"],
        "model_type": "bit",
        **KIND,
        "embedding_size": 64 * config.width_factor,
        "hidden_sizes": _widths(config.width_factor, len(config.blocks)),
        "depths": list(config.blocks),
        "num_channels": config.channels,
        "image_size": list(config.image_size),
    }
