"""Fingerprints of pictures: cosine transforms of grey thumbnails, low frequencies only, each by its frequency.

Letters: n pictures, t = 32 pixels of a thumbnail each way.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from vitral.checks.look import SIDE

__all__ = ["SIDE", "fingerprints", "mirror", "transform", "unit", "weights_of"]


@cache
def transform(frequencies: int, start: float, end: float) -> np.ndarray:
    """[frequencies, t]: the pixels from `start` to `end` of a side, as t means over areas, by cosines."""
    edges = np.linspace(start * SIDE, end * SIDE, SIDE + 1)[:, None]
    pixels = np.arange(SIDE)
    overlap = np.minimum(edges[1:], pixels + 1) - np.maximum(edges[:-1], pixels)
    means = np.maximum(overlap, 0) * SIDE / ((end - start) * SIDE)
    cosines = np.cos(np.pi * np.arange(frequencies)[:, None] * (pixels + 0.5) / SIDE)
    cosines[0] /= np.sqrt(2)
    return (cosines @ means).astype(np.float32)


def weights_of(frequencies: int) -> np.ndarray:
    """[frequencies, frequencies]: how far each is from the constant, which itself counts nothing."""
    steps = np.arange(frequencies, dtype=np.float32)
    return np.hypot(steps[:, None], steps)


def unit(values: np.ndarray) -> np.ndarray:
    """Each of [n, ...] divided by its length over the other axes."""
    axes = tuple(range(1, values.ndim))
    return values / np.maximum(np.sqrt((values**2).sum(axis=axes, keepdims=True)), 1e-6)


def fingerprints(grey: np.ndarray, share: float) -> np.ndarray:
    """[n, 64]: of the middle `share` of each thumbnail, each way."""
    side = transform(8, (1 - share) / 2, (1 + share) / 2)
    return unit(((side @ grey @ side.T) * weights_of(8)).reshape(len(grey), 64))


def mirror(fingerprints: np.ndarray) -> np.ndarray:
    """Of the mirrored pictures: cosines of odd frequencies along the width change their sign."""
    signs = np.tile(np.where(np.arange(8) % 2, -1, 1).astype(np.float32), 8)
    return fingerprints * signs
