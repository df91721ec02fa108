"""Transformers' masked autoencoders: `ViTMAEForPreTraining`, of which the encoder becomes a classifier, and
`ViTMAEModel`. Transformers has no classifier of them, so none is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from vitral.errors import UsageError
from vitral.models.mae import MaeConfig
from vitral.models.masked_autoencoder import DecoderConfig
from vitral.weights.huggingface.blocks import ATTENTION, LAYERS, MLP, block, is_in_memory, prefix_of, renamed
from vitral.weights.huggingface.published import gelu, require_fixed
from vitral.weights.huggingface.vit import encoder
from vitral.weights.mapping import Entry, same
from vitral.weights.stored import Stored

MODEL_TYPES = ("vit_mae",)
WRITTEN_BY_5 = "decoder.decoder_encoder.layer"
"""What version 5 calls the decoder's layers on disk; the published files have decoder.decoder_layers."""


def configuration(published: Mapping[str, Any], stored: Stored) -> tuple[MaeConfig, dict[str, str]]:
    """The network, and tensors left out with the reasons."""
    require_fixed(published)
    reason = "of the decoder, which only pre-training needs"
    left_out = {name: reason for name in stored.shapes if name.startswith("decoder.")}
    return MaeConfig(**encoder(published), num_classes=1, pool="token"), left_out  # the norm is of the tokens


def entries(config: MaeConfig, stored: Stored | None) -> list[Entry]:
    """Transformers' name for each parameter; a head has none."""
    prefix = prefix_of(stored, "vit.")
    found = [Entry("class_token", (f"{prefix}embeddings.cls_token",))]
    found += [Entry("position_embedding", (f"{prefix}embeddings.position_embeddings",))]
    found += same("patch_embedding", f"{prefix}embeddings.patch_embeddings.projection")
    for i in range(config.depth):
        found += block(f"blocks.{i}", f"{prefix}encoder.layer.{i}")
    found += same("norm", f"{prefix}layernorm") + same("head", "classifier")
    return renamed(found, (*LAYERS, *ATTENTION, *MLP)) if is_in_memory(stored) else found


def decoder(published: Mapping[str, Any]) -> DecoderConfig:
    """The decoder that a config.json describes."""
    return DecoderConfig(
        width=int(published["decoder_hidden_size"]),
        depth=int(published["decoder_num_hidden_layers"]),
        mlp_dim=int(published["decoder_intermediate_size"]),
        num_heads=int(published["decoder_num_attention_heads"]),
        gelu=gelu(published),
        layer_norm_eps=float(published.get("layer_norm_eps", 1e-12)),
    )


def autoencoder_entries(config: MaeConfig, shape: DecoderConfig, stored: Stored | None) -> list[Entry]:
    """Transformers' name for each tensor of a `MaskedAutoencoder`: the encoder's, and the decoder's."""
    found = [entry for entry in entries(config, stored) if not entry.ours.startswith("head.")]
    theirs = {"mask_token": "decoder.mask_token", "decoder_position_embedding": "decoder.decoder_pos_embed"}
    deeper = [Entry(ours, (name,)) for ours, name in theirs.items()]
    deeper += same("decoder_embedding", "decoder.decoder_embed") + same("decoder_norm", "decoder.decoder_norm")
    deeper += same("pixels", "decoder.decoder_pred")
    layers = "decoder.decoder_layers"
    if stored is not None and any(name.startswith(WRITTEN_BY_5) for name in stored.shapes):
        layers = WRITTEN_BY_5
    for i in range(shape.depth):
        deeper += block(f"decoder_blocks.{i}", f"{layers}.{i}")
    return found + (renamed(deeper, (*ATTENTION, *MLP)) if is_in_memory(stored) else deeper)


def written(_: MaeConfig, __: bool) -> NoReturn:
    """Always an error."""
    raise UsageError("Transformers has masked autoencoders, but no classifier of them: choose another layout.")
