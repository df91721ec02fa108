"""Sets of classes that hold the true one as often as promised, whatever the model: split conformal prediction.

On pictures with labels, each label gets a score, large where the model finds it strange. The set of a new picture
holds the classes whose score is at most `quantile(scores, coverage)`. If those pictures and the new one could
stand in any order with the same right (exchangeability), the set holds the true class with at least that
probability (Vovk et al. 2005; the finite-sample form is Theorem 1 of arXiv 2107.07511).

Letters: n pictures, K classes.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np

from vitral.data.random_streams import Purpose, batch_generator

Method = Literal["lac", "aps", "raps"]

PENALTY, FREE_CLASSES = 0.01, 5
"""RAPS: each class beyond the first five of a set costs this much (arXiv 2009.14193, section 3.2)."""


def scores(probabilities: np.ndarray, method: Method = "lac", draws: np.ndarray | None = None) -> np.ndarray:
    """How strange each class would be as the answer: [n, K].

    "lac" is 1 - p (arXiv 1609.00451), the smallest sets on average. "aps" is the probability of the classes that
    are at least as likely (arXiv 2006.02544), whose sets are small for easy pictures and large for hard ones.
    "raps" adds a penalty to classes far down, which keeps the sets from growing long tails.

    Args:
        draws: uniform numbers in [0, 1) [n]: the class itself counts with this share of its probability, so that
            "aps" and "raps" cover exactly as much as promised; without, it counts whole and they cover more.
    """
    if method == "lac":
        return np.asarray(1 - probabilities)
    order = np.argsort(-probabilities, axis=1, kind="stable")
    ranked = np.take_along_axis(probabilities, order, axis=1)
    share = 1.0 if draws is None else draws[:, None]
    found = np.cumsum(ranked, axis=1) - ranked + share * ranked
    if method == "raps":
        found += PENALTY * np.maximum(0, np.arange(1, ranked.shape[1] + 1) - FREE_CLASSES)
    unsorted = np.empty_like(found)
    np.put_along_axis(unsorted, order, found, axis=1)
    return unsorted


def quantile(of_truth: np.ndarray, coverage: float) -> float:
    """The ceil((n + 1) coverage)-th smallest of the true classes' scores [n]; infinite if n is too small for it."""
    rank = math.ceil((len(of_truth) + 1) * coverage - 1e-9)
    return float(np.sort(of_truth)[rank - 1]) if rank <= len(of_truth) else math.inf


def sets(
    probabilities: np.ndarray, limit: float, method: Method = "lac", draws: np.ndarray | None = None
) -> np.ndarray:
    """Which classes belong to each picture's set: truth values [n, K]."""
    return np.asarray(scores(probabilities, method, draws) <= limit)


def try_sets(probabilities: np.ndarray, truth: np.ndarray, coverage: float) -> dict[str, dict[str, float | None]]:
    """Each method set up on one half of the pictures and tried on the other.

    Returns:
        by method: `limit` (`None`: infinite, so that every class is in every set), `coverage`, the share of sets that
        hold the true class, and their `mean_size`; nothing with fewer than two pictures.
    """
    rng = batch_generator(0, 0, Purpose.RESAMPLING)
    order = rng.permutation(len(truth))
    fitted, tried = order[: len(order) // 2], order[len(order) // 2 :]
    draws = rng.random(len(truth))
    made: dict[str, dict[str, float | None]] = {}
    for method in get_args(Method) if len(fitted) else ():
        found = scores(probabilities, method, draws)
        limit = quantile(found[fitted, truth[fitted]], coverage)
        held = found[tried] <= limit
        made[method] = {
            "limit": limit if math.isfinite(limit) else None,
            "coverage": float(held[np.arange(len(tried)), truth[tried]].mean()),
            "mean_size": float(held.sum(axis=1).mean()),
        }
    return made
