"""The pictures of a study: some classes to pre-train on, others to transfer to, and parts of either."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vitral.config import DataConfig
from vitral.datasets import read
from vitral.datasets.dataset import TEST, TRAIN, VALIDATION, Dataset, Split
from vitral.errors import UsageError

HELD_OUT = 0.2
"""Share of the pictures that results are measured on, where the data has no split for it."""

FEWEST_CLASSES = 4
"""That can be halved into two tasks."""


def read_pictures(path: str) -> Dataset:
    """Train and test; with a validation split beside the test split, that belongs to train, else it is the test split.

    Raises:
        UsageError: there is nothing to measure on. DataError, MissingInputError: as `vitral.datasets.read`.
    """
    dataset = read(DataConfig(path=path, validation_fraction=0.0))
    if TEST not in dataset.splits and VALIDATION not in dataset.splits:
        dataset = read(DataConfig(path=path, validation_fraction=HELD_OUT))
    train, validation, test = (dataset.splits.get(name) for name in (TRAIN, VALIDATION, TEST))
    assert train is not None
    if test is None:
        test = validation
    elif validation is not None:
        train = Split([*train.sources, *validation.sources], [*train.labels, *validation.labels])
    if test is None:
        raise UsageError(f"{path!r} has too few pictures to measure on any: add a split test.")
    return replace(dataset, splits={TRAIN: train, TEST: test}, cut=None)


def halves(dataset: Dataset) -> tuple[Dataset, Dataset]:
    """Every other class to pre-train on, and the ones between to transfer to.

    Raises:
        UsageError: there are too few.
    """
    count = len(dataset.classes)
    if count < FEWEST_CLASSES:
        raise UsageError(
            f"{count} classes are too few to pre-train on some and transfer to others ({FEWEST_CLASSES} at least): "
            "name other pictures to transfer to with --transfer-to."
        )
    return of_classes(dataset, range(0, count, 2)), of_classes(dataset, range(1, count, 2))


def of_classes(dataset: Dataset, kept: Sequence[int]) -> Dataset:
    """The pictures of some classes alone."""
    place = {k: i for i, k in enumerate(kept)}
    splits = {}
    for name, split in dataset.splits.items():
        there = [i for i, own in enumerate(split.labels) if own[0] in place]
        splits[name] = Split([split.sources[i] for i in there], [(place[split.labels[i][0]],) for i in there])
    return replace(dataset, classes=tuple(dataset.classes[k] for k in kept), splits=splits)


def part(dataset: Dataset, share: float, seed: int = 0) -> Dataset:
    """A share of each class's training pictures, one at least; a larger share holds a smaller one of the same seed."""
    counts = np.bincount([own[0] for own in dataset.splits[TRAIN].labels], minlength=len(dataset.classes))
    return _kept(dataset, [max(1, round(share * count)) for count in counts], seed)


def few(dataset: Dataset, pictures: int, seed: int = 0) -> Dataset:
    """So many training pictures of each class; all of them if it is 0."""
    return _kept(dataset, [pictures] * len(dataset.classes), seed) if pictures else dataset


def unlabelled(dataset: Dataset) -> Dataset:
    """The training pictures alone."""
    train = dataset.splits[TRAIN]
    return replace(dataset, classes=(), splits={TRAIN: Split(train.sources, [()] * len(train))})


def _kept(dataset: Dataset, most: Sequence[int], seed: int) -> Dataset:
    train = dataset.splits[TRAIN]
    labels = np.array([own[0] for own in train.labels])
    rng = np.random.default_rng(seed)
    drawn = [rng.permutation(np.flatnonzero(labels == k))[: most[k]] for k in range(len(dataset.classes))]
    kept = np.sort(np.concatenate(drawn))
    thin = Split([train.sources[i] for i in kept], [train.labels[i] for i in kept])
    return replace(dataset, splits={**dataset.splits, TRAIN: thin})
