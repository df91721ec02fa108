"""How a training picture is varied, from decoded pixels to the bytes that the device gets.

In this order: cut, mirror, 3-Augment, colour jitter, RandAugment, random erasing. All chance comes from the one
generator that is handed in, so a picture is a function of it.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from PIL import Image, ImageFilter

from vitral.config import AugmentationConfig, Preprocessing, Size
from vitral.data.geometry import Box, Pixels, inception_box, mirrored, random_box, resize
from vitral.data.preprocessing import prepare, resize_whole
from vitral.data.randaugment import blend, greyscale, randaugment

JITTERS = ("brightness", "contrast", "saturation")
"""What `jitter` changes, by the numbers that its order is drawn as."""

ERASED_AREA = (0.02, 0.33)
"""Share of the picture that is erased (arXiv 1708.04896, section 3; the upper end as its authors' code)."""

ERASED_ASPECT = (0.3, 3.3)
"""Height / width of what is erased, log-uniform, so that lying and standing are as likely (arXiv 1708.04896)."""

BLUR_RADIUS = (0.1, 2.0)
"""Pixels, of 3-Augment's blur."""

ERASING_ATTEMPTS = 100
"""Rectangles drawn before the picture stays whole (our bound; the paper draws for ever)."""


def augment(
    image: Pixels, rng: np.random.Generator, augmentation: AugmentationConfig, preprocessing: Preprocessing
) -> Pixels:
    """One varied view of a picture.

    Args:
        image: [height, width, 3] uint8 RGB, upright, at least 1 x 1; is not changed.
        rng: of this sample, this epoch and no other.

    Returns:
        uint8 of exactly `preprocessing.crop`. It may share memory with `image`.
    """
    return vary(cut(image, rng, augmentation, preprocessing), rng, augmentation)


def vary(image: Pixels, rng: np.random.Generator, augmentation: AugmentationConfig) -> Pixels:
    """What follows the cut: mirrored, jittered and so on, of the size that it has. It may share memory with `image`."""
    if augmentation.flip and rng.random() < 0.5:
        image = mirrored(image)
    if augmentation.three_augment:
        image = grey_solarized_or_blurred(image, rng)
    if augmentation.colour_jitter > 0:
        image = jitter(image, rng, augmentation.colour_jitter)
    image = randaugment(image, rng, augmentation.randaugment_layers, augmentation.randaugment_magnitude)
    if augmentation.erasing > 0 and rng.random() < augmentation.erasing:
        image = erase(image, rng)
    return image


def cut(
    image: Pixels, rng: np.random.Generator, augmentation: AugmentationConfig, preprocessing: Preprocessing
) -> Pixels:
    """The part of the picture that `augmentation.crop` chooses, at `preprocessing.crop`.

    inception: a box of random area and aspect, resized (`preprocessing.resize` has no part in it).
    resize-random: resized as in evaluation, or to `augmentation.resize`, `padding` pixels added to each side, cut at a
    uniform place.
    none: as in evaluation.
    """
    size = preprocessing.crop
    if augmentation.crop == "none":
        return prepare(image, preprocessing)
    if augmentation.crop == "inception":
        box = inception_box((image.shape[0], image.shape[1]), augmentation.min_area, rng)
        return resize(box.cut(image), size, preprocessing.interpolation)
    larger = augmentation.resize
    image = resize_whole(image, preprocessing if larger is None else replace(preprocessing, resize=larger))
    if augmentation.padding:
        sides = (augmentation.padding, augmentation.padding)
        mirror = augmentation.padding_mode == "reflect"
        image = np.pad(image, (sides, sides, (0, 0)), mode="reflect" if mirror else "constant")
    return random_box((image.shape[0], image.shape[1]), size, rng).cut(image)


def grey_solarized_or_blurred(image: Pixels, rng: np.random.Generator) -> Pixels:
    """One of the three, each as likely: 3-Augment (arXiv 2204.07118, section 3; values of the authors' code).

    Solarizing inverts values of 128 and more; the blur is Pillow's Gaussian of a radius uniform in 0.1 to 2 pixels.
    """
    kind = int(rng.integers(3))
    if kind == 0:
        return np.repeat(greyscale(image)[..., None], 3, axis=2)
    if kind == 1:
        return np.where(image < 128, image, 255 - image)
    blurred = Image.fromarray(image).filter(ImageFilter.GaussianBlur(rng.uniform(*BLUR_RADIUS)))
    return np.asarray(blurred)


def jitter(image: Pixels, rng: np.random.Generator, amount: float) -> Pixels:
    """Change brightness, contrast and saturation, in random order, each by a factor uniform in 1 +- amount.

    The factor blends with black, with the mean grey, or with the picture's greys (Howard, arXiv 1312.5402).

    Args:
        amount: 0 to 1.
    """
    for kind in rng.permutation(3):
        factor = rng.uniform(1 - amount, 1 + amount)
        if kind == 0:
            degraded = np.array(0)
        elif kind == 1:
            degraded = np.array(greyscale(image).mean())
        else:
            degraded = greyscale(image)[..., None]
        image = blend(degraded, image, factor)
    return image


def erase(image: Pixels, rng: np.random.Generator) -> Pixels:
    """A copy with a rectangle of uniform random bytes (arXiv 1708.04896); the picture itself where none fits."""
    erased = erased_part((image.shape[0], image.shape[1]), rng)
    if erased is None:
        return image
    box, noise = erased
    copy = image.copy()
    box.cut(copy)[...] = noise
    return copy


def erased_part(size: Size, rng: np.random.Generator) -> tuple[Box, Pixels] | None:
    """Where a picture of `size` is erased, and the bytes that come there.

    Area is uniform in 0.02 to 0.33 of the picture, height / width log-uniform in 0.3 to 3.3; a rectangle that
    does not fit is drawn again, up to 100 times, and then nothing is erased.
    """
    height, width = size
    for _ in range(ERASING_ATTEMPTS):
        area = rng.uniform(*ERASED_AREA) * height * width
        aspect = math.exp(rng.uniform(math.log(ERASED_ASPECT[0]), math.log(ERASED_ASPECT[1])))
        sides = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if sides[0] <= height and sides[1] <= width:
            box = random_box(size, sides, rng)
            return box, rng.integers(0, 256, (*sides, 3), dtype=np.uint8)
    return None
