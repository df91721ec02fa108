"""Every model by its paper's name: `VARIANTS`, `configuration` and `create_model`; `FAMILIES` makes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import torch
from torch.overrides import TorchFunctionMode

from vitral.errors import UsageError
from vitral.models import (
    adapter,
    beit,
    bit,
    botnet,
    compact,
    deit,
    efficientnet,
    hybrid,
    layerscale,
    mae,
    mixer,
    positioned,
    resnet,
    swin,
    vit,
)
from vitral.models.network import Configuration, Network, is_too_large
from vitral.models.vit import ViTConfig
from vitral.registry import look_up, nearest, spelled

__all__ = ["FAMILIES", "VARIANTS", "Configuration", "Family", "Network"]
__all__ += ["build_network", "changed", "configuration", "create_model", "described", "empty_network", "family_of"]
__all__ += ["named"]

AnyConfig = TypeVar("AnyConfig")


@dataclass(frozen=True)
class Family:
    """Networks of one file: what they are made from, what is made, and the published variants by name."""

    config: type[Any]
    network: type[Network]
    variants: Mapping[str, Any]


FAMILIES: dict[str, Family] = {
    "vit": Family(vit.ViTConfig, vit.VisionTransformer, vit.VARIANTS),
    "positioned": Family(positioned.PositionedConfig, positioned.PositionedTransformer, {}),
    "deit": Family(deit.DistilledConfig, deit.DistilledVisionTransformer, deit.VARIANTS),
    "layerscale": Family(layerscale.LayerScaleConfig, layerscale.LayerScaleTransformer, layerscale.VARIANTS),
    "mae": Family(mae.MaeConfig, mae.MaeTransformer, mae.VARIANTS),
    "resnet": Family(resnet.ResNetConfig, resnet.ResNet, resnet.VARIANTS),
    "efficientnet": Family(efficientnet.EfficientNetConfig, efficientnet.EfficientNet, efficientnet.VARIANTS),
    "botnet": Family(botnet.BoTNetConfig, botnet.BoTNet, botnet.VARIANTS),
    "beit": Family(beit.BEiTConfig, beit.BEiT, beit.VARIANTS),
    "swin": Family(swin.SwinConfig, swin.SwinTransformer, swin.VARIANTS),
    "hybrid": Family(hybrid.HybridConfig, hybrid.HybridTransformer, hybrid.VARIANTS),
    "compact": Family(compact.CompactConfig, compact.CompactTransformer, compact.VARIANTS),
    "bit": Family(bit.BiTConfig, bit.BiT, bit.VARIANTS),
    "mixer": Family(mixer.MixerConfig, mixer.MlpMixer, mixer.VARIANTS),
    "adapter": Family(adapter.AdapterConfig, adapter.AdaptedNetwork, {}),
}
"""Every family by the name that a model folder's config.json gives it."""

VARIANTS: dict[str, Any] = {name: config for family in FAMILIES.values() for name, config in family.variants.items()}
"""Configuration of every published variant, by the papers' names."""


SIZES = ("width", "depth", "num_heads", "mlp_dim")
"""Fields of a configuration that a run may set otherwise than the model that it names."""


def named(words: str) -> str:
    """The name of a model as it is spelled here, capitals aside: "vit-b/16" is "ViT-B/16"; other words stay."""
    if adapter.WORDS.fullmatch(words.lower()):
        return words.lower()
    match = re.fullmatch(r"(vit|mae)-\w+/(\d{1,3})", words, re.IGNORECASE)
    sized = [f"{match[1].upper().replace('VIT', 'ViT')}-{size}/{match[2]}" for size in vit.SIZES] if match else []
    return spelled(words, [*VARIANTS, *sized])


def configuration(name: str, **overrides: Any) -> Any:
    """The configuration of variant `name` with some fields changed.

    Capitals do not matter where they leave no doubt. A name need not be in `VARIANTS`: "ViT-S/4" and "MAE-S/4" are any
    size of `vit.SIZES` with any patch size, "BiT-R26x1" and "R50+ViT-B/32" any depth of `bit.DEPTHS` and `bit.SMALLER`,
    "timm:resnet18" and "hf:convnextv2" are other libraries' (see `vitral.models.adapter`).

    Args:
        overrides: fields of the family's configuration; an `image_size` may be one number for a square.

    Raises:
        UsageError: unknown name or field, or values that do not fit together; the nearest names are given.
        UnavailableError: the other library is not installed.
    """
    name = named(name)
    if adapter.WORDS.fullmatch(name):
        return changed(adapter.configuration(name), **overrides)
    match = re.fullmatch(r"(ViT|MAE)-(\w+)/(\d{1,3})", name)
    if name not in VARIANTS and match and match[2] in vit.SIZES and int(match[3]):
        patch = int(match[3])
        kind: Any = ViTConfig if match[1] == "ViT" else mae.MaeConfig
        base = kind(patch_size=patch, image_size=_near_224(patch), **vit.SIZES[match[2]])
    else:
        unlisted = None if name in VARIANTS else bit.named(name) or hybrid.named(name)
        base = unlisted or look_up("model", name, VARIANTS, "vitral models")
    return changed(base, **overrides)


def described(name: str, config: Any) -> str:
    """What to call the network of a configuration that was made from model `name`: by that name only where it has its
    sizes, else by its own, as "ViT, 6 blocks of width 96, patch 4"."""
    like = configuration(name)
    other = [size for size in SIZES if getattr(config, size, None) != getattr(like, size, None)]
    if not other:
        return named(name)
    said = [f"{config.depth} block{'s' * (config.depth > 1)} of width {config.width}"]
    if hasattr(config, "patch_size"):
        said.append(f"patch {config.patch_size}")
    if "num_heads" in other and not {"width", "depth"} & set(other):
        said.append(f"{config.num_heads} heads")
    if "mlp_dim" in other and config.mlp_dim != 4 * config.width:
        said.append(f"MLP of width {config.mlp_dim}")
    family = named(name).partition("/")[0].rpartition("-")[0]
    return ", ".join([family, *said])


def changed(config: AnyConfig, **overrides: Any) -> AnyConfig:
    """A copy of a configuration with some fields changed; an `image_size` may be one number for a square.

    Raises:
        UsageError: its family has no such field, or the values do not fit together or are beyond `LARGEST`.
    """
    known = [f.name for f in fields(config)]  # type: ignore[arg-type]
    for key in overrides:
        if key not in known:
            close = nearest(key, known)
            raise UsageError(f"{_called(config)} has no field {key!r}: did you mean {' or '.join(close or known)}?")
        if is_too_large(overrides[key]):
            raise UsageError(f"{key} must be below 2^24, not {overrides[key]!r}.")
    if isinstance(overrides.get("image_size"), int):
        overrides["image_size"] = (overrides["image_size"],) * 2
    return replace(config, **overrides)  # type: ignore[type-var]


def family_of(config: Any) -> str:
    """The key in `FAMILIES` of a configuration's family."""
    return next(name for name, family in FAMILIES.items() if type(config) is family.config)


def build_network(config: Any) -> Network:
    """The network of a configuration, freshly initialised."""
    return FAMILIES[family_of(config)].network(config)


def empty_network(config: Any) -> Network:
    """The network of a configuration with shapes and no numbers, on the device "meta"."""
    with torch.device("meta"), _Undrawn():
        return build_network(config)


UNDRAWN = (
    torch.nn.init.normal_, torch.Tensor.normal_, torch.Tensor.div_, torch.Tensor.erfinv_, torch.Tensor.clamp_,
)  # fmt: skip
"""What `_Undrawn` leaves out; torch 2.11 makes cut normal numbers by the last two."""


class _Undrawn(TorchFunctionMode):
    """Leaves tensors without numbers alone where normal ones should be drawn, or divided: for the device "meta" torch
    would first import 800 modules, which takes longer than loading a model."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = {"tensor": args[0] if args else None, **(kwargs or {})}["tensor"]
        if func in UNDRAWN and given.is_meta:
            return given
        return func(*args, **(kwargs or {}))


def create_model(name: str, *, device: str | torch.device = "cpu", **overrides: Any) -> Network:
    """A freshly initialised model on `device` ("meta" builds only the shapes), in evaluation mode.

    >>> create_model("ViT-B/16", num_classes=10)
    """
    config = configuration(name, **overrides)
    if torch.device(device).type == "meta":
        return empty_network(config).eval()
    with torch.device(device):
        return build_network(config).eval()


def _called(config: Any) -> str:
    family = type(config).__name__.removesuffix("Config")
    return f"{'an' if family[0] in 'AEIO' else 'a'} {family}"


def _near_224(patch_size: int) -> tuple[int, int]:
    side = max(1, 224 // patch_size) * patch_size
    return side, side
