"""BEiT's pre-training against Transformers' implementation."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from tests import peers
from vitral.models.beit import BEiT, BEiTConfig
from vitral.models.masked_image_model import MaskedImageModel

CONFIG = BEiTConfig(4, 32, 2, 64, 4, (16, 24), 3)


def tiny(config: BEiTConfig = CONFIG) -> MaskedImageModel:
    """A model whose parameters are all away from their start."""
    torch.manual_seed(0)
    model = MaskedImageModel(config, vocabulary=11).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def in_transformers_names(model: MaskedImageModel) -> dict[str, torch.Tensor]:
    ours = model.state_dict()
    state = {
        "beit.embeddings.cls_token": ours["class_token"],
        "beit.embeddings.mask_token": ours["mask_token"],
        "beit.shared_position_bias.relative_position_bias_table": ours["blocks.0.attention.relative_positions"],
    }
    whole = {"patch_embedding": "beit.embeddings.patch_embeddings.projection", "norm": "layernorm", "head": "lm_head"}
    parts = {"norm1": "layernorm_before", "norm2": "layernorm_after", "attention.out": "attention.o_proj",
             "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2"}  # fmt: skip
    for kind in ("weight", "bias"):
        state |= {f"{their}.{kind}": ours[f"{our}.{kind}"] for our, their in whole.items()}
        for i in range(2):
            state |= {
                f"beit.layers.{i}.{their}.{kind}": ours[f"blocks.{i}.{our}.{kind}"] for our, their in parts.items()
            }
    for i in range(2):
        block, theirs = f"blocks.{i}", f"beit.layers.{i}"
        state |= {f"{theirs}.lambda_{k}": ours[f"{block}.scale{k}"] for k in (1, 2)}
        for letter, matrix in zip("qkv", ours[f"{block}.attention.qkv.weight"].chunk(3), strict=True):
            state[f"{theirs}.attention.{letter}_proj.weight"] = matrix
        state |= {f"{theirs}.attention.{k}_proj.bias": ours[f"{block}.attention.{k}_bias"] for k in "qv"}
    return state


def test_scores_equal_transformers_at_the_masked_patches() -> None:
    try:
        library = peers.transformers()
    except peers.PeerUnavailable as error:
        pytest.skip(str(error))
    model = tiny(dataclasses.replace(CONFIG, image_size=(16, 16)))  # theirs mixes up the sides of the table
    config = library.BeitConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, image_size=16,
        patch_size=4, vocab_size=11, layer_norm_eps=1e-6, use_shared_relative_position_bias=True, use_mask_token=True,
    )  # fmt: skip
    theirs = library.BeitForMaskedImageModeling(config).eval()
    theirs.load_state_dict(in_transformers_names(model))
    images, masked = torch.randn(3, 3, 16, 16), torch.rand(3, 16) < 0.4
    with torch.no_grad():
        expected = theirs(images, bool_masked_pos=masked).logits[masked]
        torch.testing.assert_close(model(images, masked), expected, atol=1e-5, rtol=1e-5)


def test_the_loss_is_of_the_masked_patches_alone() -> None:
    model = tiny()
    images, masked = torch.randn(2, 3, 16, 24), torch.zeros(2, 24, dtype=torch.bool)
    masked[0, 3] = masked[1, 20] = True
    tokens = torch.randint(0, 11, (2, 24))
    with torch.no_grad():
        scores = model(images, masked).softmax(dim=1)
        expected = -(math.log(scores[0, tokens[0, 3]]) + math.log(scores[1, tokens[1, 20]])) / 2
        assert float(model.loss(images, masked, tokens)) == pytest.approx(expected, rel=1e-5)
        other = tokens.clone()
        other[~masked] = 0
        changed = images.clone()
        changed[0, :, 0:4, 12:16] = 9  # the pixels of patch 3, which are not seen
        assert torch.equal(model.loss(changed, masked, other), model.loss(images, masked, tokens))


def test_every_parameter_learns_and_one_table_serves_all_blocks() -> None:
    model = tiny().train()
    masked = torch.rand(4, 24) < 0.4
    model.loss(torch.randn(4, 3, 16, 24), masked, torch.randint(0, 11, (4, 24))).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []
    assert [name for name, _ in model.named_parameters() if "relative" in name] == [
        "blocks.0.attention.relative_positions"
    ]


def test_a_classifier_takes_over_all_but_norm_and_head() -> None:
    model, classifier = tiny(), BEiT(CONFIG).eval()
    missing, unexpected = classifier.load_state_dict(model.encoder_tensors(), strict=False)
    assert (missing, unexpected) == (["norm.weight", "norm.bias", "head.weight", "head.bias"], [])
    images = torch.randn(2, 3, 16, 24)
    with torch.no_grad():
        tokens = classifier.encode(images)[:, 1:]
        torch.testing.assert_close(model.norm(tokens), model.encode(images, torch.zeros(2, 24, dtype=torch.bool)))
