"""Maps as colours, and laid over pictures, with numpy and Pillow alone."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from vitral.errors import UsageError

ANCHORS = ((10, 12, 46), (72, 24, 122), (163, 42, 106), (228, 92, 54), (250, 176, 60), (253, 246, 190))
"""sRGB from 0 to 1 in equal steps: from dark to light throughout, so that it also reads in grey and to colour-blind
eyes."""


def colours(heat: np.ndarray) -> np.ndarray:
    """Values [...] in [0, 1] as colours [..., 3] uint8; clipped to that; what is no number counts as 0."""
    values = np.clip(np.nan_to_num(np.asarray(heat, dtype=np.float64)), 0, 1)
    at = np.linspace(0, 1, len(ANCHORS))
    channels = [np.interp(values, at, [anchor[c] for anchor in ANCHORS]) for c in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def overlay(pixels: np.ndarray, heat: np.ndarray, opacity: float = 0.5) -> np.ndarray:
    """A map laid over its picture: [height, width, 3] uint8.

    Args:
        pixels: [height, width, 3] uint8.
        heat: [height, width] in [0, 1].
        opacity: 0 shows the picture alone, 1 the map alone.

    Raises:
        UsageError: the sizes differ, or the opacity is not in [0, 1].
    """
    _require_same(pixels, heat)
    if not 0 <= opacity <= 1:
        raise UsageError(f"opacity must be 0 to 1, not {opacity:g}.")
    mixed = (1 - opacity) * pixels.astype(np.float64) + opacity * colours(heat).astype(np.float64)
    return mixed.round().astype(np.uint8)


def spotlight(pixels: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """The picture as bright as the map, as in Figure 6 of arXiv 2010.11929: [height, width, 3] uint8.

    Raises:
        UsageError: the sizes differ.
    """
    _require_same(pixels, heat)
    return (pixels * np.clip(heat, 0, 1)[..., None]).round().astype(np.uint8)


def png(pixels: np.ndarray) -> bytes:
    """Pixels [height, width, 3] uint8 as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _require_same(pixels: np.ndarray, heat: np.ndarray) -> None:
    if pixels.shape[:2] != heat.shape:
        raise UsageError(f"a map of {heat.shape} does not lie on a picture of {pixels.shape[:2]}: resize it first.")
