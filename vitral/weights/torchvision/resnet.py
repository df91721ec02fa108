"""torchvision's residual networks; timm's have the same names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from vitral.config import Preprocessing
from vitral.errors import DataError
from vitral.models.resnet import VARIANTS, ResNetConfig
from vitral.weights.mapping import Entry, same
from vitral.weights.stored import Stored
from vitral.weights.torchvision.normalised import IMAGENET, conv_norm

MARKS: tuple[str, ...] = ("conv1.weight", "bn1.weight", "layer1.0.conv2.weight", "layer4.0.bn2.weight", "fc.weight")

SECOND = ("11ad3fa6", "cd907fc2", "f82ba261")
"""In the names of torchvision's second weights (IMAGENET1K_V2) of ResNet-50, 101 and 152."""

FIXED = ("blocks", "block", "width", "channels", "norm_eps")

PARTS = {
    # ours and theirs: "conv" and "bn" with the same number
    "basic": {"first": 1, "second": 2},
    "bottleneck": {"reduce": 1, "spatial": 2, "restore": 3},
}


def configuration(stored: Stored, _: Mapping[str, Any]) -> ResNetConfig:
    """The network that the shapes make."""
    shapes = stored.shapes
    found = [re.match(r"layer([1-4])\.(\d+)\.conv1\.weight", name) for name in shapes]
    stages = [int(match[1]) for match in found if match]
    width, channels = shapes["conv1.weight"][:2]
    config = ResNetConfig(
        blocks=(stages.count(1), stages.count(2), stages.count(3), stages.count(4)),
        block="bottleneck" if "layer1.0.conv3.weight" in shapes else "basic",
        width=width,
        num_classes=shapes["fc.weight"][0],
        channels=channels,
    )
    if tuple(shapes["layer1.0.conv2.weight"]) != (width, width, 3, 3):
        raise DataError(
            f"the second convolution is of shape {list(shapes['layer1.0.conv2.weight'])}, as in a ResNeXt or wide "
            f"ResNet: only plain ResNets are read."
        )
    return config


def preprocessing(config: ResNetConfig, file: str) -> Preprocessing:
    """Both kinds of weights are for 224 pixels, the second ones with a narrower border."""
    resize = 232 if any(mark in file for mark in SECOND) else 256
    return Preprocessing(config.image_size, resize, "bilinear", **IMAGENET)


def entries(config: ResNetConfig, _: Stored | None) -> list[Entry]:
    """torchvision's name for each parameter and buffer."""
    found = conv_norm("stem", "conv1", "bn1")
    for s, blocks in enumerate(config.blocks):
        for b in range(blocks):
            ours, theirs = f"stages.{s}.{b}", f"layer{s + 1}.{b}"
            for part, i in PARTS[config.block].items():
                found += conv_norm(f"{ours}.{part}", f"{theirs}.conv{i}", f"{theirs}.bn{i}")
            if b == 0 and (s > 0 or config.block == "bottleneck"):
                found += conv_norm(f"{ours}.shortcut", f"{theirs}.downsample.0", f"{theirs}.downsample.1")
    return found + same("head", "fc")


def builders(_: ResNetConfig) -> dict[str, dict[str, Any]]:
    """torchvision's, with what each fixes: all that matters to scores but classes and the size of pictures."""
    return {
        ours.replace("-", "").lower(): {part: getattr(variant, part) for part in FIXED}
        for ours, variant in VARIANTS.items()
    }
