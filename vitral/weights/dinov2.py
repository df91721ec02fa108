"""Files of facebookresearch/dinov2: the pre-trained networks, which have no head, and its linear classifiers.

dinov2_vitb14_pretrain.pth, dinov2_vitb14_reg4_pretrain.pth, and the state dictionary of dinov2_vitb14_lc(layers=1).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vitral.errors import DataError, UsageError
from vitral.models.layerscale import LayerScaleConfig
from vitral.weights.from_shapes import has_blocks, imagenet, shape_of
from vitral.weights.layout import Described, without_head
from vitral.weights.mapping import Entry, same, written
from vitral.weights.stored import Stored
from vitral.weights.timm import vit as timm_vit

FILE = "model.pth"
"""What `write` calls the file."""

BACKBONE = "backbone."
"""What a linear classifier's names begin with, but for its head's."""

HEAD = "linear_head"

MASK = "mask_token"
"""The token that stands for a masked patch in pre-training."""


def recognises(stored: Stored, config: Mapping[str, Any]) -> bool:
    """Whether a file has a mask token and LayerScale, bare or under "backbone."."""
    for prefix in ("", BACKBONE):
        if has_blocks(stored, config, prefix) and len(stored.shapes.get(prefix + MASK, ())) == 2:
            return any(re.fullmatch(re.escape(prefix) + r"blocks\.(0\.)?0\.ls1\.gamma", name) for name in stored.shapes)
    return False


def describe(stored: Stored, config: Mapping[str, Any], _: Path) -> Described:
    """The model that the shapes make.

    Raises:
        DataError: the linear classifier sees several layers; or shapes leave a choice.
    """
    prefix = _prefix(stored)
    block = _block(0, prefix, stored).removeprefix(prefix)
    shape = shape_of(stored, config, 1, prefix, block)
    registers = stored.shapes.get(f"{prefix}register_tokens", (1, 0))[1]
    classes, seen = stored.shapes.get(f"{HEAD}.weight", (1, shape["width"]))
    if seen not in (shape["width"], 2 * shape["width"]):
        raise DataError(
            f"{stored.path} is a linear classifier over several layers ({seen} numbers a picture): only those over the "
            f"last one are read, dinov2_..._lc(layers=1)."
        )
    model = LayerScaleConfig(
        num_classes=classes,
        pool="token_mean" if seen == 2 * shape["width"] else "token",
        registers=registers,
        mlp="swiglu" if f"{prefix}{block}.mlp.w12.weight" in stored.shapes else "gelu",
        # Those without registers were trained with a small mistake in the resize, those with them without.
        position_resize="timm" if registers else "dinov2",
        **shape,
    )
    return Described(
        model,
        imagenet(model.image_size, min(model.image_size)),
        left_out={prefix + MASK: "it stands for masked patches, in pre-training alone"},
        headless=f"{HEAD}.weight" not in stored.shapes,
    )


def entries(config: LayerScaleConfig, stored: Stored | None) -> list[Entry]:
    """Where each parameter stands."""
    prefix = "" if stored is None else _prefix(stored)
    tokens = {"class_token": "cls_token", "position_embedding": "pos_embed"}
    if config.registers:
        tokens["registers"] = "register_tokens"
    found = [Entry(ours, (prefix + theirs,)) for ours, theirs in tokens.items()]
    found += same("patch_embedding", f"{prefix}patch_embed.proj")
    for i in range(config.depth):
        ours, theirs = f"blocks.{i}", _block(i, prefix, stored)
        found += timm_vit.block(ours, theirs)
        for layer in ("w12", "w3") if config.mlp == "swiglu" else ("fc1", "fc2"):
            found += same(f"{ours}.mlp.{layer}", f"{theirs}.mlp.{layer}")
        found += [Entry(f"{ours}.scale{k}", (f"{theirs}.ls{k}.gamma",)) for k in (1, 2)]
    return found + same("norm", f"{prefix}norm") + same("head", HEAD)


def write(folder: Path, described: Described, tensors: Mapping[str, Tensor]) -> None:
    """Write what `load_state_dict` of the authors' network opens; of a classifier, of their linear classifier.

    The mask token, which no classifier has, is of zeros.

    Raises:
        UsageError: their code has no such model.
    """
    config = described.config
    if not isinstance(config, LayerScaleConfig) or not config.class_position or config.gelu != "exact":
        raise UsageError("DINOv2's code has no model of this shape: choose another layout.")
    if config.pool != "token_mean" and not described.headless:
        raise UsageError("DINOv2's linear classifiers see the patches' mean too: choose another layout.")
    found = entries(config, None)
    backbone = written(without_head(found, config), tensors)
    backbone[MASK] = torch.zeros(1, config.width)
    if described.headless:
        torch.save(backbone, folder / FILE)
        return
    head = [entry for entry in found if entry.ours.startswith("head.")]
    torch.save({f"{BACKBONE}{name}": value for name, value in backbone.items()} | written(head, tensors), folder / FILE)


def _prefix(stored: Stored) -> str:
    return BACKBONE if f"{BACKBONE}cls_token" in stored.shapes else ""


def _block(i: int, prefix: str, stored: Stored | None) -> str:
    """Name of block i, which training in chunks numbers twice: blocks.1.10 is block 10, in chunk 1."""
    plain = f"{prefix}blocks.{i}"
    if stored is None or f"{plain}.norm1.weight" in stored.shapes:
        return plain
    chunked = re.compile(re.escape(prefix) + rf"blocks\.\d+\.{i}\.norm1\.weight")
    found = next((name for name in stored.shapes if chunked.fullmatch(name)), f"{plain}.norm1.weight")
    return found.removesuffix(".norm1.weight")
