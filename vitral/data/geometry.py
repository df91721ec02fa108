"""Sizes, cuts and resizing of decoded pictures: [height, width, 3] uint8 RGB arrays.

Boxes and sizes are whole pixels, the origin is the top left corner.
"""

from __future__ import annotations

import math
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from jaxtyping import UInt8

from vitral.config import Interpolation, Size
from vitral.data import scratch

Pixels: TypeAlias = UInt8[np.ndarray, "_ _ 3"]
"""One picture: height, width, RGB; values 0 to 255."""

CROP_ASPECT = (3 / 4, 4 / 3)
"""Least and largest width / height of an Inception crop (Szegedy et al., arXiv 1409.4842, section 6)."""

CROP_ATTEMPTS = 100
"""Boxes drawn before the whole picture is taken (default of tf.image.sample_distorted_bounding_box)."""


TORCH_GRAIN = 32_768
"""Values up to which torch does not divide a simple operation among threads (at::internal::GRAIN_SIZE)."""


class Box(NamedTuple):
    """A rectangle of whole pixels."""

    top: int
    left: int
    height: int
    width: int

    def cut(self, image: Pixels) -> Pixels:
        """The pixels inside, as a view of `image`."""
        return image[self.top : self.top + self.height, self.left : self.left + self.width]


def resize(image: Pixels, size: Size, interpolation: Interpolation) -> Pixels:
    """Resample to `size`; the very same array where it has that size already.

    "bilinear" and "bicubic" widen their filter when they shrink (antialiasing), "nearest" takes the pixel under
    the centre of each new one: as Pillow does, to within 1 unit of 255 (2 for "bicubic", and more beside edges of
    full contrast, where rows and columns in another order are cut to 0..255 at other places).

    It is called from many threads at once, so it stays on the caller's: torch resamples interleaved uint8 in one
    thread, but would copy a picture with gaps between its rows in several. Hence the copy by numpy.
    """
    if image.shape[:2] == tuple(size):
        return image
    if interpolation == "nearest":
        return _nearest(image, size)
    # Writable: torch warns of read-only arrays, which is what Pillow hands out.
    # The batch first: only so torch answers in the same layout.
    channels_last = torch.from_numpy(scratch.packed(image))[None].permute(0, 3, 1, 2)
    resized = torch.nn.functional.interpolate(channels_last, tuple(size), mode=interpolation, antialias=True)
    pixels: Pixels = np.ascontiguousarray(resized[0].permute(1, 2, 0).numpy())
    return pixels


def mirrored(image: Pixels) -> Pixels:
    """A copy with left and right exchanged, in strips small enough for torch to stay on the caller's thread."""
    rows = max(1, TORCH_GRAIN // (3 * image.shape[1]))
    source = torch.from_numpy(np.require(image, requirements="W"))
    return np.concatenate([strip.flip(1).numpy() for strip in source.split(rows)])


def shorter_side(height: int, width: int, size: int) -> Size:
    """Height and width after scaling the shorter side to `size`, the other rounded half up, aspect kept."""
    shorter = min(height, width)
    return ((2 * height * size + shorter) // (2 * shorter), (2 * width * size + shorter) // (2 * shorter))


def covering(size: Size, cut: Size) -> Size:
    """`size`, or where a side is less than the cut's, the least size of the same aspect that covers the cut."""
    factor = max(cut[0] / size[0], cut[1] / size[1])
    if factor <= 1:
        return size
    return max(cut[0], round(size[0] * factor)), max(cut[1], round(size[1] * factor))


def central_box(size: Size, cut: Size) -> Box:
    """The cut's place at the centre of a picture at least as large: offsets are halved and rounded down."""
    return Box((size[0] - cut[0]) // 2, (size[1] - cut[1]) // 2, *cut)


def random_box(size: Size, cut: Size, rng: np.random.Generator) -> Box:
    """A cut at a uniform place of a picture that is at least as large."""
    top = int(rng.integers(size[0] - cut[0] + 1))
    left = int(rng.integers(size[1] - cut[1] + 1))
    return Box(top, left, *cut)


def inception_box(size: Size, min_area: float, rng: np.random.Generator) -> Box:
    """Where an Inception crop cuts a picture of `size`.

    Area is uniform in (min_area, 1) of the picture's, aspect (width / height) uniform in (3/4, 4/3), place
    uniform. A box that sticks out is drawn again, up to 100 times; then it is the whole picture.
    Source: arXiv 1409.4842, section 6; attempts and fallback as in the ViT authors' input pipeline.
    """
    height, width = size
    for _ in range(CROP_ATTEMPTS):
        area = rng.uniform(min_area, 1.0) * height * width
        aspect = rng.uniform(*CROP_ASPECT)
        cut = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
        if 1 <= cut[0] <= height and 1 <= cut[1] <= width:
            return random_box(size, cut, rng)
    return Box(0, 0, height, width)


def _nearest(image: Pixels, size: Size) -> Pixels:
    # The centre of new pixel i lies at (i + 1/2) * old / new; whole numbers keep its floor exact.
    rows, columns = (
        (2 * np.arange(new) + 1) * old // (2 * new) for new, old in zip(size, image.shape[:2], strict=True)
    )
    pixels: Pixels = np.take(np.take(image, rows, axis=0), columns, axis=1)
    return pixels
