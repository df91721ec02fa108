"""How much of a model's accuracy is left on corrupted pictures: top-1 by corruption and level, and their means."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from vitral.data.corruptions import LEVELS, corrupt
from vitral.data.decode import decode
from vitral.data.loader import Ids, batches
from vitral.data.preprocessing import prepare
from vitral.datasets.dataset import Split
from vitral.evaluators.classification import truths
from vitral.evaluators.intervals import Interval, percentiles, resampled
from vitral.serving.predictor import BATCH_SIZE, Model
from vitral.training.distributed import ALONE, Group

ALEXNET = {
    # error of AlexNet on the published files, mean over the levels (code of arXiv 1903.12261)
    "gaussian_noise": 0.886428, "shot_noise": 0.894468, "impulse_noise": 0.922640,
    "defocus_blur": 0.819880, "glass_blur": 0.826268, "motion_blur": 0.785948, "zoom_blur": 0.798360,
    "snow": 0.866816, "frost": 0.826572, "fog": 0.819324, "brightness": 0.564592,
    "contrast": 0.853204, "elastic_transform": 0.646056, "pixelate": 0.717840, "jpeg_compression": 0.606500,
}  # fmt: skip
"""What a corruption error is divided by (Eq. 1 of the paper), for models of ImageNet's 1,000 classes only."""

KEPT = 4 * BATCH_SIZE
"""Prepared pictures that are kept until all their corruptions are made."""


def measure_corruptions(
    model: Model,
    split: Split,
    names: Sequence[str],
    workers: int,
    max_pixels: int,
    seed: int = 0,
    tell: Callable[[int], object] = int,
    group: Group = ALONE,
) -> dict[str, Any] | None:
    """Top-1 on every picture of `split` under each corruption at each level.

    A picture is corrupted as the model sees it, after it was resized and cut. One that cannot be read counts as
    wrong. The numbers do not depend on `workers`.

    Args:
        names: keys of `vitral.data.corruptions.CORRUPTIONS`.
        seed: of what is random, together with the picture's position, the corruption and the level.
        tell: is told, after each batch, how many pictures are done.
        group: who shares the work.

    Returns:
        `levels` (name -> five shares), `mean` (name -> their mean), `top1` (the mean of those) with its `interval`
        over the pictures, `seed`, and `count`; `None` to a process that does not lead.
    """
    variants = [(name, level) for name in names for level in LEVELS]
    truth = truths(split.labels)
    right = np.zeros((len(split), len(variants)), dtype=bool)

    @functools.lru_cache(KEPT)
    def prepared(sample: int) -> np.ndarray:
        return prepare(decode(split.sources[sample], max_pixels), model.preprocessing)

    def make(variant: int, sample: int) -> np.ndarray:
        return corrupt(prepared(sample), *variants[variant], seed, sample)

    ids = itertools.islice(_picture_by_picture(len(split), len(variants)), group.rank, None, group.size)
    for batch, scores in model.over(batches(ids, make, model.preprocessing.crop, workers, prefetch=2), model.logits):
        if len(batch):
            answers = scores.argmax(dim=1).numpy()
            right[batch.samples, batch.epochs] = answers == truth[batch.samples]
            tell(int(batch.samples.max()) + 1)
    for other in group.together(right.tobytes()):
        right |= np.frombuffer(other, dtype=bool).reshape(right.shape)
    if not group.leads:
        return None
    return {**_summary(right, names), "seed": seed}


def _picture_by_picture(pictures: int, variants: int) -> Iterator[Ids]:
    """All variants of the first picture, then those of the next: (variants, samples) of each batch."""
    total = pictures * variants
    for start in range(0, total, BATCH_SIZE):
        samples, chosen = np.divmod(np.arange(start, min(start + BATCH_SIZE, total)), variants)
        yield chosen, samples


def _summary(right: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    shares = right.mean(axis=0).reshape(len(names), len(LEVELS))
    return {
        "levels": {name: [float(share) for share in row] for name, row in zip(names, shares, strict=True)},
        "mean": {name: float(row.mean()) for name, row in zip(names, shares, strict=True)},
        "top1": float(shares.mean()),
        "interval": _interval(right),
        "count": len(right),
    }


def _interval(right: np.ndarray) -> Interval:
    """Of the mean share, where pictures are drawn again together with all their corruptions."""
    kinds = np.bincount(right.sum(axis=1), minlength=right.shape[1] + 1)
    shares = np.arange(right.shape[1] + 1) / right.shape[1]
    return percentiles(resampled(kinds, lambda drawn: drawn @ shares / len(right)))


def mean_corruption_error(mean: dict[str, float]) -> float | None:
    """The mean of the corruption errors relative to AlexNet's (Eq. 1 of arXiv 1903.12261), 1 for AlexNet itself.

    Args:
        mean: top-1 of each corruption, over its levels; `None` is returned unless all 15 are there.
    """
    if set(mean) != set(ALEXNET):
        return None
    return float(np.mean([(1 - mean[name]) / error for name, error in ALEXNET.items()]))
