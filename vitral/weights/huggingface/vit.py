"""Transformers' ViT: `ViTForImageClassification`, and `ViTModel` with or without its pooler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitral.errors import DataError, UsageError
from vitral.models.vit import ViTConfig
from vitral.weights.huggingface.blocks import ATTENTION, LAYERS, MLP, block, is_in_memory, prefix_of, renamed
from vitral.weights.huggingface.published import WRITTEN_GELU, class_count, gelu, patch, require_fixed, size
from vitral.weights.mapping import Entry, same
from vitral.weights.stored import Stored

MODEL_TYPES = ("vit",)
UNUSED = {
    "embeddings.mask_token": "it stands for hidden patches, in pre-training only",
    "decoder.0.weight": "it draws hidden patches, in pre-training only",
    "decoder.0.bias": "it draws hidden patches, in pre-training only",
}


def configuration(published: Mapping[str, Any], stored: Stored) -> tuple[ViTConfig, dict[str, str]]:
    """The network, and tensors left out with the reasons."""
    require_fixed(published)
    prefix = prefix_of(stored, "vit.")
    left_out = {prefix * (not name.startswith("decoder")) + name: reason for name, reason in UNUSED.items()}
    pooler = f"{prefix}pooler.dense.weight"
    classifies = "classifier.weight" in stored.shapes
    if classifies:
        left_out |= {f"{prefix}pooler.dense.{kind}": "the classifier looks past it" for kind in ("weight", "bias")}
    elif pooler in stored.shapes and published.get("pooler_act", "tanh") != "tanh":
        raise DataError(f"the pooler's activation is {published['pooler_act']!r}: only tanh is read.")
    config = ViTConfig(
        **encoder(published),
        num_classes=class_count(published, stored),
        representation_size=stored.shapes[pooler][0] if pooler in stored.shapes and not classifies else None,
    )
    return config, {name: reason for name, reason in left_out.items() if name in stored.shapes}


def encoder(published: Mapping[str, Any]) -> dict[str, Any]:
    """Fields that ViT, DeiT and MAE have in common."""
    return {
        "patch_size": patch(published.get("patch_size", 16)),
        "width": int(published["hidden_size"]),
        "depth": int(published["num_hidden_layers"]),
        "mlp_dim": int(published["intermediate_size"]),
        "num_heads": int(published["num_attention_heads"]),
        "image_size": size(published.get("image_size", 224)),
        "gelu": gelu(published),
        "dropout": float(published.get("hidden_dropout_prob", 0.0)),
        "channels": int(published.get("num_channels", 3)),
        "position_resize": "huggingface",
        "layer_norm_eps": float(published.get("layer_norm_eps", 1e-12)),
    }


def entries(config: ViTConfig, stored: Stored | None) -> list[Entry]:
    """Transformers' name for each parameter."""
    prefix = prefix_of(stored, "vit.")
    found = [Entry("class_token", (f"{prefix}embeddings.cls_token",))]
    found += [Entry("position_embedding", (f"{prefix}embeddings.position_embeddings",))]
    found += same("patch_embedding", f"{prefix}embeddings.patch_embeddings.projection")
    for i in range(config.depth):
        found += block(f"blocks.{i}", f"{prefix}encoder.layer.{i}")
    found += same("norm", f"{prefix}layernorm")
    if config.representation_size is not None:
        found += same("pre_logits", f"{prefix}pooler.dense")
    found += same("head", "classifier")
    return renamed(found, (*LAYERS, *ATTENTION, *MLP)) if is_in_memory(stored) else found


def written(config: ViTConfig, headless: bool) -> dict[str, Any]:
    """The part of config.json that describes the network.

    Raises:
        UsageError: Transformers' ViT cannot be like it.
    """
    if config.pool != "token" or config.positions != "learned":
        raise UsageError(
            f"Transformers' ViT has a class token and learned positions, this one pool {config.pool!r} and positions "
            f"{config.positions!r}: choose timm, whose folders Transformers opens too where timm is installed."
        )
    if config.representation_size is not None and not headless:
        raise UsageError("Transformers' ViT classifier has no pre-logits layer, this one has: choose another layout.")
    pooler = {} if config.representation_size is None else {"pooler_output_size": config.representation_size}
    return {"architectures": ["ViTForImageClassification"], "model_type": "vit", **sizes(config), **pooler}


def sizes(config: Any) -> dict[str, Any]:
    """The inverse of `encoder`."""
    height, width = config.image_size
    return {
        "patch_size": config.patch_size,
        "hidden_size": config.width,
        "num_hidden_layers": config.depth,
        "intermediate_size": config.mlp_dim,
        "num_attention_heads": config.num_heads,
        "image_size": height if height == width else [height, width],
        "hidden_act": WRITTEN_GELU[getattr(config, "gelu", "exact")],
        "hidden_dropout_prob": config.dropout,
        "num_channels": config.channels,
        "layer_norm_eps": config.layer_norm_eps,
        "qkv_bias": True,
    }
