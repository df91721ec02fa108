"""timm's MLP-Mixers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vitral.errors import UsageError
from vitral.models import mixer
from vitral.models.mixer import MixerConfig
from vitral.weights.mapping import Entry, same
from vitral.weights.stored import Stored
from vitral.weights.timm.published import input_of, require_pool

ARCHITECTURE = re.compile(r"mixer_([sbl])(16|32)_(\d+)")

ARGUMENTS: tuple[str, ...] = ()
"""Of timm's constructor, those that are understood."""


def configuration(name: str, published: Mapping[str, Any], _: Stored) -> tuple[MixerConfig, dict[str, str]] | None:
    """The network of timm's model `name`."""
    match = ARCHITECTURE.fullmatch(name)
    if match is None:
        return None
    require_pool("Mixers", published, "avg")
    variant = mixer.VARIANTS[f"Mixer-{match[1].upper()}/{match[2]}"]
    # timm computes them with the exact GELU, and has no other for Mixers
    return replace(variant, gelu="exact", **input_of(published, int(match[3]))), {}


def entries(config: MixerConfig, _: Stored | None) -> list[Entry]:
    """timm's name for each parameter."""
    found = same("patch_embedding", "stem.proj")
    for i in range(config.depth):
        block = f"blocks.{i}"
        for part in ("norm1", "norm2"):
            found += same(f"{block}.{part}", f"{block}.{part}")
        for ours, theirs in (("token_mixing", "mlp_tokens"), ("channel_mixing", "mlp_channels")):
            for layer in ("fc1", "fc2"):
                found += same(f"{block}.{ours}.{layer}", f"{block}.{theirs}.{layer}")
    return found + same("norm", "norm") + same("head", "head")


def name(config: MixerConfig) -> str | None:
    """timm's name for a network, or `None` where timm has none like it.

    Raises:
        UsageError: it has the tanh GELU, which timm's Mixers cannot have.
    """
    if config.gelu != "exact":
        raise UsageError(
            f"timm computes Mixers with the exact GELU, and this one has the {config.gelu} GELU: choose another "
            f"layout, or build it with gelu=exact if slightly other scores are good enough."
        )
    shape = ("patch_size", "width", "depth", "tokens_mlp_dim", "channels_mlp_dim", "channels")
    for ours, variant in mixer.VARIANTS.items():
        if all(getattr(config, key) == getattr(variant, key) for key in shape):
            size, patch = ours.removeprefix("Mixer-").lower().split("/")
            return f"mixer_{size}{patch}_224"
    return None
