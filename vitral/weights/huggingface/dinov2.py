"""Transformers' DINOv2, with or without registers: classifiers of class token and mean patch, or without a head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vitral.errors import DataError, UsageError
from vitral.models.layerscale import LayerScaleConfig
from vitral.models.vit import LAYER_NORM_EPS
from vitral.weights.huggingface.blocks import ATTENTION, is_in_memory, prefix_of, renamed
from vitral.weights.huggingface.published import WRITTEN_GELU, class_count, gelu, patch, require_fixed, size
from vitral.weights.mapping import Entry, joined, same
from vitral.weights.stored import Stored

REGISTERS = "dinov2_with_registers"
MODEL_TYPES = ("dinov2", REGISTERS)


def configuration(published: Mapping[str, Any], stored: Stored) -> tuple[LayerScaleConfig, dict[str, str]]:
    """The network, and tensors left out with the reasons."""
    require_fixed(published)
    if published.get("layer_norm_eps", LAYER_NORM_EPS) != LAYER_NORM_EPS:
        raise DataError(f"layer_norm_eps is {published['layer_norm_eps']}: of DINOv2 only 1e-6 is read.")
    width = int(published["hidden_size"])
    swiglu = bool(published.get("use_swiglu_ffn", False))
    inner = int(width * published.get("mlp_ratio", 4))
    registers = int(published.get("num_register_tokens", 4)) if published["model_type"] == REGISTERS else 0
    config = LayerScaleConfig(
        patch_size=patch(published.get("patch_size", 14)),
        width=width,
        depth=int(published["num_hidden_layers"]),
        mlp_dim=(int(inner * 2 / 3) + 7) // 8 * 8 if swiglu else inner,  # two thirds, up to a multiple of 8
        num_heads=int(published["num_attention_heads"]),
        image_size=size(published.get("image_size", 224)),
        num_classes=class_count(published, stored),
        pool="token_mean" if "classifier.weight" in stored.shapes else "token",
        registers=registers,
        mlp="swiglu" if swiglu else "gelu",
        gelu=gelu(published),
        layer_scale=float(published.get("layerscale_value", 1.0)),
        dropout=float(published.get("hidden_dropout_prob", 0.0)),
        stochastic_depth=float(published.get("drop_path_rate", 0.0)),
        channels=int(published.get("num_channels", 3)),
        position_resize="timm" if registers else "huggingface",  # bicubic, with antialiasing or without
    )
    reason = "it stands for hidden patches, in pre-training only"
    return config, {name: reason for name in stored.shapes if name.endswith("embeddings.mask_token")}


def entries(config: LayerScaleConfig, stored: Stored | None) -> list[Entry]:
    """Transformers' name for each parameter."""
    prefix = prefix_of(stored, f"{REGISTERS if config.registers else 'dinov2'}.")
    found = [Entry("class_token", (f"{prefix}embeddings.cls_token",))]
    found += [Entry("position_embedding", (f"{prefix}embeddings.position_embeddings",))]
    if config.registers:
        found.append(Entry("registers", (f"{prefix}embeddings.register_tokens",)))
    found += same("patch_embedding", f"{prefix}embeddings.patch_embeddings.projection")
    for i in range(config.depth):
        found += _block(f"blocks.{i}", f"{prefix}encoder.layer.{i}", config, is_in_memory(stored))
    found += same("norm", f"{prefix}layernorm") + same("head", "classifier")
    return renamed(found, ATTENTION) if is_in_memory(stored) else found


def _block(ours: str, theirs: str, config: LayerScaleConfig, in_memory: bool) -> list[Entry]:
    found = same(f"{ours}.norm1", f"{theirs}.norm1") + same(f"{ours}.norm2", f"{theirs}.norm2")
    for kind in ("weight", "bias"):
        parts = tuple(f"{theirs}.attention.attention.{part}.{kind}" for part in ("query", "key", "value"))
        found.append(Entry(f"{ours}.attention.qkv.{kind}", parts, joined(3)))
    found += same(f"{ours}.attention.out", f"{theirs}.attention.output.dense")
    found += [Entry(f"{ours}.scale{k}", (f"{theirs}.layer_scale{k}.lambda1",)) for k in (1, 2)]
    if config.mlp == "gelu":
        return found + same(f"{ours}.mlp.fc1", f"{theirs}.mlp.fc1") + same(f"{ours}.mlp.fc2", f"{theirs}.mlp.fc2")
    if not in_memory:
        found += same(f"{ours}.mlp.w12", f"{theirs}.mlp.weights_in")
        return found + same(f"{ours}.mlp.w3", f"{theirs}.mlp.weights_out")
    for kind in ("weight", "bias"):
        halves = tuple(f"{theirs}.mlp.{part}_proj.{kind}" for part in ("gate", "up"))
        found.append(Entry(f"{ours}.mlp.w12.{kind}", halves, joined(2)))
    return found + same(f"{ours}.mlp.w3", f"{theirs}.mlp.down_proj")


def extra(config: LayerScaleConfig) -> dict[str, Tensor]:
    """The mask token, which a classifier has not and Transformers' network with registers cannot do without: zeros."""
    return {f"{REGISTERS}.embeddings.mask_token": torch.zeros(1, config.width)} if config.registers else {}


def written(config: LayerScaleConfig, headless: bool) -> dict[str, Any]:
    """The part of config.json that describes the network.

    Raises:
        UsageError: Transformers' DINOv2 cannot be like it.
    """
    if not config.class_position:
        raise UsageError(
            "Transformers' DINOv2 has a position for its class token, this one none: choose another layout."
        )
    if config.pool != "token_mean" and not headless:
        raise UsageError("Transformers' DINOv2 classifier sees the patches' mean too: choose another layout.")
    height, width = config.image_size
    swiglu = config.mlp == "swiglu"
    ratio = _swiglu_ratio(config) if swiglu else config.mlp_dim / config.width
    if not swiglu and config.mlp_dim % config.width:
        raise UsageError(f"Transformers' DINOv2 has an MLP of a multiple of {config.width}, not {config.mlp_dim}.")
    kind = "Dinov2WithRegisters" if config.registers else "Dinov2"
    return {
        "architectures": [f"{kind}ForImageClassification"],
        "model_type": REGISTERS if config.registers else "dinov2",
        "patch_size": config.patch_size,
        "hidden_size": config.width,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.num_heads,
        "mlp_ratio": int(ratio),
        "image_size": height if height == width else [height, width],
        "use_swiglu_ffn": swiglu,
        "hidden_act": WRITTEN_GELU[config.gelu],
        "layerscale_value": config.layer_scale,
        "hidden_dropout_prob": config.dropout,
        "drop_path_rate": config.stochastic_depth,
        "num_channels": config.channels,
        "layer_norm_eps": LAYER_NORM_EPS,
        **({"num_register_tokens": config.registers} if config.registers else {"use_mask_token": False}),
    }


def _swiglu_ratio(config: LayerScaleConfig) -> int:
    """The multiple of the width of which two thirds are the SwiGLU's inside."""
    for ratio in range(1, 17):
        if (int(config.width * ratio * 2 / 3) + 7) // 8 * 8 == config.mlp_dim:
            return ratio
    raise UsageError(f"Transformers' DINOv2 has no SwiGLU of {config.mlp_dim} inside: choose another layout.")
