"""What it gains to leave the least sure pictures to a person: accuracy at coverage, and where to draw the line.

Of readable pictures, one class each: `confidence` [n] is the probability of the likeliest class, `right` [n]
whether it is the true one. Pictures of equal confidence are kept or left together.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

COVERAGES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.5)


class Line(NamedTuple):
    """Answers are given from `threshold` on: for the share `coverage` of pictures, `accuracy` of them right."""

    threshold: float
    coverage: float
    accuracy: float


def selective(confidence: np.ndarray, right: np.ndarray) -> dict[str, Any]:
    """`aurc`, and `accuracy_at`: the accuracy among the surest pictures, by the coverage that was asked for."""
    found = {f"{coverage:g}": accuracy_at(confidence, right, coverage) for coverage in COVERAGES}
    return {"aurc": aurc(confidence, right), "accuracy_at": found}


def accuracy_at(confidence: np.ndarray, right: np.ndarray, coverage: float) -> float:
    """Accuracy of the surest pictures, at least `coverage` of all of them."""
    lines = _lines(confidence, right)
    return next(line.accuracy for line in lines if line.coverage >= coverage - 1e-12)


def aurc(confidence: np.ndarray, right: np.ndarray) -> float:
    """Area under the curve of risk by coverage (arXiv 1805.08206, section 2): the mean error, over k = 1 to n,
    of the k surest pictures. Pictures of equal confidence stand in every order equally often, so that each place
    among them has their mean error.
    """
    _, group, counts = np.unique(-confidence, return_inverse=True, return_counts=True)
    errors = np.bincount(group, weights=~right)
    expected = np.repeat(errors / counts, counts)
    return math.fsum(np.cumsum(expected) / np.arange(1, len(right) + 1)) / len(right)


def abstain_threshold(confidence: np.ndarray, right: np.ndarray, accuracy: float) -> Line | None:
    """The line that answers most pictures with at least this accuracy; `None` if even the surest ones miss it."""
    fitting = [line for line in _lines(confidence, right) if line.accuracy >= accuracy]
    return fitting[-1] if fitting else None


def _lines(confidence: np.ndarray, right: np.ndarray) -> list[Line]:
    """Every place where the line can be, from the surest picture on."""
    values, group, counts = np.unique(-confidence, return_inverse=True, return_counts=True)
    answered = np.cumsum(counts)
    found = np.cumsum(np.bincount(group, weights=right))
    columns = zip(-values, answered / len(right), found / answered, strict=True)
    return [Line(float(threshold), float(coverage), float(accuracy)) for threshold, coverage, accuracy in columns]
