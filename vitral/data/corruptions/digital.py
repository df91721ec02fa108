"""Contrast, elastic, coarse pixels, strong compression. Constants: arXiv 1903.12261's code; pixels of 224."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from vitral.data.corruptions.filters import ndimage, smooth

CONTRAST = (0.4, 0.3, 0.2, 0.1, 0.05)
"""What is left of the distance from the mean."""

SIDE = 244
"""The authors' unit of length in `ELASTIC` (they remark that 224 was meant)."""

ELASTIC = ((2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02))
"""Strength and smoothness of the displacements, and how far the corners of the affine map move."""

PIXELATE = (0.6, 0.5, 0.4, 0.3, 0.25)
"""Share of the rows and columns that are left."""

JPEG = (25, 18, 15, 10, 7)
"""Quality."""


def contrast(x: np.ndarray, level: int, _: np.random.Generator) -> np.ndarray:
    """Values drawn towards the mean of their channel."""
    mean = x.mean(axis=(0, 1), keepdims=True)
    return (x - mean) * CONTRAST[level] + mean


def elastic(x: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    """A small random affine map, then each pixel displaced by a smooth random field."""
    strength, smoothness, shift = (SIDE * value for value in ELASTIC[level])
    x = _affine(x, shift, rng)
    down, right = (
        strength * smooth(rng.uniform(-1, 1, x.shape[:2]), smoothness, mode="reflect", truncate=3) for _ in range(2)
    )
    rows, columns = np.indices(x.shape[:2])
    return _sampled(x, rows + down, columns + right, "reflect")


def _affine(x: np.ndarray, shift: float, rng: np.random.Generator) -> np.ndarray:
    """The map that moves three corners of a central square by up to `shift` pixels each way."""
    centre, side = np.array(x.shape[1::-1]) // 2, min(x.shape[:2]) // 3  # points are (across, down)
    before = centre + side * np.array([[1, 1], [1, -1], [-1, -1]])
    after = before + rng.uniform(-shift, shift, before.shape)
    if side == 0:
        return x
    backwards = np.linalg.lstsq(np.column_stack([after, np.ones(3)]), before, rcond=None)[0]  # from new to old places
    rows, columns = np.indices(x.shape[:2])
    places = np.stack([columns, rows, np.ones_like(rows)], axis=-1) @ backwards
    return _sampled(x, places[..., 1], places[..., 0], "mirror")


def _sampled(x: np.ndarray, rows: np.ndarray, columns: np.ndarray, mode: str) -> np.ndarray:
    channels = [ndimage().map_coordinates(x[..., k], (rows, columns), order=1, mode=mode) for k in range(3)]
    return np.stack(channels, axis=-1)


def pixelate(x: np.ndarray, level: int, _: np.random.Generator) -> np.ndarray:
    """Fewer pixels, each the mean of its box, shown at the old size."""
    height, width = x.shape[:2]
    few = (max(1, int(width * PIXELATE[level])), max(1, int(height * PIXELATE[level])))
    small = _picture(x).resize(few, Image.Resampling.BOX)
    return np.asarray(small.resize((width, height), Image.Resampling.BOX)) / 255.0


def jpeg(x: np.ndarray, level: int, _: np.random.Generator) -> np.ndarray:
    """Stored as a JPEG of low quality."""
    file = io.BytesIO()
    _picture(x).save(file, "JPEG", quality=JPEG[level])
    with Image.open(file, formats=["JPEG"]) as image:
        return np.asarray(image) / 255.0


def _picture(x: np.ndarray) -> Image.Image:
    return Image.fromarray(np.rint(x * 255).astype(np.uint8))
