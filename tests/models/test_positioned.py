"""The positions of Table 8 of arXiv 2010.11929, against formulas in NumPy and the plain ViT."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.pictures import write_folder
from vitral.cli import main
from vitral.config import ModelConfig, Preprocessing, RunConfig
from vitral.errors import DataError, UsageError
from vitral.inspection import position_similarity
from vitral.models.positioned import PositionedConfig, PositionedTransformer, RelativeAttention, like
from vitral.models.positions import resize_positions
from vitral.models.swin import SwinConfig
from vitral.models.vit import VisionTransformer, ViTConfig, embed_patches
from vitral.planning import model_overrides
from vitral.serving.predictor import Model
from vitral.weights import build, read

PLAIN = ViTConfig(4, 16, 3, 32, 2, (8, 12), 5)  # a grid of 2 rows and 3 columns


def made(**fields: object) -> PositionedTransformer:
    torch.manual_seed(0)
    network = PositionedTransformer(dataclasses.replace(like(PLAIN), **fields)).eval()
    torch.nn.init.normal_(network.head.weight)
    return network


def pictures(height: int = 8, width: int = 12) -> torch.Tensor:
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_one_vector_for_each_token_at_the_stem_is_the_plain_vit() -> None:
    network = made()
    plain = VisionTransformer(dataclasses.replace(PLAIN)).eval()
    plain.load_state_dict(network.state_dict())
    assert torch.equal(plain(pictures()), network(pictures()))


@torch.no_grad()
@pytest.mark.parametrize("pool", ["token", "gap"])
def test_columns_stand_before_rows_in_two_dimensions(pool: str) -> None:
    network = made(positions="learned2d", pool=pool)
    rows, columns = network.position_rows[0].numpy(), network.position_columns[0].numpy()
    patches = embed_patches(pictures(), network.patch_embedding).numpy()
    wanted = patches + np.array([np.concatenate([columns[x], rows[y]]) for y in range(2) for x in range(3)])
    np.testing.assert_allclose(network.embed(pictures())[:, -6:].numpy(), wanted, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize(("at", "tables"), [("every", (0, 1, 2)), ("shared", (0, 0, 0))])
@pytest.mark.parametrize("positions", ["learned", "learned2d", "sincos2d"])
def test_every_layer_gets_a_table(positions: str, at: str, tables: tuple[int, ...]) -> None:
    network = made(positions=positions, positions_at=at)
    x = torch.cat([network.class_token.expand(2, -1, -1), embed_patches(pictures(), network.patch_embedding)], dim=1)
    made_of = network.position_tables((2, 3))
    assert made_of is not None
    if positions != "sincos2d":
        assert len(made_of) == (3 if at == "every" else 1)
    for table, block in zip(tables, network.blocks, strict=True):
        x = block(x + made_of[table % len(made_of)])
    torch.testing.assert_close(network.encode(pictures()), network.norm(x))


@torch.no_grad()
def test_relative_attention_is_the_formula() -> None:
    """softmax((q_i k_j + q_i r_(i - j)) / sqrt(D_h)), pair by pair."""
    torch.manual_seed(0)
    layer = RelativeAttention(8, 2, tokens=5)
    torch.nn.init.normal_(layer.relative_keys)
    x = torch.randn(2, 5, 8)
    q, k, v = (part.double().numpy() for part in layer.project(x))
    keys = layer.relative_keys.double().numpy()
    found = np.zeros((2, 2, 5, 5))
    for n, head, i, j in np.ndindex(found.shape):
        query = q[n, head, i]
        found[n, head, i, j] = (query @ k[n, head, j] + query @ keys[head, i - j + 4]) / np.sqrt(4)
    weights = np.exp(found) / np.exp(found).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(layer.weights(x).numpy(), weights, atol=1e-6)
    mixed = (weights @ v).transpose(0, 2, 1, 3).reshape(2, 5, 8)
    wanted = mixed @ layer.out.weight.double().numpy().T + layer.out.bias.double().numpy()
    np.testing.assert_allclose(layer(x).numpy(), wanted, atol=1e-5)


@torch.no_grad()
def test_without_positions_patches_are_a_bag() -> None:
    order = [4, 2, 0, 1, 5, 3]
    for positions, alike in (("none", True), ("relative", False), ("learned2d", False)):
        network = made(positions=positions)
        x = network.embed(pictures())
        turned = torch.cat([x[:, :1], x[:, 1:][:, order]], dim=1)
        scores = []
        for tokens in (x, turned):
            for block in network.blocks:
                tokens = block(tokens)
            scores.append(network.classify(network.norm(tokens)))
        # at the stem, what is added has been shuffled along: only relative positions still see the order
        assert torch.allclose(scores[0], scores[1], atol=1e-5) == (alike or positions == "learned2d")


@torch.no_grad()
@pytest.mark.parametrize(("positions", "at"), [("learned", "every"), ("learned2d", "stem"), ("learned2d", "every")])
def test_other_sizes_keep_the_corners(positions: str, at: str, tmp_path: Path) -> None:
    network = made(positions=positions, positions_at=at)
    small, large = (network.position_tables(grid) for grid in ((2, 3), (5, 7)))
    assert small is not None
    assert large is not None
    assert large.shape == (len(small), 1 + 35, 16)
    for mine, theirs in ((0, 0), (1, 1), (3, 7), (4, 29), (6, 35)):  # class token, and the grid's corners
        torch.testing.assert_close(small[:, mine], large[:, theirs])
    model = Model(network, Preprocessing((8, 12), (8, 12)), [f"c{k}" for k in range(5)])
    resized, report = build(read(model.save(tmp_path / "m")), image_size=(20, 28))
    assert report.resized
    torch.testing.assert_close(resized(pictures(20, 28)), network(pictures(20, 28)))


@torch.no_grad()
def test_weights_come_to_another_grid_by_the_rule_that_is_asked_for(tmp_path: Path) -> None:
    """As `resize_positions` brings the table of each layer there alone."""
    network = made(positions_at="every")
    model = Model(network, Preprocessing((8, 12), (8, 12)), [f"c{k}" for k in range(5)])
    resized, _ = build(read(model.save(tmp_path / "m")), image_size=(20, 28), position_resize="timm")
    for mine, theirs in zip(resized.position_embedding, network.position_embedding, strict=True):
        assert torch.equal(mine[None], resize_positions(theirs[None], (2, 3), (5, 7), "timm"))
        assert not torch.equal(
            mine[None], resize_positions(theirs[None], (2, 3), (5, 7), network.config.position_resize)
        )


@pytest.mark.parametrize(
    ("positions", "said"),
    [
        ("learned", "have 7 positions where image size 16x12 makes 13: config.json is wrong"),
        ("learned2d", "have 2 position_rows where image size 16x12 makes 4: config.json is wrong"),
    ],
)
def test_a_table_that_its_configuration_does_not_make_is_not_stretched(positions: str, said: str) -> None:
    network = made(positions=positions)
    wrong = dataclasses.replace(network.config, image_size=(16, 12))
    with pytest.raises(DataError, match=said):
        network.resized(network.state_dict(), wrong, dataclasses.replace(wrong, image_size=(20, 28)))


def test_relative_positions_stay_at_their_size(tmp_path: Path) -> None:
    network = made(positions="relative")
    with pytest.raises(UsageError, match="one image size"):
        network(pictures(16, 12))
    model = Model(network, Preprocessing((8, 12), (8, 12)), [f"c{k}" for k in range(5)])
    with pytest.raises(UsageError, match="8x12: leave --image-size out"):
        build(read(model.save(tmp_path / "m")), image_size=(16, 12))


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match="no place to choose"):
        PositionedConfig(4, 16, 1, 32, 2, (8, 8), positions="relative", positions_at="every")
    with pytest.raises(UsageError, match="are for plain ViTs, not for Swin"):
        like(SwinConfig(16, (1,), (2,)))
    with pytest.raises(UsageError, match="these weights have others"):
        model_overrides(RunConfig(model=ModelConfig(positions="relative")), PLAIN)


@torch.no_grad()
def test_similarity_is_of_the_first_table() -> None:
    network = made(positions="learned2d", positions_at="every")
    found = position_similarity(network).similarity
    tables = network.position_tables((2, 3))
    assert tables is not None
    table = tables[0, 1:].numpy()
    unit = table / np.linalg.norm(table, axis=1, keepdims=True)
    np.testing.assert_allclose(found.reshape(6, 6), unit @ unit.T, atol=1e-5)


def test_a_run_can_be_told_its_positions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_folder(tmp_path / "data", {"train": 6, "test": 2})
    words = ["--model", "ViT-mu/8", "--image-size", "16", "--steps", "1", "--batch-size", "4", "--device", "cpu"]
    own = ["--model.positions", "learned2d", "--model.positions-at", "shared", "--model.pool", "gap"]
    assert main(["train", str(folder), *words, *own, "--out", str(tmp_path / "run"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["finished"]
    assert read(tmp_path / "run" / "model").config.positions_at == "shared"
    convert = ["convert", str(tmp_path / "run" / "model"), "--to", "timm", "--out", str(tmp_path / "x"), "--json"]
    assert main(convert) == 2
    assert "no model of this shape" in json.loads(capsys.readouterr().out)["error"]["message"]
