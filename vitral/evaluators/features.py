"""What probes of a frozen network work on: features and classes of pictures to learn from and to be measured on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Probing:
    """Features and class numbers, one label per picture.

    `train` [N, R] and `test` [n, R] float32 are what the network's head sees; `train_labels` [N], `test_labels` [n]
    are in [0, `classes`), or -1 for a test picture that always counts as wrong: it could not be read, or its class
    is not in train. `held_out` [N] marks the pictures of train on which settings are chosen.
    """

    train: np.ndarray
    train_labels: np.ndarray
    held_out: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray
    classes: int


def accuracy(answers: np.ndarray, labels: np.ndarray) -> float:
    """Share of the answers [n] that are right."""
    return float((answers == labels).mean())


def unit(features: np.ndarray) -> np.ndarray:
    """Features [n, R] at length 1, in float64; a vector of zeros stays one."""
    x = features.astype(np.float64)
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return np.asarray(x / np.where(length > 0, length, 1))
