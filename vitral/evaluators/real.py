"""Accuracy on reassessed labels: "Are we done with ImageNet?" (arXiv 2006.07159, section 4).

People looked again at ImageNet's validation pictures and named every class that each one shows. A picture is right
if the likeliest class is one of them; pictures that show none of the 1,000 classes are left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vitral.evaluators.classification import guesses


def real_hits(logits: np.ndarray, labels: Sequence[tuple[int, ...]]) -> np.ndarray:
    """Of the pictures that have labels, in order: whether the likeliest class is one of them.

    Args:
        logits: [pictures, classes]; the row of an unreadable picture is NaN, and it counts as wrong.
        labels: class numbers of each picture; the empty ones are left out.
    """
    best = guesses(logits)
    return np.array([int(k) in label for k, label in zip(best, labels, strict=True) if label], dtype=bool)
