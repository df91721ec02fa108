"""torchvision's EfficientNets B0 to B7."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vitral.config import Interpolation, Preprocessing
from vitral.errors import DataError
from vitral.models.efficientnet import STAGES, STEM_CHANNELS, TOP_CHANNELS, VARIANTS, EfficientNetConfig
from vitral.weights.mapping import Entry, same
from vitral.weights.stored import Stored
from vitral.weights.torchvision.names import name_of
from vitral.weights.torchvision.normalised import IMAGENET, conv_norm

MARKS: tuple[str, ...] = (
    "features.0.0.weight",
    "features.1.0.block.1.fc1.weight",
    "features.8.0.weight",
    "classifier.1.weight",
)

USUAL: dict[str, tuple[int, int]] = {
    # input size, shorter side before the cut
    "B0": (224, 256), "B1": (240, 256), "B2": (288, 288), "B3": (300, 320),
    "B4": (380, 384), "B5": (456, 456), "B6": (528, 528), "B7": (600, 600),
}  # fmt: skip

FROM_TENSORFLOW = ("B5", "B6", "B7")
"""Those whose weights came from TensorFlow, with its normalisation's epsilon."""

SECOND_B1 = "c27df63c"
"""In the name of the second weights (IMAGENET1K_V2) of B1."""

FIXED = ("width_factor", "depth_factor", "padding", "norm_eps", "channels")


def configuration(stored: Stored, _: Mapping[str, Any]) -> EfficientNetConfig:
    """The variant with the file's channels and layers, at its usual size."""
    shapes = stored.shapes
    given = (shapes["features.0.0.weight"][0], shapes["features.8.0.weight"][0], _layers(shapes))
    for name in USUAL:
        config = plain(name)
        layers = tuple(config.deep(stage.layers) for stage in STAGES)
        if (config.wide(STEM_CHANNELS), config.wide(TOP_CHANNELS), layers) == given:
            classes, channels = shapes["classifier.1.weight"][0], shapes["features.0.0.weight"][1]
            return replace(config, num_classes=classes, channels=channels)
    raise DataError(
        f"no EfficientNet from B0 to B7 has {given[0]} channels in its stem, {given[1]} at its top and "
        f"{list(given[2])} layers: only those are read."
    )


def plain(name: str) -> EfficientNetConfig:
    """torchvision's variant."""
    own = VARIANTS[f"EfficientNet-{name}"]
    eps, momentum = (1e-3, 0.01) if name in FROM_TENSORFLOW else (1e-5, 0.1)
    side = USUAL[name][0]
    return replace(own, image_size=(side, side), padding="symmetric", norm_eps=eps, norm_momentum=momentum)


def preprocessing(config: EfficientNetConfig, file: str) -> Preprocessing:
    """As documented for the weights of each variant."""
    name = name_of(config, builders(config))
    assert name is not None, "asked of a file that was not recognised"
    side, resize = USUAL[name.removeprefix("efficientnet_").upper()]
    interpolation: Interpolation = "bicubic"
    if SECOND_B1 in file:
        resize, interpolation = 255, "bilinear"
    return Preprocessing((side, side), resize, interpolation, **IMAGENET)


def entries(config: EfficientNetConfig, _: Stored | None) -> list[Entry]:
    """torchvision's name for each parameter and buffer."""
    found = conv_norm("stem", "features.0.0", "features.0.1")
    for s, stage in enumerate(STAGES):
        for b in range(config.deep(stage.layers)):
            ours, theirs = f"stages.{s}.{b}", f"features.{s + 1}.{b}.block"
            parts = ["expand"] * (stage.expansion > 1) + ["depthwise", "squeeze_excite", "project"]
            for i, part in enumerate(parts):
                if part == "squeeze_excite":
                    found += same(f"{ours}.{part}.squeeze", f"{theirs}.{i}.fc1")
                    found += same(f"{ours}.{part}.excite", f"{theirs}.{i}.fc2")
                else:
                    found += conv_norm(f"{ours}.{part}", f"{theirs}.{i}.0", f"{theirs}.{i}.1")
    return found + conv_norm("top", "features.8.0", "features.8.1") + same("head", "classifier.1")


def builders(_: EfficientNetConfig) -> dict[str, dict[str, Any]]:
    """torchvision's, with what each fixes: what only matters in training, input size and classes are free."""
    return {f"efficientnet_{name.lower()}": {part: getattr(plain(name), part) for part in FIXED} for name in USUAL}


def _layers(shapes: Mapping[str, Any]) -> tuple[int, ...]:
    found = [re.match(r"features\.([1-7])\.(\d+)\.block\.0\.0\.weight", name) for name in shapes]
    count = Counter(int(match[1]) for match in found if match)
    return tuple(count[s] for s in range(1, 8))
