"""Counts of a data set: classes, sizes, formats, and pictures that stand out by them."""

from __future__ import annotations

import os
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import PurePath

import numpy as np

from vitral.checks.examination import LARGE_ENOUGH, Examination
from vitral.datasets.dataset import TRAIN, Dataset, Split
from vitral.datasets.scan import ENDINGS

PLAIN_MODES = ("RGB", "grey")

FACTOR = 4.0
"""How many times longer or shorter than the median a side, or the ratio of the sides, at least is to be unusual."""


def class_names(labels: Sequence[int], classes: Sequence[str]) -> list[str]:
    """The names of a picture's labels, or what stands for none and for one that the model lacks."""
    return [classes[label] if label >= 0 else "(unknown)" for label in labels] or ["(none)"]


def class_counts(split: Split, classes: Sequence[str]) -> dict[str, int]:
    """Pictures of each class, also of those with none, in the order of the classes."""
    counts = dict.fromkeys(classes, 0)
    for labels, count in Counter(split.labels).items():
        for name in class_names(labels, classes):
            counts[name] = counts.get(name, 0) + count
    return counts


def spread(values: Sequence[int]) -> tuple[int, int, int] | None:
    """Smallest, (lower) median and largest."""
    return (min(values), statistics.median_low(values), max(values)) if values else None


def imbalance(dataset: Dataset) -> float | None:
    """Pictures in the largest class of train over those in the smallest that has any; `None` without train."""
    if TRAIN not in dataset.splits:
        return None
    counts = Counter(label for labels in dataset.splits[TRAIN].labels for label in labels)
    return max(counts.values()) / min(counts.values()) if counts else None


def small_classes(dataset: Dataset, below: int) -> dict[str, int]:
    """Classes of train with fewer pictures than `below`, the smallest first."""
    if TRAIN not in dataset.splits:
        return {}
    counts = class_counts(dataset.splits[TRAIN], dataset.classes)
    found = {name: counts[name] for name in dataset.classes if counts[name] < below}
    return dict(sorted(found.items(), key=lambda item: item[1]))


def wrong_endings(seen: Examination) -> Iterator[tuple[str, str]]:
    """(picture, format) where the name says another."""
    for place, look in seen.looks.items():
        source = seen.source(place)
        is_named = isinstance(source, str | os.PathLike)
        if look.header is not None and is_named and ENDINGS.get(PurePath(source).suffix.lower()) != look.header.format:
            yield seen.name(place), look.header.format


def odd_modes(seen: Examination) -> Iterator[tuple[str, str]]:
    """(picture, mode) of those that decoding has to convert."""
    for place, look in seen.looks.items():
        if look.header is not None and look.header.mode not in PLAIN_MODES:
            yield seen.name(place), look.header.mode


def size_outliers(seen: Examination) -> Iterator[tuple[str, int, int]]:
    """(picture, width, height) of those far from the median in size or shape, and from nearly all others too."""
    sized = [(place, look.upright_size) for place, look in seen.looks.items() if look.header is not None]
    if not sized:
        return
    width, height = np.log(np.array([size for _, size in sized], dtype=float)).T
    unusual = np.zeros(len(sized), dtype=bool)
    for values in ((width + height) / 2, width - height):
        low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
        unusual |= np.abs(values - middle) > max(float(np.log(FACTOR)), 3 * (high - low))
    for k in np.flatnonzero(unusual):
        place, size = sized[k]
        yield seen.name(place), *size


def is_tiny(size: tuple[int, int]) -> bool:
    """Whether a picture, as width and height, is too small to be recognised in a copy of its own size."""
    return min(size) < LARGE_ENOUGH
