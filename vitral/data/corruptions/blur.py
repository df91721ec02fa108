"""Out of focus, through frosted glass, in motion, zooming. Constants: arXiv 1903.12261's code; pixels of 224."""

from __future__ import annotations

import math

import numpy as np

from vitral.data.corruptions.filters import enlarge, ndimage, smooth, spread, trail

DEFOCUS = ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))
"""Radius of the disk, and the smoothing of its edge."""

GLASS = ((0.7, 1, 2), (0.9, 2, 1), (1.0, 2, 3), (1.1, 3, 2), (1.5, 4, 2))
"""Smoothing before and after; how far pixels are taken from; how often."""

MOTION = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))
"""Radius and sigma of the trail."""

ZOOM = ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03))
"""Factors go from 1 to below the first number, in steps of the second."""

LARGEST_ANGLE = 45
"""Degrees that a motion leaves the rows at most."""


def defocus(x: np.ndarray, level: int, _: np.random.Generator) -> np.ndarray:
    """The mean over a disk."""
    disk = _disk(*DEFOCUS[level])
    return np.stack([spread(x[..., k], disk) for k in range(3)], axis=-1)


def _disk(radius: int, edge: float) -> np.ndarray:
    reach, width = (8, 3) if radius <= 8 else (radius, 5)
    across = np.arange(-reach, reach + 1)
    disk = (across[:, None] ** 2 + across[None, :] ** 2 <= radius**2).astype(np.float64)
    disk /= disk.sum()
    weights = np.exp(-((np.arange(width) - width // 2) ** 2) / (2 * edge**2))
    weights /= weights.sum()
    for axis in (0, 1):
        disk = ndimage().correlate1d(disk, weights, axis=axis, mode="mirror")
    return disk


def glass(x: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    """Each pixel takes the place of one beside it, again and again, between two smoothings.

    A pixel is copied, not exchanged: that is what the authors' files show.
    """
    sigma, reach, times = GLASS[level]
    height, width = x.shape[:2]
    rows, columns = range(height - reach, reach, -1), range(width - reach, reach, -1)
    source = list(range(height * width))
    for _ in range(times):
        offsets = rng.integers(-reach, reach, (len(rows), len(columns), 2))
        shifts = (offsets[..., 1] * width + offsets[..., 0]).tolist()
        for row, shifts_of_row in zip(rows, shifts, strict=True):
            for column, shift in zip(columns, shifts_of_row, strict=True):
                place = row * width + column
                source[place] = source[place + shift]  # later pixels see what earlier ones became
    flat = (smooth(x, sigma) * 255).astype(np.uint8).reshape(-1, 3)
    return smooth(flat[source].reshape(x.shape) / 255.0, sigma)


def motion(x: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    """A trail in one direction, up to 45 degrees from the rows."""
    radius, sigma = MOTION[level]
    return trail(x, radius, sigma, rng.uniform(-LARGEST_ANGLE, LARGEST_ANGLE))


def zoom(x: np.ndarray, level: int, _: np.random.Generator) -> np.ndarray:
    """The mean of the picture and its enlargements."""
    end, step = ZOOM[level]
    factors = 1 + step * np.arange(math.ceil((end - 1) / step - 1e-9))
    return (x + sum(enlarge(x, float(factor)) for factor in factors)) / (len(factors) + 1)
