"""What the convolutional layouts share: a convolution with its normalisation, ImageNet's colours."""

from __future__ import annotations

from vitral.weights.colours import IMAGENET_MEAN, IMAGENET_STD
from vitral.weights.mapping import STATISTICS, Entry, same

IMAGENET = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}


def conv_norm(ours: str, conv: str, norm: str) -> list[Entry]:
    """Entries of a `ConvNorm`: the kernel, and all of the batch normalisation, buffers included."""
    return same(f"{ours}.conv", conv, "weight") + same(f"{ours}.norm", norm, *STATISTICS)
