"""How far could a number be off because these pictures, and not others, were measured? Bootstrap intervals.

Efron's percentile bootstrap: the pictures are drawn again, with replacement, 10,000 times, and the middle 95 % of
the numbers that come out is the interval. Where pictures fall into few kinds (right or wrong, of this class or
that), a resample is how often each kind was drawn, one multinomial draw, so that nothing loops over pictures.
Draws are a function of the seed and the counts: the same wherever and however the pictures were measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from vitral.data.random_streams import Purpose, batch_generator

RESAMPLES = 10_000
LEVEL = 0.95
MOST_DRAWS = 100_000_000
"""Numbers drawn in all; where 10,000 resamples would take more there are fewer of them."""

FEWEST, FEWEST_PRECISION = 1_000, 200
"""Resamples that are drawn even then; of average precision, which sorts and sums for each class, fewer."""

CHUNK = 2_000_000
"""Numbers held at once."""

Interval = dict[str, float]
"""`low` and `high`."""


def share_interval(hits: np.ndarray) -> Interval:
    """Of the share of true values among `hits` [n], n > 0.

    Resamples of pictures that are all right are all right, too, and say nothing of the next picture. There the
    interval ends at Clopper and Pearson's exact bound.
    """
    count, found = len(hits), int(np.count_nonzero(hits))
    bound = ((1 - LEVEL) / 2) ** (1 / count)
    if found == count:
        return {"low": bound, "high": 1.0}
    if found == 0:
        return {"low": 0.0, "high": 1 - bound}
    kinds = np.array([count - found, found])
    return percentiles(resampled(kinds, lambda drawn: drawn[:, 1] / count))


def balanced_interval(truth: np.ndarray, hits: np.ndarray) -> Interval:
    """Of the mean over classes of the share of `hits` [n]; `truth` [n] are class numbers, -1 for unknown ones.

    A class that a resample lacks does not count in it, as one that the pictures lack does not count in the number.
    Where each class is all right or all wrong, resamples are, too, and the interval ends at exact bounds.
    """
    _, places = np.unique(truth[truth >= 0], return_inverse=True)
    kinds = np.bincount(2 * places + hits[truth >= 0], minlength=2 * (places.max() + 1))
    all_wrong, all_right = kinds[0::2], kinds[1::2]
    if not (all_wrong * all_right).any():
        count = len(all_right)
        low = _smallest_sum(all_right[all_right > 0]) / count
        return {"low": low, "high": 1 - _smallest_sum(all_wrong[all_wrong > 0]) / count}

    def statistic(drawn: np.ndarray) -> np.ndarray:
        wrong, right = drawn[:, 0::2], drawn[:, 1::2]
        there = wrong + right > 0
        shares = np.divide(right, wrong + right, out=np.zeros(right.shape), where=there)
        return np.asarray(shares.sum(axis=1) / there.sum(axis=1))

    return percentiles(resampled(kinds, statistic))


def difference_interval(first: np.ndarray, second: np.ndarray) -> Interval:
    """Of the difference, second less first, of two shares of true values [n] on the same pictures.

    Resamples of pictures on which the models never differ, or always in one way, are all alike. There the interval is
    that of the exact bound on the share of pictures of another kind, gained or lost.
    """
    kinds = np.bincount(2 * first.astype(np.int64) + second, minlength=4)
    for found, others, step in (
        (0, kinds[1] + kinds[2], 1),
        (1, len(first) - kinds[1], 2),
        (-1, len(first) - kinds[2], 2),
    ):
        if others == 0:  # each picture of another kind moves the difference by up to `step`
            reach = step * (1 - ((1 - LEVEL) / 2) ** (1 / len(first)))
            return {"low": max(-1.0, found - reach), "high": min(1.0, found + reach)}
    return percentiles(resampled(kinds, lambda drawn: (drawn[:, 1] - drawn[:, 2]) / len(first)))


def precision_interval(scores: np.ndarray, wanted: np.ndarray) -> Interval:
    """Of the mean average precision of scores [n, classes], over the classes that a resample has pictures of.

    Args:
        wanted: truth values [n, classes], each class with at least one picture.
    """
    count, classes = scores.shape
    total = int(np.clip(MOST_DRAWS // (count * classes), FEWEST_PRECISION, RESAMPLES))
    rng = batch_generator(0, 0, Purpose.RESAMPLING)
    orders = np.argsort(-scores, axis=0, kind="stable")
    samples = np.empty(total)
    for part in _parts(total, count):
        size = part.stop - part.start
        drawn = rng.integers(0, count, (size, count)) + np.arange(size)[:, None] * count
        weights = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)
        found = np.full((size, classes), np.nan)
        for k in range(classes):
            ranked = weights[:, orders[:, k]]
            right = ranked * wanted[orders[:, k], k]
            precision = np.cumsum(right, axis=1) / np.maximum(1, np.cumsum(ranked, axis=1))
            there = right.any(axis=1)
            found[there, k] = ((precision * right).sum(axis=1) / np.maximum(1, right.sum(axis=1)))[there]
        there = np.isfinite(found)
        sums = np.where(there, found, 0).sum(axis=1)
        samples[part] = np.divide(sums, there.sum(axis=1), out=np.full(size, np.nan), where=there.any(axis=1))
    return percentiles(samples[np.isfinite(samples)])  # a resample without any class says nothing


def calibration_interval(places: np.ndarray, gaps: np.ndarray, bins: int) -> Interval:
    """Of the calibration error sum_bins |sum of gaps| / n, from each picture's bin and gap [n].

    A sum of absolute values grows with noise: the error of n pictures is on average larger than that of all
    pictures, and the error of a resample is larger again, by about as much. So the interval is the basic
    bootstrap's, which turns the distances of resamples round (Davison & Hinkley 1997, section 5.2), widened to
    hold the number itself.
    """
    order = np.lexsort((gaps, places))  # the order of the pictures must not matter
    places, gaps = places[order], gaps[order]
    count = len(gaps)
    found = np.abs(np.bincount(places, weights=gaps, minlength=bins)).sum() / count
    total = _resamples(count)
    rng = batch_generator(0, 0, Purpose.RESAMPLING)
    samples = np.empty(total)
    for part in _parts(total, count):
        drawn = rng.integers(0, count, (part.stop - part.start, count))
        rows = np.arange(len(drawn))[:, None] * bins
        sums = np.bincount((places[drawn] + rows).ravel(), gaps[drawn].ravel(), len(drawn) * bins)
        samples[part] = np.abs(sums.reshape(-1, bins)).sum(axis=1) / count
    ends = percentiles(samples)
    low, high = 2 * found - ends["high"], 2 * found - ends["low"]
    return {"low": float(np.clip(low, 0, found)), "high": float(np.clip(high, found, 1))}


def resampled(kinds: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray], seed: int = 0) -> np.ndarray:
    """`statistic` of each resample.

    Args:
        kinds: how many pictures there are of each kind [kinds].
        statistic: how many of each kind were drawn [resamples, kinds] -> a number for each resample.
    """
    count = int(kinds.sum())
    rng = batch_generator(seed, 0, Purpose.RESAMPLING)
    parts = [
        statistic(rng.multinomial(count, kinds / count, size=part.stop - part.start))
        for part in _parts(_resamples(len(kinds)), len(kinds))
    ]
    return np.concatenate(parts)


def percentiles(samples: np.ndarray) -> Interval:
    """The middle `LEVEL` of what came out of the resamples."""
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(samples, [tail, 1 - tail])
    return {"low": float(low), "high": float(high)}


def _smallest_sum(sizes: np.ndarray) -> float:
    """The smallest sum of shares, one for each class, under which all pictures right are no surprise; 0 of no class.

    All n_k pictures of every class are right with probability prod p_k^n_k. Of the p with which that is at least 2.5 %
    the smallest sum has p_k = min(1, c n_k), by Lagrange; with one class it is Clopper and Pearson's bound.
    """
    if not len(sizes):
        return 0.0
    wanted = np.log((1 - LEVEL) / 2)
    low, high = -800.0, -np.log(sizes.min())  # of log c
    for _ in range(100):
        middle = (low + high) / 2
        surprise = (sizes * np.minimum(0, middle + np.log(sizes))).sum() < wanted
        low, high = (middle, high) if surprise else (low, middle)
    return float(np.exp(np.minimum(0, high + np.log(sizes))).sum())


def _resamples(size: int) -> int:
    return int(np.clip(MOST_DRAWS // size, FEWEST, RESAMPLES))


def _parts(resamples: int, size: int) -> Iterator[slice]:
    """Slices of the resamples, each of which holds about `CHUNK` numbers."""
    step = max(1, CHUNK // size)
    return (slice(start, min(start + step, resamples)) for start in range(0, resamples, step))
