"""BoTNet against timm's attention layer, attention written out, and the paper's sizes."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from tests.convolutional import assert_close, count, timm, unlike_new
from vitral.config import Preprocessing
from vitral.errors import DataError, UsageError
from vitral.models import configuration, create_model
from vitral.models.botnet import VARIANTS, BoTNet, BoTNetConfig, RelativeAttention, resize_offsets
from vitral.serving.predictor import Model
from vitral.weights import build, read


def tiny(image_size: tuple[int, int] = (96, 64), **changes: object) -> BoTNet:
    torch.manual_seed(0)
    network = BoTNet(BoTNetConfig((1, 1, 1, 2), 4, image_size=image_size, width=8, num_classes=3, **changes))
    unlike_new(network)
    return network


@pytest.mark.parametrize("name", VARIANTS)
def test_parameter_counts_are_a_resnets_with_attention_for_convolutions(name: str) -> None:
    # ResNet-50's published count; three 3x3 of 512 channels become q, k, v and offsets of rows and columns
    first, others = 14, 14 if "S1" in name else 7  # sides of the maps at 224 pixels
    offsets = 2 * 128 * ((2 * first - 1) + 2 * (2 * others - 1))
    assert count(name) == 25_557_032 + 3 * (3 - 9) * 512 * 512 + offsets
    # Table 1: 1.2 times fewer parameters than ResNet-50
    assert round(25_557_032 / count(name), 1) == 1.2


@pytest.mark.parametrize("size", [(6, 5), (3, 7), (1, 1)])
def test_attention_is_timms(size: tuple[int, int]) -> None:
    timm()
    from timm.layers.bottleneck_attn import BottleneckAttn

    torch.manual_seed(0)
    ours = RelativeAttention(32, 4, size)
    theirs = BottleneckAttn(32, feat_size=size, num_heads=4, scale_pos_embed=True)
    with torch.no_grad():
        theirs.qkv.weight.copy_(ours.qkv.weight.normal_(std=0.4))
        theirs.pos_embed.height_rel.copy_(ours.row_offsets.normal_())
        theirs.pos_embed.width_rel.copy_(ours.column_offsets.normal_())
        x = torch.randn(2, 32, *size)
        assert_close(ours(x), theirs(x))


def test_attention_is_as_written_out() -> None:
    """softmax over j of (q_i k_j + q_i (R_h[row j - row i] + R_w[column j - column i])) / sqrt(d), position by position."""
    torch.manual_seed(0)
    attention = RelativeAttention(8, 2, (3, 4)).double()
    x = torch.randn(1, 8, 3, 4, dtype=torch.float64)
    with torch.no_grad():
        kernel = attention.qkv.weight[:, :, 0, 0]
        places = [(r, c) for r in range(3) for c in range(4)]
        expected = torch.zeros(8, 3, 4, dtype=torch.float64)
        weights = torch.zeros(2, 12, 12, dtype=torch.float64)
        for head in range(2):
            rows = [slice(part * 8 + head * 4, part * 8 + head * 4 + 4) for part in range(3)]
            q, k, v = ({p: kernel[r] @ x[0, :, p[0], p[1]] for p in places} for r in rows)
            for i, (row, column) in enumerate(places):
                query = q[row, column]
                scores = torch.stack(
                    [
                        query @ k[r, c]
                        + query @ attention.row_offsets[r - row + 2]
                        + query @ attention.column_offsets[c - column + 3]
                        for r, c in places
                    ]
                )
                weights[head, i] = torch.softmax(scores / math.sqrt(4), dim=0)
                expected[head * 4 : head * 4 + 4, row, column] = sum(
                    w * v[p] for w, p in zip(weights[head, i], places, strict=True)
                )
        torch.testing.assert_close(attention(x)[0], expected)
        torch.testing.assert_close(attention.weights(x)[0], weights)


def test_the_last_stage_looks_before_it_halves() -> None:
    network = tiny((96, 80))
    maps: list[tuple[int, ...]] = []
    for block in network.stages[3]:
        block.attention.register_forward_hook(lambda _, given, __: maps.append(tuple(given[0].shape[2:])))
    with torch.no_grad():
        assert network.encode(torch.randn(1, 3, 96, 80)).shape == (1, 256, 3, 3)
    assert maps == [(6, 5), (3, 3)] == [network.config.map_size(b) for b in range(2)]
    assert network.stages[3][0].attention.row_offsets.shape == (11, 16)


def test_halving_an_odd_map_averages_what_is_there() -> None:
    block = tiny().stages[3][0]
    pooled = block.pool(torch.arange(9.0).reshape(1, 1, 3, 3))
    assert pooled[0, 0].tolist() == [[2.0, 3.5], [6.5, 8.0]]


def test_s1_keeps_the_map() -> None:
    network = tiny(last_stride=1)
    assert network.config.stride == 16
    with torch.no_grad():
        assert network.encode(torch.randn(1, 3, 96, 64)).shape == (1, 256, 6, 4)


@pytest.mark.parametrize(("old", "new"), [(4, 7), (7, 4), (2, 5)])
def test_resized_offsets_keep_their_ends_and_their_middle(old: int, new: int) -> None:
    table = torch.randn(2 * old - 1, 3)
    resized = resize_offsets(table, 2 * new - 1)
    for here, there in ((0, 0), (old - 1, new - 1), (-1, -1)):
        torch.testing.assert_close(resized[there], table[here])
    # linear: a table that is a line stays one
    line = torch.linspace(-1, 1, 2 * old - 1)[:, None]
    torch.testing.assert_close(resize_offsets(line, 2 * new - 1), torch.linspace(-1, 1, 2 * new - 1)[:, None])


def test_another_size_resizes_the_offsets_on_the_way_and_on_loading(tmp_path: Path) -> None:
    network = tiny()
    Model(network, Preprocessing((96, 64), None), ["a", "b", "c"]).save(tmp_path / "m")
    larger, report = build(read(tmp_path / "m"), image_size=(128, 96))
    assert {name for name, _, _ in report.resized} == {
        f"stages.3.{b}.attention.{kind}" for b in range(2) for kind in ("row_offsets", "column_offsets")
    }
    images = torch.randn(2, 3, 128, 96)
    with torch.no_grad():
        torch.testing.assert_close(larger(images), network(images), atol=1e-5, rtol=1e-5)


def test_offsets_that_do_not_fit_the_size_are_not_guessed_around() -> None:
    network = tiny()
    other = configuration("BoTNet-50", blocks=(1, 1, 1, 2), image_size=(160, 160))
    with pytest.raises(DataError, match=r"11 offsets in stages.3.0.attention.row_offsets where .*160x160 makes 19"):
        BoTNet.resized(network.state_dict(), other, configuration("BoTNet-50", image_size=(96, 96)))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"num_heads": 7}, "512 channels cannot be split into 7 heads"),
        ({"last_stride": 3}, "last_stride must be 1 or 2"),
        ({"width": 0}, "width must be at least 1"),
    ],
)
def test_impossible_networks_are_refused(overrides: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        configuration("BoTNet-50", **overrides)


def test_branches_start_at_zero() -> None:
    torch.manual_seed(0)
    network = create_model("BoTNet-50", width=8, num_classes=2)
    assert not any(block.restore.norm.weight.any() for stage in network.stages for block in stage)
