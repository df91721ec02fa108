"""A few of the user's pictures, spread over all of them, as the network sees them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np

from vitral.data.decode import decode
from vitral.data.preprocessing import prepare
from vitral.datasets.pictures import Picture
from vitral.errors import DataError
from vitral.serving.predictor import Model


def some_pixels(
    model: Model, pictures: Iterable[Picture], total: int, count: int, workers: int, max_pixels: int
) -> tuple[np.ndarray, list[tuple[str, str]]]:
    """Up to `count` pictures at even distances, in an order in which any part of them is spread over all classes.

    Args:
        pictures: `total` of them, of which no more than `count` are held at a time.

    Returns:
        pixels [n, height, width, 3] uint8, and (name, reason) of those that could not be read.

    Raises:
        DataError: not one can be read.
    """
    step = max(1, total // count)
    chosen = list(itertools.islice(pictures, 0, step * count, step))
    np.random.default_rng(0).shuffle(chosen)
    found, unreadable = [], []
    for batch in model.batches(
        [picture.source for picture in chosen],
        lambda source: prepare(decode(source, max_pixels, briefly=True), model.preprocessing),
        workers,
    ):
        found.append(batch.images)
        unreadable += [(chosen[sample].name, error.reason) for sample, error in batch.unreadable]
    pixels = np.concatenate(found)
    if not len(pixels):
        reasons = "; ".join(f"{name}: {reason}" for name, reason in unreadable[:3])
        raise DataError(f"not one of the pictures can be read ({reasons}): give JPEG, PNG, WebP, BMP or GIF files.")
    return pixels, unreadable
