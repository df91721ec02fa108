"""BEiT against the published counts and Transformers' implementation."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests import peers
from tests.models.networks import equal_in_every_batch, moved
from vitral.errors import DataError, UsageError
from vitral.models import configuration, create_model
from vitral.models.beit import VARIANTS, BEiT, BEiTConfig
from vitral.models.relative_positions import resized_geometric

PUBLISHED_MILLIONS = {
    # timm's results-imagenet.csv, 1,000 classes, by image size
    "BEiT-B/16": {224: 86.53, 384: 86.74},
    "BEiT-L/16": {224: 304.43, 384: 305.00, 512: 305.67},
}
TINY: dict[str, Any] = {
    "patch_size": 4,
    "width": 32,
    "depth": 2,
    "mlp_dim": 64,
    "num_heads": 4,
    "image_size": (16, 16),
    "num_classes": 3,
}


def tiny(**changes: Any) -> BEiT:
    """A network whose parameters are all away from their start."""
    torch.manual_seed(0)
    model = BEiT(BEiTConfig(**{**TINY, **changes}))
    moved(model)
    return model


def test_every_variant_has_its_published_parameter_count() -> None:
    assert VARIANTS.keys() == PUBLISHED_MILLIONS.keys()
    for name, published in PUBLISHED_MILLIONS.items():
        for size, millions in published.items():
            model = create_model(name, device="meta", image_size=size)
            assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.005)


def test_state_dict_keys_are_public() -> None:
    block = ["scale1", "scale2", "norm1.weight", "norm1.bias"]
    block += [
        f"attention.{n}" for n in ("relative_positions", "q_bias", "v_bias", "qkv.weight", "out.weight", "out.bias")
    ]
    block += [f"{part}.{kind}" for part in ("norm2", "mlp.fc1", "mlp.fc2") for kind in ("weight", "bias")]
    names = ["class_token", "patch_embedding.weight", "patch_embedding.bias"]
    names += [f"blocks.{i}.{n}" for i in range(2) for n in block]
    names += [f"{part}.{kind}" for part in ("norm", "head") for kind in ("weight", "bias")]
    assert list(tiny().state_dict()) == names


def in_transformers_names(model: BEiT) -> dict[str, torch.Tensor]:
    ours = model.state_dict()
    state = {"beit.embeddings.cls_token": ours["class_token"]}
    whole = {"patch_embedding": "beit.embeddings.patch_embeddings.projection", "norm": "beit.pooler.layernorm",
             "head": "classifier"}  # fmt: skip
    parts = {"norm1": "layernorm_before", "norm2": "layernorm_after", "attention.out": "attention.o_proj",
             "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2"}  # fmt: skip
    for kind in ("weight", "bias"):
        state |= {f"{their}.{kind}": ours[f"{our}.{kind}"] for our, their in whole.items()}
        for i in range(model.config.depth):
            state |= {
                f"beit.layers.{i}.{their}.{kind}": ours[f"blocks.{i}.{our}.{kind}"] for our, their in parts.items()
            }
    for i in range(model.config.depth):
        block, theirs = f"blocks.{i}", f"beit.layers.{i}"
        state |= {f"{theirs}.lambda_{k}": ours[f"{block}.scale{k}"] for k in (1, 2)}
        for letter, matrix in zip("qkv", ours[f"{block}.attention.qkv.weight"].chunk(3), strict=True):
            state[f"{theirs}.attention.{letter}_proj.weight"] = matrix
        state |= {f"{theirs}.attention.{k}_proj.bias": ours[f"{block}.attention.{k}_bias"] for k in "qv"}
        table = ours[f"{block}.attention.relative_positions"]
        state[f"{theirs}.relative_position_bias.relative_position_bias_table"] = table
    return state


def test_forward_equals_transformers_model_with_the_same_weights() -> None:
    library = peers.or_skip(peers.transformers_library)
    model = tiny()
    config = library.BeitConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, image_size=16, patch_size=4,
        num_labels=3, layer_norm_eps=1e-6, use_relative_position_bias=True, use_mean_pooling=True,
    )  # fmt: skip
    theirs = library.BeitForImageClassification(config).eval()
    theirs.load_state_dict(in_transformers_names(model))
    images = torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(model(images), theirs(images).logits, atol=1e-5, rtol=1e-5)


def test_another_grid_keeps_the_class_tokens_positions_and_resizes_the_others() -> None:
    model = tiny()
    larger = configuration("BEiT-B/16", **{**TINY, "image_size": (24, 16)})
    resized = BEiT.resized(model.state_dict(), model.config, larger)
    assert list(resized) == [f"blocks.{i}.attention.relative_positions" for i in range(2)]
    for name, table in resized.items():
        before = model.get_parameter(name).detach()
        assert torch.equal(table[-3:], before[-3:])
        assert torch.equal(table[:-3], resized_geometric(before[:-3], (4, 4), (6, 4)))
    BEiT(larger).load_state_dict(model.state_dict() | resized)
    with pytest.raises(DataError, match="52 relative positions where a window of 6x4 makes 80"):
        BEiT.resized(model.state_dict(), larger, model.config)


def test_pictures_of_another_size_are_refused_with_the_way_out() -> None:
    with pytest.raises(UsageError, match="build it with that image_size"):
        tiny()(torch.randn(1, 3, 24, 16))


def test_a_picture_has_the_same_tokens_alone_and_in_a_batch() -> None:
    assert equal_in_every_batch(tiny(width=64), torch.randn(8, 3, 16, 16), (1, 3))


def test_initial_values_have_the_authors_distributions() -> None:
    torch.manual_seed(0)
    model = BEiT(BEiTConfig(4, 256, 8, 1024, 4, (16, 16), 3, layer_scale=1e-5, stochastic_depth=0.7))
    block = model.blocks[7]
    assert float(block.attention.qkv.weight.detach().std()) == pytest.approx(0.02, rel=0.02)
    assert float(block.mlp.fc2.weight.detach().std()) == pytest.approx(0.02 / 4, rel=0.02)  # sqrt(2 * 8) = 4
    assert float(block.attention.out.weight.detach().std()) == pytest.approx(0.02 / 4, rel=0.02)
    assert float(model.class_token.detach().std()) == pytest.approx(0.02, rel=0.2)
    assert (block.scale1 == 1e-5).all()
    assert (block.scale2 == 1e-5).all()
    zeros = (block.attention.relative_positions, block.attention.q_bias, block.attention.v_bias, model.head.weight)
    assert not any(parameter.any() for parameter in zeros)
    assert [b.drop_branch.rate for b in model.blocks] == pytest.approx([i / 10 for i in range(8)])


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"image_size": 225}, "nearest that is, is 224x224"),
        ({"num_heads": 7}, "cannot be split into 7 heads"),
        ({"depth": 0}, "depth must be at least 1"),
        ({"dropout": -0.1}, "dropout must be at least 0"),
    ],
)
def test_impossible_models_are_refused_with_a_way_out(overrides: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        configuration("BEiT-B/16", **overrides)
