"""Can its probabilities be believed? Proper scores, calibration error and the numbers of a reliability diagram.

Of readable pictures whose classes the model knows. Letters: n pictures, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from vitral.evaluators.intervals import Interval, calibration_interval
from vitral.evaluators.temperature import chunks, known_rows, multi_hot

BINS = 15
"""As in arXiv 1706.04599, section 5."""


class Confidences(NamedTuple):
    """What was claimed and what was so.

    `confidence` float64: the probability of the likeliest class [n], or, with several labels per picture, of every
    class of every picture [n * K]. `right`: whether that was so. `loss` and `brier`, per picture [n] or per
    question [n * K]: -ln of the probability given to the truth, and the squared distance from it.
    """

    confidence: np.ndarray
    right: np.ndarray
    loss: np.ndarray
    brier: np.ndarray


def calibration(
    logits: np.ndarray, labels: Sequence[tuple[int, ...]], temperature: float = 1.0, multi_label: bool = False
) -> dict[str, Any]:
    """`nll`, `brier`, `ece`, `ece_adaptive` and `bins` at the model's `temperature`, of `count` pictures or questions.

    `before` holds the same numbers at temperature 1, where the model has another. Brier's score is the sum over
    classes, in [0, 2]; with several labels per picture, scores are means over all questions "is it of class k?".
    """
    made = _scores(confidences(logits, labels, temperature, multi_label))
    if made and temperature != 1:
        before = _scores(confidences(logits, labels, 1.0, multi_label))
        made["before"] = {name: value for name, value in before.items() if name != "bins"}
    return {"temperature": temperature, **made}


def _scores(found: Confidences) -> dict[str, Any]:
    if not len(found.confidence):
        return {}
    return {
        "count": len(found.loss),
        "nll": math.fsum(found.loss) / len(found.loss),
        "brier": math.fsum(found.brier) / len(found.brier),
        "ece": expected_calibration_error(found.confidence, found.right),
        "ece_adaptive": expected_calibration_error(found.confidence, found.right, adaptive=True),
        "bins": reliability(found.confidence, found.right),
    }


def ece_interval(found: Confidences) -> Interval:
    """The bootstrap interval of the calibration error in bins of equal width."""
    return calibration_interval(_equal_width(found.confidence, BINS), found.confidence - found.right, BINS)


def confidences(
    logits: np.ndarray, labels: Sequence[tuple[int, ...]], temperature: float = 1.0, multi_label: bool = False
) -> Confidences:
    """What scores [n, K], divided by the temperature, claim of each picture, in float64."""
    rows = known_rows(logits, labels)
    of = _sigmoid_confidences if multi_label else _softmax_confidences
    wanted = [labels[row] for row in rows]
    parts = [of(logits[rows[part]].astype(np.float64) / temperature, wanted[part]) for part in chunks(len(rows))]
    columns = zip(*parts, strict=True) if parts else ([np.zeros(0)] for _ in range(4))
    return Confidences(*(np.concatenate(column) for column in columns))


def _softmax_confidences(z: np.ndarray, labels: Sequence[tuple[int, ...]]) -> Confidences:
    truth, rows = np.array([label[0] for label in labels]), np.arange(len(z))
    guess = z.argmax(axis=1)
    z = z - z.max(axis=1, keepdims=True)
    logarithm = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    p = np.exp(logarithm)
    brier = (p * p).sum(axis=1) - 2 * p[rows, truth] + 1
    return Confidences(p[rows, guess], guess == truth, -logarithm[rows, truth], brier)


def _sigmoid_confidences(z: np.ndarray, labels: Sequence[tuple[int, ...]]) -> Confidences:
    y = multi_hot(labels, z.shape[1])
    p = 1 / (1 + np.exp(-np.clip(z, -700, 700)))
    loss = np.logaddexp(0, np.where(y, -z, z))
    return Confidences(*(values.ravel() for values in (p, y, loss, (p - y) ** 2)))


def expected_calibration_error(
    confidence: np.ndarray, right: np.ndarray, bins: int = BINS, adaptive: bool = False
) -> float:
    """Mean over pictures of |confidence - accuracy| of their bin (Eq. 3 of arXiv 1706.04599).

    Args:
        adaptive: bins of equally many pictures (arXiv 1904.01685), instead of equally wide ones.
    """
    order = np.lexsort((right, confidence))  # so that the order of the pictures cannot matter, nor that of equals
    confidence, right = confidence[order], right[order]
    places = np.arange(len(order)) * bins // len(order) if adaptive else _equal_width(confidence, bins)
    gaps = np.bincount(places, weights=confidence - right, minlength=bins)
    return float(np.abs(gaps).sum() / len(order))


def reliability(confidence: np.ndarray, right: np.ndarray, bins: int = BINS) -> list[dict[str, Any]]:
    """The bins (low, high] that hold pictures, in order: `count`, mean `confidence` and `accuracy`."""
    places = _equal_width(confidence, bins)
    found = []
    for k in range(bins):
        inside = places == k
        count = int(inside.sum())
        if count:
            mean, accuracy = math.fsum(confidence[inside]) / count, float(right[inside].mean())
            edges = {"low": k / bins, "high": (k + 1) / bins}
            found.append({**edges, "count": count, "confidence": mean, "accuracy": accuracy})
    return found


def _equal_width(confidence: np.ndarray, bins: int) -> np.ndarray:
    """The bin of each confidence: (k / bins, (k + 1) / bins] is bin k, and 0 is in the first."""
    return np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
