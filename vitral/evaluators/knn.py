"""Nearest neighbours in the space of features, by the cosine of the angle: nothing is learned at all.

Letters: N pictures to learn from, n test pictures.
"""

from __future__ import annotations

import numpy as np

from vitral.evaluators.features import Probing, accuracy, unit

NEIGHBOURS, TEMPERATURE = 20, 0.07
"""As in DINO (arXiv 2104.14294, section 4.1): a neighbour's vote weighs exp(cosine / 0.07)."""

CHUNK = 1024
"""Test pictures compared at once."""


def knn(data: Probing) -> dict[str, float]:
    """`20nn`: the weighted vote of the 20 nearest; `1nn`: the class of the nearest alone."""
    cosines, labels = nearest(data.train, data.train_labels, data.test, NEIGHBOURS)
    votes = vote(cosines, labels, data.classes)
    return {f"{NEIGHBOURS}nn": accuracy(votes, data.test_labels), "1nn": accuracy(labels[:, 0], data.test_labels)}


def nearest(
    train: np.ndarray, train_labels: np.ndarray, test: np.ndarray, neighbours: int
) -> tuple[np.ndarray, np.ndarray]:
    """Cosines and classes [n, neighbours] of the nearest pictures, nearest first; of equals the first in train."""
    known, kept = unit(train), min(neighbours, len(train))
    cosines, labels = np.empty((len(test), kept)), np.empty((len(test), kept), dtype=np.int64)
    for start in range(0, len(test), CHUNK):
        part = slice(start, start + CHUNK)
        found = unit(test[part]) @ known.T
        order = np.argsort(-found, axis=1, kind="stable")[:, :kept]
        cosines[part], labels[part] = np.take_along_axis(found, order, axis=1), train_labels[order]
    return cosines, labels


def vote(cosines: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """The class with the largest sum of exp(cosine / T) among the neighbours [n, k]; of equals the first."""
    weights = np.exp((cosines - 1) / TEMPERATURE)
    rows = np.arange(len(labels))[:, None] * classes
    sums = np.bincount((rows + labels).ravel(), weights.ravel(), len(labels) * classes)
    return np.asarray(sums.reshape(-1, classes).argmax(axis=1))
