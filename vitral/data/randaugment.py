"""RandAugment (Cubuk et al., arXiv 1909.13719) as the ViT authors ran it.

Each layer picks one of 16 operations uniformly and always applies it. The operations and the meaning of a
magnitude m, written for m = 10 and proportional to m, are those of the authors' TensorFlow code
(google-research/big_vision, pp/autoaugment.py), not torchvision's: whatever falls outside is grey 128, pixels
under a turn or a shear are the nearest ones, and blends round towards 0. Some things there are surprising and
kept, because published numbers came from them: at m = 0 `posterize` keeps no bits (black), `solarize` inverts
all, the enhancing factors are 0.1; `contrast` blends with a grey that depends on the number of pixels.

One deviation: lengths in pixels (translation, cutout) are theirs for pictures of 224 pixels or more; for
smaller ones they shrink in proportion, so that a 32-pixel picture is not moved out of its frame.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from PIL import Image

from vitral.config import Size
from vitral.data.geometry import Pixels

Row: TypeAlias = tuple[float, float, float]
Matrix: TypeAlias = tuple[Row, Row]
"""Where a new pixel comes from: (x0, x1, x2) and (y0, y1, y2), see `_affine`."""

# What the operations do at magnitude 10 (`FULL`), from the authors' code; `strength` is magnitude / 10.
FULL = 10.0
ROTATION = 30.0  # degrees
SHEAR = 0.3  # pixels of shift per pixel of distance from the top left corner
TRANSLATION = 100.0  # pixels
CUTOUT = 40.0  # pixels, half the side of the square
POSTERIZE = 4.0  # bits kept of 8
SOLARIZE = 256.0  # values from here up are inverted
SOLARIZE_ADD = 110.0  # added to values below 128
ENHANCE_START = 0.1  # blend factor at magnitude 0: 0 is wholly degraded, 1 the picture, above 1 exaggerated
ENHANCE_SLOPE = 1.8  # added to it
REFERENCE_SIDE = 224  # pixels, shorter side from which the lengths hold as they stand
GREY = 128  # value of pixels that come from outside the picture

LUMA = (2989, 5870, 1140)
"""Ten-thousandths of R, G, B in a grey (ITU-R BT.601; tf.image.rgb_to_grayscale)."""


def randaugment(image: Pixels, rng: np.random.Generator, layers: int, magnitude: float) -> Pixels:
    """Apply `layers` operations, each drawn uniformly from `OPERATIONS`.

    Args:
        image: [height, width, 3] uint8, is not changed.
        rng: the only source of chance; the same state gives the same bytes.
        layers: N of the paper, 0 or more.
        magnitude: M of the paper, 0 to 30. Above 10 all keeps growing but bits kept (8) and the solarize
            threshold (256), where the picture is left as it is, and sums, which stop at 255.
    """
    operations = tuple(OPERATIONS.values())
    for _ in range(layers):
        image = operations[int(rng.integers(len(operations)))](image, magnitude / FULL, rng)
    return image


def autocontrast(image: Pixels, _strength: float, _rng: np.random.Generator) -> Pixels:
    """Stretch each channel to 0..255."""
    values = np.arange(256)
    tables = []
    for channel in range(3):
        low, high = int(image[..., channel].min()), int(image[..., channel].max())
        stretched = (values - low) * 255 // (high - low) if high > low else values
        tables.append(np.clip(stretched, 0, 255))
    return _look_up_each(image, tables)


def equalize(image: Pixels, _strength: float, _rng: np.random.Generator) -> Pixels:
    """Flatten each channel's histogram; a channel with too few values for 256 steps stays."""
    tables = []
    for channel in range(3):
        counts = np.bincount(image[..., channel].ravel(), minlength=256)
        step = (counts.sum() - counts[counts > 0][-1]) // 255
        if step == 0:
            tables.append(np.arange(256))
        else:
            below = np.cumsum(counts) - counts
            # The lowest entry is 0 by definition, not half a step.
            tables.append(np.append(0, np.clip((below[1:] + step // 2) // step, 0, 255)))
    return _look_up_each(image, tables)


def rotation(size: Size, strength: float, rng: np.random.Generator) -> Matrix:
    """Turn about the centre, either way."""
    angle = math.radians(_either_sign(ROTATION * strength, rng))
    cos, sin = math.cos(angle), math.sin(angle)
    y, x = (size[0] - 1) / 2, (size[1] - 1) / 2
    return (cos, -sin, x - cos * x + sin * y), (sin, cos, y - sin * x - cos * y)


def shear_x(_size: Size, strength: float, rng: np.random.Generator) -> Matrix:
    """Move rows sideways, the further from the top the more."""
    return (1.0, _either_sign(SHEAR * strength, rng), 0.0), (0.0, 1.0, 0.0)


def shear_y(_size: Size, strength: float, rng: np.random.Generator) -> Matrix:
    """Move columns up or down, the further from the left the more."""
    return (1.0, 0.0, 0.0), (_either_sign(SHEAR * strength, rng), 1.0, 0.0)


def translate_x(size: Size, strength: float, rng: np.random.Generator) -> Matrix:
    """Move left or right."""
    return (1.0, 0.0, _either_sign(_fitted(TRANSLATION * strength, size), rng)), (0.0, 1.0, 0.0)


def translate_y(size: Size, strength: float, rng: np.random.Generator) -> Matrix:
    """Move up or down."""
    return (1.0, 0.0, 0.0), (0.0, 1.0, _either_sign(_fitted(TRANSLATION * strength, size), rng))


MATRICES: dict[str, Callable[[Size, float, np.random.Generator], Matrix]] = {
    "rotate": rotation,
    "shear_x": shear_x,
    "shear_y": shear_y,
    "translate_x": translate_x,
    "translate_y": translate_y,
}
"""The operations that move pixels: (size of the picture, strength, rng) -> where each new one comes from."""


def greyed(size: Size, strength: float, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Rows and columns (from, to, from, to) of a square around a uniform pixel, as far as it lies inside."""
    half = int(_fitted(CUTOUT * strength, size))
    y, x = int(rng.integers(size[0])), int(rng.integers(size[1]))
    return max(y - half, 0), min(y + half, size[0]), max(x - half, 0), min(x + half, size[1])


def cutout(image: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Grey a square (arXiv 1708.04552)."""
    top, bottom, left, right = greyed((image.shape[0], image.shape[1]), strength, rng)
    image = image.copy()
    image[top:bottom, left:right] = GREY
    return image


def posterize(_size: Size, strength: float) -> np.ndarray:
    """Keep the highest bits of each value."""
    dropped = 8 - min(int(POSTERIZE * strength), 8)
    return np.arange(256) & (0xFF << dropped & 0xFF)


def solarize(_size: Size, strength: float) -> np.ndarray:
    """Invert values from a threshold up."""
    values = np.arange(256)
    return np.where(values < min(int(SOLARIZE * strength), 256), values, 255 - values)


def solarize_add(_size: Size, strength: float) -> np.ndarray:
    """Lighten the darker half of the values."""
    values = np.arange(256)
    return np.where(values < 128, np.minimum(values + int(SOLARIZE_ADD * strength), 255), values)


def contrast(size: Size, strength: float) -> np.ndarray:
    """Blend with one grey, which in the authors' code is the pixel count over 256: 196 for 224 x 224."""
    grey = min(255, size[0] * size[1] // 256)
    return blend(np.array(grey), np.arange(256, dtype=np.uint8), enhancing(strength))


TABLES: dict[str, Callable[[Size, float], np.ndarray]] = {
    "invert": lambda _size, _strength: 255 - np.arange(256),
    "posterize": posterize,
    "solarize": solarize,
    "solarize_add": solarize_add,
    "contrast": contrast,
}
"""The operations that change each value by itself: (size, strength) -> the 256 new values."""


def colour(image: Pixels, strength: float, _rng: np.random.Generator) -> Pixels:
    """Blend with the picture's greys."""
    return blend(greyscale(image)[..., None], image, enhancing(strength))


def brightness(image: Pixels, strength: float, _rng: np.random.Generator) -> Pixels:
    """Blend with black."""
    return _look_up(image, blend(np.array(0), np.arange(256, dtype=np.uint8), enhancing(strength)))


def sharpness(image: Pixels, strength: float, _rng: np.random.Generator) -> Pixels:
    """Blend with the picture smoothed by (1 1 1; 1 5 1; 1 1 1) / 13; the outermost pixels stay."""
    wide = image.astype(np.uint16)
    rows = wide[:-2] + wide[1:-1] + wide[2:]
    window = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]
    smooth = image.copy()
    smooth[1:-1, 1:-1] = (window + 4 * wide[1:-1, 1:-1]) // 13
    return blend(smooth, image, enhancing(strength))


Operation: TypeAlias = Callable[[Pixels, float, np.random.Generator], Pixels]


def _moved(name: str) -> Operation:
    matrix = MATRICES[name]

    def operation(image: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
        return _affine(image, *matrix((image.shape[0], image.shape[1]), strength, rng))

    return operation


def _valued(name: str) -> Operation:
    table = TABLES[name]

    def operation(image: Pixels, strength: float, _rng: np.random.Generator) -> Pixels:
        return _look_up(image, table((image.shape[0], image.shape[1]), strength))

    return operation


OPERATIONS: dict[str, Operation] = {
    "autocontrast": autocontrast,
    "equalize": equalize,
    "invert": _valued("invert"),
    "rotate": _moved("rotate"),
    "posterize": _valued("posterize"),
    "solarize": _valued("solarize"),
    "solarize_add": _valued("solarize_add"),
    "colour": colour,
    "contrast": _valued("contrast"),
    "brightness": brightness,
    "sharpness": sharpness,
    "shear_x": _moved("shear_x"),
    "shear_y": _moved("shear_y"),
    "translate_x": _moved("translate_x"),
    "translate_y": _moved("translate_y"),
    "cutout": cutout,
}
"""All operations, each (picture, strength, rng) -> picture of the same size; strength 1 is magnitude 10."""


def greyscale(image: Pixels) -> np.ndarray:
    """Grey values uint8 [height, width], the weighted sum of `LUMA` rounded to the nearest."""
    red, green, blue = (image[..., channel] * np.uint32(LUMA[channel]) for channel in range(3))
    # Whole numbers of 1/10000, and half of one unit added, so that no machine rounds otherwise.
    return ((red + green + blue + np.uint32(5000)) // np.uint32(10000)).astype(np.uint8)


def blend(degraded: np.ndarray, image: np.ndarray, factor: float) -> np.ndarray:
    """degraded + factor (image - degraded), in float32, cut to 0..255 and rounded towards 0; uint8."""
    start = np.asarray(degraded, dtype=np.float32)
    mixed = (image - start) * np.float32(factor)
    mixed += start
    return np.clip(mixed, 0, 255, out=mixed).astype(np.uint8)


def enhancing(strength: float) -> float:
    """The factor with which an enhancing operation blends."""
    return ENHANCE_SLOPE * strength + ENHANCE_START


def _fitted(length: float, size: Size) -> float:
    side: int = min(*size, REFERENCE_SIDE)
    return length * side / REFERENCE_SIDE


def _either_sign(value: float, rng: np.random.Generator) -> float:
    negate: bool = rng.random() < 0.5
    return -value if negate else value


def _look_up(values: np.ndarray, table: np.ndarray) -> np.ndarray:
    # Indices are bytes and tables have 256 entries: "clip" only spares numpy the check.
    return np.take(table.astype(np.uint8), values, mode="clip")


def _look_up_each(image: Pixels, tables: list[np.ndarray]) -> Pixels:
    return np.stack([_look_up(image[..., channel], table) for channel, table in enumerate(tables)], axis=-1)


def from_corners(x: Row, y: Row) -> list[float]:
    """A matrix as Pillow takes it: it measures from the corner of a pixel, half a pixel from its centre."""
    return [part for a, b, c in (x, y) for part in (a, b, c + (1 - a - b) / 2)]


def _affine(image: Pixels, x: Row, y: Row) -> Pixels:
    """New pixel (column i, row j) is the one nearest to (x0 i + x1 j + x2, y0 i + y1 j + y2) in the old."""
    matrix = from_corners(x, y)
    picture = Image.fromarray(image)
    moved = picture.transform(
        picture.size, Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST, fillcolor=(GREY, GREY, GREY)
    )
    return np.asarray(moved)
