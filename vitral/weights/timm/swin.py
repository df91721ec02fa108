"""timm's Swin Transformers, and the authors' names, which timm had too in its first years.

timm now merges patches at the beginning of a stage, the authors do at the end of the one before.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from vitral.models import swin
from vitral.models.swin import SwinConfig
from vitral.weights.mapping import Entry, same
from vitral.weights.stored import Stored
from vitral.weights.timm.published import NotReadError, arguments_of, input_of, require_pool

ARCHITECTURE = re.compile(r"swin_(tiny|small|base|large)_patch(\d+)_window(\d+)_(\d+)")
SIZES = {"tiny": "T", "small": "S", "base": "B", "large": "L"}

ARGUMENTS = {"embed_dim": "width", "depths": "depths", "num_heads": "num_heads", "window_size": "window_size"}
"""Our fields by arguments of timm's constructor, those that are understood."""

COMPUTED = {
    "relative_position_index": "which row of the bias table is whose follows from the window",
    "attn_mask": "which tokens may not see each other follows from the window and the picture",
}
"""Buffers that older files hold, by the end of their names, with the reason why they are left out."""

AUTHORS_MERGING = "layers.0.downsample.reduction.weight"
"""There only where merging stands at the end of a stage."""


def configuration(name: str, published: Mapping[str, Any], stored: Stored) -> tuple[SwinConfig, dict[str, str]] | None:
    """The network of timm's model `name`."""
    match = ARCHITECTURE.fullmatch(name)
    if match is None:
        return None
    require_pool("Swins", published, "avg")
    shape: dict[str, Any] = {**swin.SIZES[SIZES[match[1]]], "window_size": int(match[3])}
    given = arguments_of(published)
    for theirs, ours in ARGUMENTS.items():
        if theirs in given:
            shape[ours] = tuple(given[theirs]) if isinstance(given[theirs], list) else given[theirs]
    if not isinstance(shape["window_size"], int):
        raise NotReadError(f"the weights have windows of {shape['window_size']}: only squares of one size are read.")
    config = SwinConfig(patch_size=int(match[2]), **shape, **input_of(published, int(match[4])))
    return config, computed(stored.shapes)


def computed(names: Iterable[str]) -> dict[str, str]:
    """Those of the names that are of `COMPUTED` buffers, each with the reason."""
    ends = {name: name.rpartition(".")[2] for name in names}
    return {name: COMPUTED[end] for name, end in ends.items() if end in COMPUTED}


def entries(config: SwinConfig, stored: Stored | None) -> list[Entry]:
    """timm's name for each parameter, or its older one where the file has those."""
    return named(config, authors=stored is not None and AUTHORS_MERGING in stored.shapes)


def named(config: SwinConfig, authors: bool) -> list[Entry]:
    """The name for each parameter: the authors' or timm's."""
    found = same("patch_embedding", "patch_embed.proj") + same("patch_norm", "patch_embed.norm")
    for i, depth in enumerate(config.depths):
        if i:
            merging = f"layers.{i - 1 if authors else i}.downsample"
            found += same(f"stages.{i}.merging.norm", f"{merging}.norm")
            found += same(f"stages.{i}.merging.reduction", f"{merging}.reduction", "weight")
        for j in range(depth):
            ours, theirs = f"stages.{i}.blocks.{j}", f"layers.{i}.blocks.{j}"
            found += same(f"{ours}.norm1", f"{theirs}.norm1") + same(f"{ours}.norm2", f"{theirs}.norm2")
            table = (f"{theirs}.attn.relative_position_bias_table",)
            found.append(Entry(f"{ours}.attention.relative_positions", table))
            found += same(f"{ours}.attention.qkv", f"{theirs}.attn.qkv")
            found += same(f"{ours}.attention.out", f"{theirs}.attn.proj")
            found += same(f"{ours}.mlp.fc1", f"{theirs}.mlp.fc1") + same(f"{ours}.mlp.fc2", f"{theirs}.mlp.fc2")
    return found + same("norm", "norm") + same("head", "head" if authors else "head.fc")


def name(config: SwinConfig) -> str | None:
    """timm's name for a network, or `None` where timm has none like it."""
    window, side = config.window_size, {7: 224, 12: 384}.get(config.window_size)
    for theirs, ours in SIZES.items():
        alike = all(getattr(config, key) == value for key, value in swin.SIZES[ours].items())
        if alike and side and config.patch_size == 4 and (window == 7 or ours in ("B", "L")):
            return f"swin_{theirs}_patch4_window{window}_{side}"
    return None
