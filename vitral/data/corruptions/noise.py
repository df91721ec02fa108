"""Noise of a sensor in the dark, of few photons, and of broken pixels. Constants: arXiv 1903.12261's code."""

from __future__ import annotations

import numpy as np

GAUSSIAN = (0.08, 0.12, 0.18, 0.26, 0.38)
"""Standard deviation, of a range of 1."""

SHOT = (60, 25, 12, 5, 3)
"""Photons of a white pixel, on average."""

IMPULSE = (0.03, 0.06, 0.09, 0.17, 0.27)
"""Share of the values that become 0 or 1."""


def gaussian(x: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    """Normal noise on every value."""
    return x + rng.normal(scale=GAUSSIAN[level], size=x.shape)


def shot(x: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    """Every value counted in photons, which arrive at random (Poisson)."""
    return rng.poisson(x * SHOT[level]) / SHOT[level]


def impulse(x: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    """Salt and pepper: values replaced by 0 or 1 with the same right, each channel by itself."""
    struck = rng.random(x.shape) <= IMPULSE[level]
    salt = rng.random(x.shape) <= 0.5
    return np.where(struck, salt.astype(x.dtype), x)
