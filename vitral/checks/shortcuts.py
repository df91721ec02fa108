"""Shortcuts: does something that has nothing to do with what is shown tell the classes apart?

A class photographed at night, scanned by another machine or saved by another program is learned by that, and the
model fails elsewhere. One small classifier for each measure, judged on pictures that it has not seen.

Letters: n pictures, K classes, f numbers of one measure, b bins of one number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from vitral.checks.folds import FOLDS, folds_of
from vitral.checks.look import Look

BINS = 32
SIGMAS = 5.0
"""Standard deviations above chance from which accuracy is no accident, whatever was measured."""

CLASS_SIZE = 20
"""Pictures of a class from which it can be said to be told apart."""

FEWEST = 50
"""Labelled pictures below which nothing is measured."""


class Shortcut(NamedTuple):
    """How well one measure alone tells the class.

    accuracy: mean over the classes of the share found by it (balanced), in [0, 1]. chance: 1 / classes. bound: what
    chance stays below, but for once in some million. one_class: a class that it tells from the others nearly always,
    if not all of them. one_class_accuracy: mean of the share of that class found and of the share of the others not
    taken for it, where chance is 0.5; above `one_class_limit` there is such a class. Both are those of the class that
    is told apart best, None where no class is large enough. suspicious: accuracy is above the bound and above `limit`,
    or there is such a class.
    """

    measure: str
    accuracy: float
    chance: float
    bound: float
    limit: float
    one_class: int | None
    one_class_accuracy: float | None
    one_class_limit: float
    suspicious: bool


FORMATS = ("JPEG", "PNG", "WebP", "BMP", "GIF", "memory")


class _Measure(NamedTuple):
    """numbers: of a picture. limit: how far from chance (0) to certainty (1) is still natural.

    one_class: likewise, of one class: the share of it found less the share of the others taken for it.
    """

    numbers: Callable[[Any], tuple[float, ...]]
    limit: float
    one_class: float


# What is shown may well have its own brightness, colours and detail (natural data sets were seen to reach 0.5, and
# 0.6 for one class); the way it was stored should say nothing (0.13 and 0.5).
MEASURES: dict[str, _Measure] = {
    "brightness": _Measure(lambda look: (float(np.dot(look.colour, (0.299, 0.587, 0.114))),), 0.6, 0.9),
    "mean colour": _Measure(lambda look: tuple(np.subtract(look.colour, np.mean(look.colour))), 0.7, 0.9),
    "size in pixels": _Measure(lambda look: look.upright_size, 0.2, 0.7),
    "shape": _Measure(lambda look: (look.upright_size[0] / look.upright_size[1],), 0.2, 0.7),
    "size of the file": _Measure(lambda look: (look.size,), 0.6, 0.9),
    "JPEG quality": _Measure(lambda look: (look.quality,), 0.2, 0.7),
    "file format": _Measure(lambda look: (FORMATS.index(look.header.format),), 0.2, 0.7),
}


def shortcuts(looks: Sequence[Look], labels: Sequence[int]) -> list[Shortcut]:
    """Every measure, the best predictor first; empty with too few pictures or fewer than two classes.

    Args:
        looks: of readable pictures.
        labels: the class of each, 0 or more.
    """
    present, classes, sizes = np.unique(np.asarray(labels, dtype=int), return_inverse=True, return_counts=True)
    count = len(sizes)
    if len(looks) < FEWEST or count < 2:
        return []
    found = []
    for name, measure in MEASURES.items():
        values = np.array([measure.numbers(look) for look in looks], dtype=np.float64)
        if (values == values[0]).all():
            continue
        right, guessed = _cross_validate(_bins(values, len(looks) // (4 * count)), classes, count)
        accuracy = float((right / sizes).mean())
        # Guessing class k a share q of the time without looking finds q of its pictures, give or take a binomial.
        shares = guessed / len(looks)
        bound = 1 / count + SIGMAS * float(np.sqrt((shares * (1 - shares) / sizes).sum())) / count
        limit = 1 / count + measure.limit * (1 - 1 / count)
        apart = np.where(sizes >= CLASS_SIZE, right / sizes - (guessed - right) / (len(looks) - sizes), -1)
        one_class = int(present[apart.argmax()]) if apart.max() > measure.one_class else None
        suspicious = accuracy > max(bound, limit) or one_class is not None
        best = (1 + float(apart.max())) / 2 if (sizes >= CLASS_SIZE).any() else None
        one_limit = (1 + measure.one_class) / 2
        found.append(Shortcut(name, accuracy, 1 / count, bound, limit, one_class, best, one_limit, suspicious))
    return sorted(found, key=lambda one: -one.accuracy)


def _bins(values: np.ndarray, wanted: int) -> np.ndarray:
    """[n, f] numbers as the bins that they fall in: as many pictures in each as equal numbers allow."""
    steps = np.linspace(0, 1, min(max(wanted, 4), BINS) + 1)[1:-1]
    edges = [np.unique(np.quantile(column, steps, method="lower")) for column in values.T]
    return np.stack([np.searchsorted(e, column, side="right") for e, column in zip(edges, values.T, strict=True)], 1)


def _cross_validate(bins: np.ndarray, classes: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Of each class, the pictures found by naive Bayes that learned from the other folds, and how often it is said."""
    folds = folds_of(classes)
    said = np.zeros(len(classes), dtype=int)
    for fold in range(FOLDS):
        here, other = np.flatnonzero(folds == fold), folds != fold
        scores = np.zeros((len(here), count))
        for column in bins.T:
            table = np.full((count, int(column.max()) + 1), 0.5)
            np.add.at(table, (classes[other], column[other]), 1)
            scores += np.log(table / table.sum(axis=1, keepdims=True)).T[column[here]]
        said[here] = scores.argmax(axis=1)
    right = np.bincount(classes[said == classes], minlength=count)
    return right, np.bincount(said, minlength=count)
