"""The 15 corruptions of ImageNet-C (arXiv 1903.12261), each at 5 levels of harm.

A corruption is a pure function of the pixels, the level and a generator. Levels are the constants that the paper's
authors published with their code. They were set for pictures of 224 x 224, and count in pixels there: on smaller
pictures the blurs, snow and elastic do more harm, on larger ones less. What is not theirs:

    frost         their six photographs of ice are not at hand: the ice is drawn, its weights are theirs
    motion blur   a one-sided Gaussian along a line, as ImageMagick (which they called) defines it, drawn by numpy
    elastic       resampled without the rounding of their library to 1/32 of a pixel
    all           their files were stored as JPEG of quality 85; here the pixels go straight to the model
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vitral.data.corruptions import blur, digital, noise, weather
from vitral.data.geometry import Pixels
from vitral.data.random_streams import Purpose, sample_generator
from vitral.registry import look_up

Corruption = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]
"""Pixels [height, width, 3] float64 in [0, 1], the level from 0 to 4 and a generator -> the same, not yet clipped."""

CORRUPTIONS: dict[str, Corruption] = {
    "gaussian_noise": noise.gaussian,
    "shot_noise": noise.shot,
    "impulse_noise": noise.impulse,
    "defocus_blur": blur.defocus,
    "glass_blur": blur.glass,
    "motion_blur": blur.motion,
    "zoom_blur": blur.zoom,
    "snow": weather.snow,
    "frost": weather.frost,
    "fog": weather.fog,
    "brightness": weather.brightness,
    "contrast": digital.contrast,
    "elastic_transform": digital.elastic,
    "pixelate": digital.pixelate,
    "jpeg_compression": digital.jpeg,
}
"""By the authors' names, in their order."""

LEVELS = (1, 2, 3, 4, 5)

_STREAMS = 8
"""Streams kept for the levels of each corruption: more than there are levels, so that streams never meet."""


def corrupt(pixels: Pixels, name: str, level: int, seed: int, sample: int) -> Pixels:
    """The picture with one corruption; the same for the same seed, sample, corruption and level.

    Args:
        pixels: [height, width, 3] uint8 RGB.
        name: a key of `CORRUPTIONS`.
        level: 1 to 5.
        seed, sample: what the randomness is a function of, besides.

    Raises:
        UsageError: no corruption of that name.
        UnavailableError: scipy is not installed.
    """
    assert level in LEVELS, level
    change = look_up("corruption", name, CORRUPTIONS)
    stream = _STREAMS * list(CORRUPTIONS).index(name) + level
    rng = sample_generator(seed, stream, sample, Purpose.CORRUPTION)
    changed = change(pixels / 255.0, level - 1, rng)
    corrupted: Pixels = (np.clip(changed, 0, 1) * 255).astype(np.uint8)  # cut, not rounded, as the authors' files are
    return corrupted
