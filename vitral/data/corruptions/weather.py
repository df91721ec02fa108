"""Snow, frost, fog and glare. Constants: arXiv 1903.12261's code; pixels of 224."""

from __future__ import annotations

import numpy as np

from vitral.data.corruptions.filters import cloud, enlarge, trail

SNOW = (
    # mean and deviation of the flakes, their size, least brightness, radius and sigma of their fall, light left
    (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
    (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
    (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
    (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
    (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
)

FROST = ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))
"""Weights of the picture and of the ice."""

FOG = ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4))
"""Thickness, and how smooth it is."""

BRIGHTNESS = (0.1, 0.2, 0.3, 0.4, 0.5)
"""Added to the value of hue, saturation and value."""

GREY = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue in grey (ITU-R BT.601)."""

ICE_DECAY, ICE_SHARPNESS, ICE_COLOUR = 1.6, 3.0, np.array([0.86, 0.95, 1.0])
"""Of the drawn ice (ours): roughness of its grain, thinness of its veins, its tint."""


def snow(x: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    """Flakes that fall, twice, over a paler picture."""
    mean, deviation, size, least, radius, sigma, left = SNOW[level]
    flakes = enlarge(rng.normal(mean, deviation, x.shape[:2]), size)
    flakes = np.where(flakes < least, 0, np.clip(flakes, 0, 1))
    flakes = trail((flakes * 255).astype(np.uint8) / 255.0, int(radius), sigma, rng.uniform(-135, -45))[..., None]
    grey = (x @ GREY)[..., None]
    pale = left * x + (1 - left) * np.maximum(x, 1.5 * grey + 0.5)
    return pale + flakes + flakes[::-1, ::-1]


def frost(x: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    """Ice on the pane before the lens."""
    picture, ice = FROST[level]
    frozen: np.ndarray = picture * x + ice * _ice(x.shape[0], x.shape[1], rng)
    return frozen


def _ice(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Bright veins, where rough landscapes cross their middle, over a cloudy ground: [height, width, 3]."""
    veins = np.zeros((height, width))
    for _ in range(3):
        land = cloud(height, width, ICE_DECAY, rng)
        middle = np.median(land)
        veins = np.maximum(veins, 1 - np.abs(land - middle) / max(middle, 1 - middle))
    ground = cloud(height, width, 2.0, rng)
    bright = 0.35 * ground + 0.65 * veins**ICE_SHARPNESS * (0.4 + 0.6 * ground)
    return bright[..., None] * ICE_COLOUR


def fog(x: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    """A cloud laid over the picture, the sum scaled back to its brightest value."""
    thickness, smoothness = FOG[level]
    brightest = x.max()
    layer = thickness * cloud(x.shape[0], x.shape[1], smoothness, rng)[..., None]
    return (x + layer) * brightest / (brightest + thickness)


def brightness(x: np.ndarray, level: int, _: np.random.Generator) -> np.ndarray:
    """A higher value at the same hue and saturation: all channels scaled alike."""
    value = x.max(axis=-1, keepdims=True)
    raised = np.minimum(value + BRIGHTNESS[level], 1)
    return np.where(value > 0, x * raised / np.where(value > 0, value, 1), raised)
