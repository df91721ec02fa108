"""Parts of the pictures, each judged by what was learned from the others (cross-validation)."""

from __future__ import annotations

import numpy as np

FOLDS = 5
"""How many parts; four fifths of the pictures are learned from each time."""


def folds_of(classes: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
    """A fold in [0, FOLDS) for each picture [n]: every class spread evenly, every group whole.

    Args:
        groups: pictures of one number stay together; by default each is its own.
    """
    _, first, group = np.unique(
        np.arange(len(classes)) if groups is None else groups, return_index=True, return_inverse=True
    )
    order = np.random.default_rng(0).permutation(len(first))
    order = order[np.argsort(classes[first][order], kind="stable")]
    folds = np.empty(len(first), dtype=int)
    folds[order] = np.arange(len(first)) % FOLDS
    return folds[group]
