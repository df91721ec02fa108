"""All that was seen of a data set: a look at each picture, groups of equal bytes, pairs of near duplicates."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from vitral.checks.alike import Match, near_duplicates
from vitral.checks.look import Look, look_at_all
from vitral.config import MAX_PIXELS
from vitral.data.decode import describe
from vitral.datasets.dataset import Dataset, Source
from vitral.datasets.fingerprint import Place

SMALLEST, LARGE_ENOUGH = 16, 32
"""Pixels of the shorter side: a picture below the first, or a pair below the second, holds too little to compare."""


class Near(NamedTuple):
    """Two pictures of different bytes that show the same: how one became the other, and the correlation."""

    first: Place
    second: Place
    how: str
    similarity: float


@dataclass(frozen=True)
class Examination:
    """What the checks judge.

    Attributes:
        looks: of every picture of every split, in the order of splits and pictures.
        same: groups of at least two readable pictures with the same bytes.
        near: pairs; of pictures with the same bytes in one split, only the first takes part.
    """

    dataset: Dataset
    looks: dict[Place, Look]
    same: list[list[Place]]
    near: list[Near]

    def source(self, place: Place) -> Source:
        """The picture itself."""
        return self.dataset.splits[place.split].sources[place.position]

    def labels(self, place: Place) -> tuple[int, ...]:
        """Its classes."""
        return self.dataset.splits[place.split].labels[place.position]

    def name(self, place: Place) -> str:
        """Its path, or split and position if it is in memory."""
        source = self.source(place)
        return describe(source) if isinstance(source, str | os.PathLike) else f"{place.split}[{place.position}]"


def examine(
    dataset: Dataset, workers: int, max_pixels: int = MAX_PIXELS, tell: Callable[[int], object] = int
) -> Examination:
    """Read and decode every picture of every split, once, in `workers` threads (0 counts as 1).

    Nothing is raised for a picture. `tell` hears how many have been looked at.
    """
    places = [Place(name, i) for name, split in dataset.splits.items() for i in range(len(split))]
    found = look_at_all([dataset.splits[name].sources[i] for name, i in places], workers, max_pixels, tell)
    looks = dict(zip(places, found, strict=True))
    by_digest: defaultdict[bytes, list[Place]] = defaultdict(list)
    for place, look in looks.items():
        if look.digest is not None and look.reason is None:
            by_digest[look.digest].append(place)
    same = [group for group in by_digest.values() if len(group) > 1]
    return Examination(dataset, looks, same, _near(looks))


def _near(looks: dict[Place, Look]) -> list[Near]:
    firsts: dict[tuple[bytes | None, str], Place] = {}
    for place, look in looks.items():
        if look.thumbnail is not None and min(look.upright_size) >= SMALLEST:
            firsts.setdefault((look.digest, place.split), place)
    places = list(firsts.values())
    if len(places) < 2:
        return []
    splits = sorted({place.split for place in places})
    matches = near_duplicates(
        np.stack([pixels for place in places if (pixels := looks[place].thumbnail) is not None]),
        np.array([looks[place].colour for place in places]),
        [splits.index(place.split) for place in places],
    )
    return [near for match in matches if (near := _described(match, places, looks)) is not None]


def _described(match: Match, places: Sequence[Place], looks: dict[Place, Look]) -> Near | None:
    first, second = places[match.first], places[match.second]
    a, b = looks[first], looks[second]
    if a.digest == b.digest or max(min(a.upright_size), min(b.upright_size)) < LARGE_ENOUGH:
        return None
    return Near(first, second, _how(match, a, b), round(match.similarity, 4))


def _how(match: Match, a: Look, b: Look) -> str:
    """What turns one into the other, in words."""
    part, whole = (a, b) if match.cropped == match.first else (b, a)
    across, down = match.kept[1], match.kept[0]
    (width, height), (full_width, full_height) = part.upright_size, whole.upright_size
    scales = (width / (full_width * across), height / (full_height * down))
    words = [
        "mirrored" if match.mirrored else "",
        "cropped" if across * down < 0.97 else "",
        "resized" if any(abs(scale - 1) > 0.06 for scale in scales) else "",
    ]
    return ", ".join(word for word in words if word) or "encoded anew"
