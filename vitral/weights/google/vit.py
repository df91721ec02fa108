"""Vision Transformers as vision_transformer and big_vision keep them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from vitral.errors import DataError, UsageError
from vitral.models.vit import ViTConfig
from vitral.weights.google.forms import heads_bias, heads_in, heads_out, kernel, layer_of, norm
from vitral.weights.google.tree import Tree, count, not_square, square
from vitral.weights.mapping import HWIO, SAME, TRANSPOSED, Entry, Form

UNPLACED_CLASS = Form(
    "completed",
    lambda parts: torch.cat([torch.zeros_like(parts[0][:, :1]), parts[0]], dim=1),
    lambda value: [value[:, 1:]],
)
"""Positions of the patches alone: big_vision adds none to the class token, which is one of zeros."""


@dataclass(frozen=True)
class Spelling:
    """What differs from one generation of files to the next."""

    attention: str
    norm2: str
    mlp: str
    positions: str


CLASSIC = Spelling(
    "MultiHeadDotProductAttention_1", "LayerNorm_2", "MlpBlock_3", "Transformer/posembed_input/pos_embedding"
)
"""Parts of a block numbered together, as flax did at first."""

BIG_VISION = Spelling("MultiHeadDotProductAttention_0", "LayerNorm_1", "MlpBlock_0", "pos_embedding")
"""Parts of a block numbered by kind."""

BETWEEN = "Transformer/pos_embedding"
"""Where big_vision kept positions until 2022."""

STACKED = "Transformer/encoderblock"
"""All blocks at once, under flax's `scan`."""


def recognises(tree: Tree) -> bool:
    """Whether this is a Vision Transformer without a ResNet."""
    block = f"{STACKED}/LayerNorm_0/scale" in tree or f"{STACKED}_0/LayerNorm_0/scale" in tree
    return block and "embedding/kernel" in tree and "conv_root/kernel" not in tree


def configuration(tree: Tree, size: tuple[int, int] | None) -> ViTConfig:
    """The network, by the shapes alone."""
    rows, columns, channels, _ = tree.shape("embedding/kernel", 4)
    if rows != columns:
        raise DataError(f"its patches are of {rows}x{columns} pixels: only square ones are read.")
    return ViTConfig(patch_size=rows, channels=channels, **shape(tree, rows, size))


def shape(tree: Tree, stride: int, size: tuple[int, int] | None) -> dict[str, Any]:
    """Fields of the transformer, for ViTs and hybrids. `stride`: pixels, each way, for one token."""
    spelling, stacked = spelled(tree), f"{STACKED}/LayerNorm_0/scale" in tree
    block = STACKED if stacked else f"{STACKED}_0"
    query = f"{block}/{spelling.attention}/query/kernel"
    # in a stack the first dimension is the depth; with heads and their width in one the heads could only be guessed
    width, heads, _ = tree.shape(query, 3 + stacked)[-3:]
    pool: Literal["token", "gap", "map"]
    pool = "map" if "MAPHead_0/probe" in tree else "token" if "cls" in tree else "gap"
    if pool == "map" and "cls" in tree:
        raise DataError("it has a class token and attention pooling: files with both are not read.")
    fields: dict[str, Any] = {
        "width": width,
        "depth": tree.shape(query, 4)[0] if stacked else count(tree, rf"{STACKED}_(\d+)/"),
        "mlp_dim": tree.shape(f"{block}/{spelling.mlp}/Dense_0/kernel", 2 + stacked)[-1],
        "num_heads": heads,
        "pool": pool,
        "num_classes": tree.shape("head/kernel", 2)[1] if "head/kernel" in tree else 1,
        "representation_size": tree.shape("pre_logits/kernel", 2)[1] if "pre_logits/kernel" in tree else None,
    }
    if spelling.positions not in tree:
        usual = max(1, 224 // stride) * stride
        return fields | {"positions": "sincos2d", "image_size": size or (usual, usual)}
    positions = tree.shape(spelling.positions, 3)[1]
    found = square(positions, stride, size, beside=1) if pool == "token" else None
    found = found or square(positions, stride, size)
    if found is None:
        raise not_square(positions, size)
    return fields | {"image_size": found}


def notes(tree: Tree) -> list[str]:
    """What a reader should know of this file."""
    said = []
    if spelled(tree).positions not in tree:
        said.append("no table of positions: taken for fixed ones (sincos2d), and the input size for the usual one")
    return said


def spelled(tree: Tree) -> Spelling:
    """How the file names what differs between generations."""
    block = STACKED if f"{STACKED}/LayerNorm_0/scale" in tree else f"{STACKED}_0"

    def present(words: Sequence[str], behind: str) -> str:
        return next((word for word in words if f"{block}/{word}/{behind}" in tree), words[0])

    places = (CLASSIC.positions, BETWEEN, BIG_VISION.positions)
    return Spelling(
        present((CLASSIC.attention, BIG_VISION.attention), "query/kernel"),
        present((CLASSIC.norm2, BIG_VISION.norm2), "scale"),
        present((CLASSIC.mlp, BIG_VISION.mlp), "Dense_0/kernel"),
        next((place for place in places if place in tree), CLASSIC.positions),
    )


def entries(config: ViTConfig, tree: Tree | None) -> list[Entry]:
    """Where each parameter stands. Written are the names that both codes read: big_vision's own where only it has
    such a model."""
    if tree is None and config.positions == "none":
        raise UsageError("the authors' files cannot say that a model has no positions: choose another layout.")
    classic = config.pool != "map" and config.positions == "learned"
    spelling = spelled(tree) if tree is not None else CLASSIC if classic else BIG_VISION
    found = kernel("patch_embedding", "embedding", HWIO)
    if config.pool == "token":
        found.append(Entry("class_token", ("cls",)))
    if config.positions == "learned":
        rows = tree.shape(spelling.positions, 3)[1] if tree is not None else 0
        unplaced = config.pool == "token" and rows == config.grid_size[0] * config.grid_size[1]
        found.append(Entry("position_embedding", (spelling.positions,), UNPLACED_CLASS if unplaced else SAME))
    found += _blocks(config, spelling, stacked=tree is not None and f"{STACKED}/LayerNorm_0/scale" in tree)
    found += norm("norm", "Transformer/encoder_norm")
    if config.pool == "map":
        found += _attention_pool(config.num_heads)
    if config.representation_size is not None:
        found += kernel("pre_logits", "pre_logits", TRANSPOSED)
    return found + kernel("head", "head", TRANSPOSED)


def _blocks(config: ViTConfig, spelling: Spelling, stacked: bool) -> list[Entry]:
    if not stacked:
        return [
            entry
            for i in range(config.depth)
            for entry in _block(f"blocks.{i}", f"{STACKED}_{i}", spelling, config.num_heads)
        ]
    blocks = [_block(f"blocks.{i}", STACKED, spelling, config.num_heads) for i in range(config.depth)]
    # one kind after the other, so that each stack is read from the file once
    return [layer_of(entry, i) for kind in zip(*blocks, strict=True) for i, entry in enumerate(kind)]


def _block(ours: str, theirs: str, spelling: Spelling, num_heads: int) -> list[Entry]:
    found = norm(f"{ours}.norm1", f"{theirs}/LayerNorm_0") + norm(f"{ours}.norm2", f"{theirs}/{spelling.norm2}")
    attention = f"{theirs}/{spelling.attention}"
    found += _joined(f"{ours}.attention.qkv", attention, ("query", "key", "value"), num_heads)
    found += _out(f"{ours}.attention.out", attention, num_heads)
    return found + _mlp(f"{ours}.mlp", f"{theirs}/{spelling.mlp}")


def _attention_pool(num_heads: int) -> list[Entry]:
    attention = f"MAPHead_0/{BIG_VISION.attention}"
    found = [Entry("attention_pool.probe", ("MAPHead_0/probe",))]
    found += _joined("attention_pool.q", attention, ("query",), num_heads)
    found += _joined("attention_pool.kv", attention, ("key", "value"), num_heads)
    found += _out("attention_pool.out", attention, num_heads)
    return (
        found
        + norm("attention_pool.norm", "MAPHead_0/LayerNorm_0")
        + _mlp("attention_pool.mlp", "MAPHead_0/MlpBlock_0")
    )


def _joined(ours: str, attention: str, parts: Sequence[str], num_heads: int) -> list[Entry]:
    kernels, biases = (tuple(f"{attention}/{part}/{kind}" for part in parts) for kind in ("kernel", "bias"))
    return [
        Entry(f"{ours}.weight", kernels, heads_in(len(parts), num_heads)),
        Entry(f"{ours}.bias", biases, heads_bias(len(parts), num_heads)),
    ]


def _out(ours: str, attention: str, num_heads: int) -> list[Entry]:
    weight = Entry(f"{ours}.weight", (f"{attention}/out/kernel",), heads_out(num_heads))
    return [weight, Entry(f"{ours}.bias", (f"{attention}/out/bias",))]


def _mlp(ours: str, theirs: str) -> list[Entry]:
    return kernel(f"{ours}.fc1", f"{theirs}/Dense_0", TRANSPOSED) + kernel(
        f"{ours}.fc2", f"{theirs}/Dense_1", TRANSPOSED
    )
