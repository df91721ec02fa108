"""What config.json says of a network beside its architecture: "pretrained_cfg", and over it "model_args", which are
the arguments of timm's constructor.

An argument that is not understood would make another network than timm's; whatever a family does not name is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from vitral.errors import DataError
from vitral.models.kernels import Gelu

SIZED = ("img_size", "in_chans", "num_classes", "global_pool")
"""Arguments that "pretrained_cfg" says too: `laid_over` puts them there, for all families."""

TRAINING = (
    "drop_rate", "drop_path_rate", "drop_block_rate", "proj_drop_rate", "attn_drop_rate", "pos_drop_rate",
    "patch_drop_rate", "weight_init", "fix_init", "zero_init_last", "dynamic_img_size", "strict_img_size",
)  # fmt: skip
"""Arguments on which no score at the model's input size depends."""

GELUS: dict[str | None, Gelu] = {None: "exact", "gelu": "exact", "gelu_tanh": "tanh"}
"""By timm's "act_layer"."""

SHAPE = {"embed_dim": "width", "depth": "depth", "num_heads": "num_heads", "patch_size": "patch_size"}
"""Fields of ViTs by timm's arguments."""


class NotReadError(DataError):
    """The architecture is known, but has an argument that makes another network of it than the one here."""


def laid_over(config: Mapping[str, Any]) -> dict[str, Any]:
    """config.json with its "pretrained_cfg" laid over it, and over both what "model_args" says of the same."""
    published = {**config, **config.get("pretrained_cfg", {})}
    arguments = arguments_of(published)
    for key in ("num_classes", "global_pool"):
        if arguments.get(key) is not None:
            published[key] = arguments[key]
    if "input_size" in published or {"img_size", "in_chans"} & arguments.keys():
        channels, height, width = published.get("input_size", (3, 224, 224))
        if arguments.get("img_size") is not None:
            size = arguments["img_size"]
            height, width = (size, size) if isinstance(size, int) else size
        channels = channels if arguments.get("in_chans") is None else arguments["in_chans"]
        published["input_size"] = [int(channels), int(height), int(width)]
    return published


def arguments_of(published: Mapping[str, Any]) -> dict[str, Any]:
    """What timm's constructor is told."""
    return dict(published.get("model_args") or {})


def require_known(name: str, published: Mapping[str, Any], allowed: Collection[str] | None) -> None:
    """Refuse an argument that is neither among `allowed` nor one that every family knows; `None` allows all.

    Raises:
        NotReadError: there is one.
    """
    if allowed is None:
        return
    for key, value in arguments_of(published).items():
        if key not in allowed and key not in SIZED and key not in TRAINING and value is not None:
            raise NotReadError(f"the weights are of a {name} with another {key} ({value!r}): that is not read.")


def require_pool(kind: str, published: Mapping[str, Any], pool: str) -> None:
    """Refuse a network that makes one vector of a picture otherwise.

    Raises:
        NotReadError: it does.
    """
    found = published.get("global_pool") or pool
    if found != pool:
        raise NotReadError(
            f"the weights pool by {found!r}: of timm's {kind} only those that pool by {pool!r} are read."
        )


def input_of(published: Mapping[str, Any], side: int) -> dict[str, Any]:
    """Fields that all networks have: image size, which is `side` where nothing says it, channels and classes."""
    channels, height, width = published.get("input_size", (3, side, side))
    return {
        "image_size": (int(height), int(width)),
        "channels": int(channels),
        "num_classes": int(published.get("num_classes", 1000)),
    }


def gelu(name: str, published: Mapping[str, Any], usual: Gelu = "exact") -> Gelu:
    """timm computes nearly all weights with the exact GELU, whatever they were trained with.

    Raises:
        NotReadError: "act_layer" names another activation.
    """
    word = arguments_of(published).get("act_layer")
    if word is None:
        return usual
    if word not in GELUS:
        raise NotReadError(
            f"the weights are of a {name} with the activation {word!r}: only gelu and gelu_tanh are read."
        )
    return GELUS[word]


def activation(config: Any) -> dict[str, Any]:
    """How timm is told of a GELU that is not its usual one."""
    return {"act_layer": "gelu_tanh"} if config.gelu == "tanh" else {}


def shape_of(published: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a ViT: `usual`, which has a patch size too, and over it what the arguments of `SHAPE` and "mlp_ratio"
    say."""
    arguments = arguments_of(published)
    shape = {**usual, **{ours: int(arguments[theirs]) for theirs, ours in SHAPE.items() if theirs in arguments}}
    if "mlp_ratio" in arguments:
        shape["mlp_dim"] = int(shape["width"] * float(arguments["mlp_ratio"]))
    elif "embed_dim" in arguments:
        shape["mlp_dim"] = round(usual["mlp_dim"] / usual["width"] * shape["width"])
    return shape
