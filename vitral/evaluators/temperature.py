"""One number that makes a model's probabilities honest: scores are divided by it before softmax or sigmoid.

Temperature scaling (arXiv 1706.04599, section 4.2) keeps the order of a picture's classes, so no answer changes.
The temperature T is the most likely one on labelled pictures that the model was not trained on, under a prior
ln T ~ N(0, 1): a few pictures, or pictures that are all right, cannot drive it to an extreme, and among hundreds
the prior weighs nothing.

Letters: n pictures, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

LEAST_PICTURES = 25
"""With fewer, no temperature is fitted."""

CHUNK = 4096
"""Pictures whose scores are held in float64 at once."""

Bend = tuple[float, float]
"""First and second derivative of a loss."""


def fit_temperature(logits: np.ndarray, labels: Sequence[tuple[int, ...]], multi_label: bool = False) -> float | None:
    """The temperature for scores [n, K]; `None` with too few readable pictures whose classes are all known.

    With several labels per picture, each class is a question of its own and all share the temperature.
    """
    rows = known_rows(logits, labels)
    if len(rows) < LEAST_PICTURES:
        return None
    scores, wanted = logits[rows], [labels[row] for row in rows]
    of_scale = _sigmoid_bend if multi_label else _softmax_bend
    return math.exp(_root(lambda u: _posterior_bend(u, scores, wanted, of_scale)))


def known_rows(logits: np.ndarray, labels: Sequence[tuple[int, ...]]) -> np.ndarray:
    """Positions of the pictures that could be read and of whose classes the model lacks none."""
    known = np.array([min(label, default=0) >= 0 for label in labels], dtype=bool)
    return np.flatnonzero(known & ~np.isnan(logits[:, 0]))


def chunks(count: int) -> Iterator[slice]:
    """Slices that together cover `count` rows."""
    return (slice(start, start + CHUNK) for start in range(0, count, CHUNK))


def _posterior_bend(
    u: float,
    logits: np.ndarray,
    labels: Sequence[tuple[int, ...]],
    of_scale: Callable[[float, np.ndarray, Sequence[tuple[int, ...]]], Bend],
) -> Bend:
    """Derivatives of sum(-ln p) + u^2 / 2 by u = ln T, from those by the scale b = 1 / T."""
    scale = math.exp(-u)
    parts = [of_scale(scale, logits[part].astype(np.float64), labels[part]) for part in chunks(len(labels))]
    first, second = math.fsum(part[0] for part in parts), math.fsum(part[1] for part in parts)
    return u - scale * first, 1 + scale * first + scale * scale * second


def _softmax_bend(scale: float, z: np.ndarray, labels: Sequence[tuple[int, ...]]) -> Bend:
    """By b, of sum(logsumexp(b z) - b z_true): the mean score under p less the true one; the score's variance."""
    z = z - z.max(axis=1, keepdims=True)
    p = np.exp(scale * z)
    p /= p.sum(axis=1, keepdims=True)
    mean = (p * z).sum(axis=1)
    own = z[np.arange(len(z)), [label[0] for label in labels]]
    return math.fsum(mean - own), math.fsum((p * z * z).sum(axis=1) - mean * mean)


def _sigmoid_bend(scale: float, z: np.ndarray, labels: Sequence[tuple[int, ...]]) -> Bend:
    """By b, of sum(softplus(b z) - y b z) over all questions."""
    p = 1 / (1 + np.exp(-np.clip(scale * z, -700, 700)))
    y = multi_hot(labels, z.shape[1])
    return math.fsum(((p - y) * z).sum(axis=1)), math.fsum((p * (1 - p) * z * z).sum(axis=1))


def multi_hot(labels: Sequence[tuple[int, ...]], classes: int) -> np.ndarray:
    """Labels as truth values [n, K]; unknown classes are left out."""
    wanted = np.zeros((len(labels), classes), dtype=bool)
    for row, label in enumerate(labels):
        wanted[row, [k for k in label if k >= 0]] = True
    return wanted


def _root(bend: Callable[[float], Bend], low: float = math.log(1 / 50), high: float = math.log(50)) -> float:
    """Where the first derivative crosses zero: Newton's steps, halving the bracket where they leave it."""
    u = 0.0
    for _ in range(100):
        slope, curvature = bend(u)
        low, high = (low, u) if slope > 0 else (u, high)
        step = u - slope / curvature if curvature > 0 else low
        following = step if low < step < high else (low + high) / 2
        if abs(following - u) < 1e-10:
            return following
        u = following
    return u
