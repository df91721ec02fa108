"""timm's plain Vision Transformers: with a class token, averaged ("gap") or with attention pooling ("siglip")."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from vitral.errors import DataError
from vitral.models import vit
from vitral.models.vit import ViTConfig
from vitral.weights.mapping import Entry, same
from vitral.weights.stored import Stored
from vitral.weights.timm.published import SHAPE, activation, gelu, input_of, shape_of

ARCHITECTURE = re.compile(
    r"(?:vit|deit)_(tiny|small|base|large|huge|so400m|giant|gigantic)_patch(\d+)(?:_siglip)?(?:_gap)?_(\d+)"
)
"""DeiT without the distillation token is the plain ViT."""

SIZES = {
    "tiny": "Ti",
    "small": "S",
    "base": "B",
    "large": "L",
    "huge": "H",
    "so400m": "So400m",
    "giant": "g",
    "gigantic": "G",
}

POOLS = {"token": "token", "avg": "gap", "map": "map"}
"""Our pooling by timm's word."""

PATCHES = {
    "tiny": (16,), "small": (8, 16, 32), "base": (8, 16, 32), "large": (14, 16, 32), "huge": (14,), "giant": (14,),
    "gigantic": (14,),
}  # fmt: skip
"""Patch sizes that timm has a name for, all at 224 pixels, those of 16 and 32 at 384 too."""


REGISTERED = {
    # the patch size of the model of each size that timm surely has at 224 pixels; others are arguments of it
    **dict.fromkeys(("tiny", "small", "base", "large"), "patch16"),
    **dict.fromkeys(("huge", "giant", "gigantic"), "patch14"),
    "so400m": "patch14_siglip",
}

OTHER_SIZE = "vit_tiny_patch16_224"
"""The model that a ViT of a size without a name is made from."""

ARGUMENTS = (*SHAPE, "mlp_ratio", "act_layer", "class_token", "fc_norm")
"""Of timm's constructor, those that are understood; tensors tell whether there are a class token and a norm."""


def configuration(name: str, published: Mapping[str, Any], stored: Stored) -> tuple[ViTConfig, dict[str, str]] | None:
    """The network of timm's model `name`."""
    match = ARCHITECTURE.fullmatch(name)
    if match is None or (published.get("global_pool") == "avg" and "cls_token" in stored.shapes):  # which is MAE's
        return None
    config = ViTConfig(
        pool=_pool(name, published, stored),  # type: ignore[arg-type]
        gelu=gelu(name, published, "tanh" if name.startswith("vit_so400m_patch16_siglip") else "exact"),
        **shape_of(published, {"patch_size": int(match[2]), **vit.SIZES[SIZES[match[1]]]}),
        **input_of(published, int(match[3])),
    )
    return config, {}


def _pool(name: str, published: Mapping[str, Any], stored: Stored) -> str:
    usual = "avg" if "_gap_" in name else "map" if "_siglip_" in name else "token"
    pool = published.get("global_pool", usual)
    if pool not in POOLS:
        raise DataError(f"the weights pool by {pool!r}: of timm's ViTs those that pool by {', '.join(POOLS)} are read.")
    if pool != "token" and "cls_token" in stored.shapes:
        raise DataError(f"the weights pool by {pool!r} beside a class token: only ViTs without one are read like that.")
    if "fc_norm.weight" in stored.shapes:
        raise DataError("the weights normalise behind the average (fc_norm), where ViTs here normalise before it.")
    return POOLS[pool]


def entries(config: ViTConfig, _: Stored | None) -> list[Entry]:
    """timm's name for each parameter."""
    found = encoder(config.depth, config.pool == "token")
    if config.pool == "map":
        found.append(Entry("attention_pool.probe", ("attn_pool.latent",)))
        for ours, theirs in (("q", "q"), ("kv", "kv"), ("out", "proj"), ("norm", "norm")):
            found += same(f"attention_pool.{ours}", f"attn_pool.{theirs}")
        for layer in ("fc1", "fc2"):
            found += same(f"attention_pool.mlp.{layer}", f"attn_pool.mlp.{layer}")
    return found + same("norm", "norm") + same("head", "head")


def encoder(depth: int, class_token: bool = True) -> list[Entry]:
    """Names of the tokens and blocks, which timm's descendants of ViT share."""
    found = [Entry("class_token", ("cls_token",))] if class_token else []
    found += [Entry("position_embedding", ("pos_embed",)), *same("patch_embedding", "patch_embed.proj")]
    for i in range(depth):
        found += whole_block(f"blocks.{i}")
    return found


def whole_block(name: str) -> list[Entry]:
    """Names of a plain block, which is called the same there and here."""
    return block(name, name) + same(f"{name}.mlp.fc1", f"{name}.mlp.fc1") + same(f"{name}.mlp.fc2", f"{name}.mlp.fc2")


def block(ours: str, theirs: str) -> list[Entry]:
    """Names of a block's norms and attention."""
    found = same(f"{ours}.norm1", f"{theirs}.norm1") + same(f"{ours}.norm2", f"{theirs}.norm2")
    return (
        found
        + same(f"{ours}.attention.qkv", f"{theirs}.attn.qkv")
        + same(f"{ours}.attention.out", f"{theirs}.attn.proj")
    )


def name(config: ViTConfig) -> str | None:
    """timm's name for a network, or `None` where timm has none like it."""
    if config.positions != "learned" or config.representation_size is not None:
        return None
    for theirs, ours in SIZES.items():
        if is_of_size(config, ours):
            return f"vit_{theirs}_{REGISTERED[theirs]}_224"
    return OTHER_SIZE if config.mlp_dim % config.width == 0 else None


def name_of(config: Any) -> str | None:
    """timm's name for the ViT of these sizes, or `None`; of another input it is the one for 224 pixels."""
    for theirs, patches in PATCHES.items():
        if config.patch_size in patches and is_of_size(config, SIZES[theirs]):
            large = config.image_size == (384, 384) and config.patch_size in (16, 32)
            return f"vit_{theirs}_patch{config.patch_size}_{384 if large else 224}"
    return None


def is_of_size(config: Any, size: str) -> bool:
    """Whether width, depth, MLP and heads are those of a key of `vitral.models.vit.SIZES`."""
    return all(getattr(config, key) == value for key, value in vit.SIZES[size].items())


def arguments(config: ViTConfig) -> dict[str, Any]:
    """What `timm.create_model` must be told beside the name."""
    given: dict[str, Any] = {"patch_size": config.patch_size}
    if not any(is_of_size(config, size) for size in SIZES.values()):
        given |= {theirs: getattr(config, ours) for theirs, ours in SHAPE.items()}
        given["mlp_ratio"] = config.mlp_dim // config.width
    if config.channels != 3:
        given["in_chans"] = config.channels
    given |= activation(config)
    if config.pool != "token" or config.width == vit.SIZES["So400m"]["width"]:
        given["global_pool"] = next(theirs for theirs, ours in POOLS.items() if ours == config.pool)
        given |= {"class_token": config.pool == "token", "fc_norm": False}
    return given
