"""What several corruptions are made of: smoothing, enlarging, trails of motion, clouds."""

from __future__ import annotations

import math
from types import ModuleType

import numpy as np

from vitral.errors import UnavailableError

FIRST_SWING = 100.0
"""Half the range of the first random displacement of a cloud is this times itself, as in the authors' code."""


def ndimage() -> ModuleType:
    """scipy's filters.

    Raises:
        UnavailableError: scipy is not installed.
    """
    try:
        from scipy import ndimage as module
    except ImportError:
        raise UnavailableError("corruptions need scipy: pip install 'vitral[scipy]'") from None
    found: ModuleType = module
    return found


def smooth(x: np.ndarray, sigma: float, mode: str = "nearest", truncate: float = 4.0) -> np.ndarray:
    """Gaussian smoothing of the two spatial axes; `sigma` in pixels."""
    sigmas = (sigma, sigma, 0)[: x.ndim]
    return np.asarray(ndimage().gaussian_filter(x, sigmas, mode=mode, truncate=truncate))


def enlarge(x: np.ndarray, factor: float) -> np.ndarray:
    """The centre of [height, width, ...], enlarged by `factor` to the same size, bilinearly, corners onto corners."""
    rows, columns = (_linear(size, factor) for size in x.shape[:2])
    if x.ndim == 2:
        return rows @ x @ columns.T
    return np.moveaxis(rows @ np.moveaxis(x, -1, 0) @ columns.T, 0, -1)


def _linear(size: int, factor: float) -> np.ndarray:
    """[size, size]: how much each old pixel of a line adds to each pixel of the enlarged line's middle."""
    inner = math.ceil(size / factor)
    outer = round(inner * factor)
    places = (np.arange(size) + (outer - size) // 2) * (inner - 1) / max(1, outer - 1)
    below = np.clip(np.floor(places).astype(np.int64), 0, max(0, inner - 2))
    share = places - below
    weights = np.zeros((size, size))
    first = (size - inner) // 2
    weights[np.arange(size), first + below] = 1 - share
    weights[np.arange(size), first + np.minimum(below + 1, inner - 1)] += share
    return weights


def spread(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """[height, width] with each pixel spread as the symmetrical `kernel` says; mirrored beyond the edges."""
    from scipy.signal import fftconvolve

    reach = len(kernel) // 2
    return np.asarray(fftconvolve(np.pad(x, reach, mode="reflect"), kernel, mode="valid"))


def trail(x: np.ndarray, radius: int, sigma: float, angle: float) -> np.ndarray:
    """Blur of motion: the mean of the pixels along a line that starts here, with one-sided Gaussian weights.

    Args:
        radius: the line has 2 * radius + 1 pixels.
        sigma: of the weights, in pixels.
        angle: of the line, in degrees, 0 along the rows.
    """
    steps = np.arange(2 * radius + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    weights /= weights.sum()
    turn = math.radians(angle)
    rows, columns = np.arange(x.shape[0]), np.arange(x.shape[1])
    total = np.zeros_like(x)
    for step, weight in zip(steps, weights, strict=True):
        down, right = math.ceil(step * math.sin(turn) - 0.5), math.ceil(step * math.cos(turn) - 0.5)
        from_rows = np.clip(rows + down, 0, len(rows) - 1)
        from_columns = np.clip(columns + right, 0, len(columns) - 1)
        total += weight * x[from_rows][:, from_columns]
    return total


def cloud(height: int, width: int, decay: float, rng: np.random.Generator) -> np.ndarray:
    """Heights [height, width] in [0, 1] of a random landscape, by the diamond-square algorithm on a torus.

    Args:
        decay: how much smaller the swing gets with each halving of the grid: the larger, the smoother.
    """
    size = 1 << max(8, (max(height, width) - 1).bit_length())
    land = np.zeros((size, size))
    swing, step = FIRST_SWING, size

    def shaken(mean: np.ndarray) -> np.ndarray:
        return mean + swing * rng.uniform(-swing, swing, mean.shape)

    while step > 1:
        half = step // 2
        corners = land[::step, ::step]
        below, right = np.roll(corners, -1, axis=0), np.roll(corners, -1, axis=1)
        centres = shaken((corners + below + right + np.roll(below, -1, axis=1)) / 4)
        land[half::step, half::step] = centres
        land[::step, half::step] = shaken((corners + right + centres + np.roll(centres, 1, axis=0)) / 4)
        land[half::step, ::step] = shaken((corners + below + centres + np.roll(centres, 1, axis=1)) / 4)
        step, swing = half, swing / decay
    land -= land.min()
    return land[:height, :width] / land.max()
