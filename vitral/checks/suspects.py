"""Labels that are likely wrong, by confident learning (Northcutt et al., arXiv 1911.00068).

A frozen network's features, a linear classifier that never learned from the picture it judges, and for each class
a threshold of its own. Letters: n pictures, R features, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from vitral.checks.examination import Examination
from vitral.checks.folds import folds_of
from vitral.datasets.dataset import Source
from vitral.datasets.fingerprint import Place
from vitral.errors import UsageError
from vitral.logistic import Logistic

DECAY = 0.1
"""Of the squared weights, on features of unit variance: strong, so that wrong labels are not learned by heart."""


class Suspect(NamedTuple):
    """A picture, by position, whose label is likely wrong; labels are classes, with the model's probability of each."""

    position: int
    given: int
    suggested: int
    given_probability: float
    suggested_probability: float


def find_suspects(features: np.ndarray, labels: Sequence[int], groups: Sequence[int] | None = None) -> list[Suspect]:
    """Pictures whose label is likely wrong, the widest margin between the two classes first.

    A class's threshold is the mean probability that its own pictures give it (equation 2 of the paper). A picture
    counts for the likeliest of the classes whose threshold it reaches (the confident joint, equation 1, scaled to
    the size of each class as in equation 3). What the joint holds off its diagonal says how many labels are wrong;
    that many are named, by their margin, unless the classifier itself agrees with the label.

    Args:
        features: [n, R] float32.
        labels: the class of each, 0 or more. Pictures of a class with fewer than two are never suspect.
        groups: pictures of one group (copies of each other) are judged by the same classifier, which has seen none
            of them; by default each is its own.
    """
    given = np.asarray(labels, dtype=int)
    present, classes, counts = np.unique(given, return_inverse=True, return_counts=True)
    if len(present) < 2:
        return []
    folds = folds_of(classes, None if groups is None else np.asarray(groups))
    probabilities = _out_of_fold(features, classes, len(present), folds)
    own = probabilities[np.arange(len(given)), classes]
    thresholds = np.bincount(classes, weights=own) / counts
    confident = np.where(probabilities >= thresholds, probabilities, 0.0)
    counted = np.flatnonzero(confident.any(axis=1))
    joint = np.zeros((len(present), len(present)))
    np.add.at(joint, (classes[counted], confident[counted].argmax(axis=1)), 1)
    joint *= (counts / np.maximum(joint.sum(axis=1), 1))[:, None]
    wrong = round(float(joint.sum() - np.trace(joint)))

    best = probabilities.argmax(axis=1)
    likeliest = probabilities[np.arange(len(given)), best]
    order = np.argsort(own - likeliest, kind="stable")[:wrong]
    return [
        Suspect(int(i), int(given[i]), int(present[best[i]]), float(own[i]), float(likeliest[i]))
        for i in order
        if best[i] != classes[i] and counts[classes[i]] > 1
    ]


def _out_of_fold(features: np.ndarray, classes: np.ndarray, count: int, folds: np.ndarray) -> np.ndarray:
    """[n, K]: each picture's probabilities by the classifier that learned from the other folds."""
    probabilities = np.zeros((len(classes), count), dtype=np.float32)
    for fold in np.unique(folds):
        here, others = folds == fold, folds != fold
        fitted = Logistic(features[others], classes[others], count, DECAY)
        probabilities[here] = fitted.scores(features[here]).softmax(dim=1).numpy()
    return probabilities


def suspects(
    seen: Examination, features: Callable[[list[Source]], np.ndarray]
) -> tuple[tuple[str, str, str, str, float, float], ...]:
    """(split, picture, its class, the likely class, probability of each) of likely wrong labels, the surest first.

    Args:
        features: pictures to one vector each [n, R]; only readable pictures with one known label are asked about.

    Raises:
        UsageError: the data is multi-label.
    """
    if seen.dataset.multi_label:
        raise UsageError("wrong labels can be told where each picture has one label: leave --model out.")
    places = [
        place
        for place, look in seen.looks.items()
        if look.reason is None and len(seen.labels(place)) == 1 and seen.labels(place)[0] >= 0
    ]
    labels = [seen.labels(place)[0] for place in places]
    if len(set(labels)) < 2:
        return ()
    groups = _groups(seen)
    found = find_suspects(
        features([seen.source(place) for place in places]),
        labels,
        [groups.get(place, len(seen.looks) + k) for k, place in enumerate(places)],
    )
    classes = seen.dataset.classes
    return tuple(
        (
            places[one.position].split,
            seen.name(places[one.position]),
            classes[one.given],
            classes[one.suggested],
            round(one.given_probability, 4),
            round(one.suggested_probability, 4),
        )
        for one in found
    )


def _groups(seen: Examination) -> dict[Place, int]:
    """A number for each picture that has a copy, the same for all that copies connect."""
    parents: dict[Place, Place] = {}

    def root(place: Place) -> Place:
        while parents.setdefault(place, place) != place:
            parents[place] = place = parents[parents[place]]
        return place

    pairs = [(group[0], place) for group in seen.same for place in group[1:]]
    for first, second in pairs + [(near.first, near.second) for near in seen.near]:
        parents[root(second)] = root(first)
    numbers: dict[Place, int] = {}
    return {place: numbers.setdefault(root(place), len(numbers)) for place in list(parents)}
