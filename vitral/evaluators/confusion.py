"""Which classes are taken for which, kept as pairs so that a thousand classes can be read as well as ten.

Class numbers [pictures]; a truth of -1 is a class that the model does not know, a guess of -1 a picture that it
could not read. Both count as wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

MOST_PAIRS = 100
"""Pairs that are named, the most frequent first."""


def balanced_accuracy(truth: np.ndarray, guess: np.ndarray) -> float | None:
    """Mean, over the classes that have pictures, of the share that is found; `None` if no class is known."""
    found, _, wanted = _counts(truth, guess)
    there = wanted > 0
    return float((found[there] / wanted[there]).mean()) if there.any() else None


def macro_f1(truth: np.ndarray, guess: np.ndarray) -> float | None:
    """Mean, over the classes that have pictures, of F1 = 2 found / (wanted + guessed)."""
    found, guessed, wanted = _counts(truth, guess)
    there = wanted > 0
    return float((2 * found[there] / (wanted + guessed)[there]).mean()) if there.any() else None


def most_confused(truth: np.ndarray, guess: np.ndarray, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Pairs of a `label` and a wrong `guess` by class name: `count`, and `share` of the label's pictures.

    The most frequent come first; equals keep the classes' order.
    """
    known = truth >= 0
    wrong = known & (guess >= 0) & (guess != truth)
    pairs, counts = np.unique(truth[wrong] * len(classes) + guess[wrong], return_counts=True)
    of_label = np.bincount(truth[known], minlength=len(classes))
    found = []
    for k in np.argsort(-counts, kind="stable")[:MOST_PAIRS]:
        label, taken_for = divmod(int(pairs[k]), len(classes))
        share = float(counts[k] / of_label[label])
        found.append({"label": classes[label], "guess": classes[taken_for], "count": int(counts[k]), "share": share})
    return found


def _counts(truth: np.ndarray, guess: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each class: pictures of it found, pictures taken for it, pictures of it."""
    size = max(int(truth.max(initial=-1)), int(guess.max(initial=-1))) + 1
    groups = (truth[(truth == guess) & (truth >= 0)], guess[guess >= 0], truth[truth >= 0])
    found, guessed, wanted = (np.bincount(group, minlength=size) for group in groups)
    return found, guessed, wanted
