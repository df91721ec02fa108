"""timm's plain Vision Transformers: with a class token, averaged ("gap") or with attention pooling ("siglip")."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from vitral.errors import DataError
from vitral.models import vit
from vitral.models.kernels import Gelu
from vitral.models.vit import ViTConfig
from vitral.weights.mapping import Entry, same
from vitral.weights.stored import Stored

ARCHITECTURE = re.compile(
    r"vit_(tiny|small|base|large|huge|so400m|giant|gigantic)_patch(\d+)(?:_siglip)?(?:_gap)?_(\d+)"
)
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

REGISTERED = {
    # the patch size of the model of each size that timm surely has at 224 pixels; others are arguments of it
    **dict.fromkeys(("tiny", "small", "base", "large"), "patch16"),
    **dict.fromkeys(("huge", "giant", "gigantic"), "patch14"),
    "so400m": "patch14_siglip",
}


def configuration(name: str, published: Mapping[str, Any], stored: Stored) -> tuple[ViTConfig, dict[str, str]] | None:
    """The network of timm's model `name`."""
    match = ARCHITECTURE.fullmatch(name)
    if match is None:
        return None
    config = ViTConfig(
        patch_size=int(published.get("model_args", {}).get("patch_size", match[2])),
        image_size=image_size(published, int(match[3])),
        num_classes=max(1, int(published.get("num_classes", 1000))),  # none in an encoder without a head
        pool=_pool(name, published, stored),  # type: ignore[arg-type]
        gelu=gelu(published, "tanh" if name.startswith("vit_so400m_patch16_siglip") else "exact"),
        **vit.SIZES[SIZES[match[1]]],
    )
    return config, {}


def gelu(published: Mapping[str, Any], usual: Gelu = "exact") -> Gelu:
    """timm computes nearly all weights with the exact GELU, whatever they were trained with."""
    named = published.get("model_args", {}).get("act_layer")
    return usual if named is None else "tanh" if named == "gelu_tanh" else "exact"


def image_size(published: Mapping[str, Any], side: int) -> tuple[int, int]:
    """Height and width of the input, `side` where the configuration does not say."""
    size = published.get("input_size", [3, side, side])
    return int(size[1]), int(size[2])


def require_token_pool(published: Mapping[str, Any]) -> None:
    """Refuse a hybrid that pools otherwise."""
    if published.get("global_pool", "token") != "token":
        raise DataError(
            f"the weights pool by {published['global_pool']!r}: "
            "of timm's hybrids only those with a class token are read."
        )


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


def entries(config: ViTConfig, stored: Stored | None) -> list[Entry]:
    """timm's name for each parameter."""
    found = [Entry("class_token", ("cls_token",))] if config.pool == "token" else []
    found += [Entry("position_embedding", ("pos_embed",)), *same("patch_embedding", "patch_embed.proj")]
    for i in range(config.depth):
        block = f"blocks.{i}"
        found += same(f"{block}.norm1", f"{block}.norm1") + same(f"{block}.norm2", f"{block}.norm2")
        found += same(f"{block}.attention.qkv", f"{block}.attn.qkv")
        found += same(f"{block}.attention.out", f"{block}.attn.proj")
        found += same(f"{block}.mlp.fc1", f"{block}.mlp.fc1") + same(f"{block}.mlp.fc2", f"{block}.mlp.fc2")
    if config.pool == "map":
        found.append(Entry("attention_pool.probe", ("attn_pool.latent",)))
        for ours, theirs in (("q", "q"), ("kv", "kv"), ("out", "proj"), ("norm", "norm")):
            found += same(f"attention_pool.{ours}", f"attn_pool.{theirs}")
        for layer in ("fc1", "fc2"):
            found += same(f"attention_pool.mlp.{layer}", f"attn_pool.mlp.{layer}")
    found += same("norm", "norm")
    headless = stored is not None and "head.weight" not in stored.shapes
    return found if headless else found + same("head", "head")


def name(config: ViTConfig) -> str | None:
    """timm's name for a network, or `None` where timm has none like it."""
    plain = config.positions == "learned" and config.representation_size is None
    for theirs, ours in SIZES.items():
        if plain and all(getattr(config, key) == value for key, value in vit.SIZES[ours].items()):
            return f"vit_{theirs}_{REGISTERED[theirs]}_224"
    return None


def arguments(config: ViTConfig) -> dict[str, Any]:
    """What `timm.create_model` must be told beside the name."""
    given: dict[str, Any] = {"patch_size": config.patch_size}
    if config.gelu == "tanh":
        given["act_layer"] = "gelu_tanh"
    if config.pool != "token" or config.width == vit.SIZES["So400m"]["width"]:
        given["global_pool"] = next(theirs for theirs, ours in POOLS.items() if ours == config.pool)
        given |= {"class_token": config.pool == "token", "fc_norm": False}
    return given
