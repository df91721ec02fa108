"""What the convolutional layouts share: a convolution with its normalisation, ImageNet's colours."""

from __future__ import annotations

from vitral.weights.mapping import Entry, same

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
"""Mean and standard deviation of ImageNet's training pictures, per channel, of values in [0, 1]."""

STATISTICS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def conv_norm(ours: str, conv: str, norm: str) -> list[Entry]:
    """Entries of a `ConvNorm`: the kernel, and all of the batch normalisation, buffers included."""
    return same(f"{ours}.conv", conv, "weight") + same(f"{ours}.norm", norm, *STATISTICS)
