"""Look at every picture of a data set once, and say what is wrong: unreadable, mislabelled, repeated, leaked."""

from __future__ import annotations

import dataclasses
import os
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import PurePath
from typing import Any, NamedTuple

from vitral.data.decode import decode, describe, read_bytes, read_header
from vitral.data.header import Header
from vitral.datasets.dataset import TRAIN, Dataset, Source, Split
from vitral.datasets.fingerprint import Pair, Place, pairs
from vitral.datasets.scan import ENDINGS
from vitral.errors import UnreadableImageError

CHUNK = 64
"""Pictures that a thread takes at a time."""

IMBALANCED = 10
"""Largest over smallest class of train from which the report speaks of imbalance."""


@dataclass(frozen=True)
class CheckReport:
    """What was found. Pictures are named by path, or by split and position if they are in memory.

    Attributes:
        counts: split -> class -> pictures. "(unknown)" is a class the model lacks, "(none)" a picture without label.
        width, height: smallest, median and largest, in pixels as stored, of the pictures whose header can be read.
        formats, modes: how many pictures have each file format and colour mode.
        unreadable: (picture, reason).
        wrong_ending: (picture, the format that it has); such pictures are read all the same.
        leaks: (split, picture, split, picture) with the same bytes in two splits.
        duplicates: likewise, within one split.
        conflicts: (picture, its classes, picture, its classes): same bytes, different labels.
        imbalance: pictures in the largest class of train over those in the smallest; None without train.
    """

    counts: dict[str, dict[str, int]]
    width: tuple[int, int, int] | None
    height: tuple[int, int, int] | None
    formats: dict[str, int]
    modes: dict[str, int]
    unreadable: tuple[tuple[str, str], ...]
    wrong_ending: tuple[tuple[str, str], ...]
    leaks: tuple[Pair, ...]
    duplicates: tuple[Pair, ...]
    conflicts: tuple[tuple[str, str, str, str], ...]
    imbalance: float | None

    def to_json(self) -> dict[str, Any]:
        """Every attribute under its own name, and `problems`, in types that JSON has."""
        return {**dataclasses.asdict(self), "problems": self.problems()}

    def problems(self) -> list[str]:
        """One sentence for each kind of problem, the worst first; empty if there is none."""
        said = []
        if self.unreadable:
            shown = _some(f"{picture} ({reason})" for picture, reason in self.unreadable)
            said.append(f"{_count(self.unreadable, 'picture')} cannot be read: {shown}")
        if self.leaks:
            shown = _some(f"{a} {first} = {b} {copy}" for a, first, b, copy in self.leaks)
            said.append(
                f"{_count(self.leaks, 'copy', 'copies')} of one split's pictures in another, byte for byte, so "
                f"measured accuracy is too good: {shown}"
            )
        if self.conflicts:
            shown = _some(f"{first} ({a}) = {copy} ({b})" for first, a, copy, b in self.conflicts)
            said.append(f"{_count(self.conflicts, 'copy', 'copies')} with other labels than the original: {shown}")
        if self.duplicates:
            shown = _some(f"{a} {first} = {copy}" for a, first, _, copy in self.duplicates)
            said.append(f"{_count(self.duplicates, 'copy', 'copies')} within one split: {shown}")
        if self.imbalance is not None and self.imbalance >= IMBALANCED:
            said.append(f"the largest class of train has {self.imbalance:.0f} times the pictures of the smallest")
        if self.wrong_ending:
            shown = _some(f"{picture} is {kind}" for picture, kind in self.wrong_ending)
            said.append(f"{_count(self.wrong_ending, 'picture')} can be read, but not by the ending: {shown}")
        return said


def _some(words: Iterable[str], limit: int = 3) -> str:
    shown = list(words)
    return "; ".join(shown[:limit]) + ("; ..." if len(shown) > limit else "")


def _count(found: Sequence[Any], one: str, several: str | None = None) -> str:
    return f"{len(found):,} {one if len(found) == 1 else several or one + 's'}"


class _Look(NamedTuple):
    """What one picture shows: its header, a digest of its content, and why it cannot be read."""

    header: Header | None
    digest: bytes | None
    reason: str | None


def check(dataset: Dataset, workers: int, max_pixels: int = 89_478_485) -> CheckReport:
    """Read and decode every picture of every split, in `workers` threads (0 counts as 1).

    Nothing is raised for a picture: what is wrong with it is in the report.
    """
    places = [Place(name, i) for name, split in dataset.splits.items() for i in range(len(split))]
    looks = _look_at_all([dataset.splits[name].sources[i] for name, i in places], workers, max_pixels)
    named = {place: _name(dataset.splits[place.split], place) for place in places}
    headers = [look.header for look in looks if look.header is not None]
    same = _same_content(places, looks)
    leaks, duplicates = pairs(same, within=False), pairs(same, within=True)
    return CheckReport(
        counts={name: _class_counts(split, dataset.classes) for name, split in dataset.splits.items()},
        width=_spread([header.width for header in headers]),
        height=_spread([header.height for header in headers]),
        formats=dict(Counter(header.format for header in headers).most_common()),
        modes=dict(Counter(header.mode for header in headers).most_common()),
        unreadable=tuple((named[p], look.reason) for p, look in zip(places, looks, strict=True) if look.reason),
        wrong_ending=tuple(_wrong_endings(dataset, places, looks)),
        leaks=tuple((a.split, named[a], b.split, named[b]) for a, b in leaks),
        duplicates=tuple((a.split, named[a], b.split, named[b]) for a, b in duplicates),
        conflicts=tuple(_conflicts(dataset, same, named)),
        imbalance=_imbalance(dataset),
    )


def _look_at_all(sources: Sequence[Source], workers: int, max_pixels: int) -> list[_Look]:
    def chunk(start: int) -> list[_Look]:
        return [_look(source, max_pixels) for source in sources[start : start + CHUNK]]

    with ThreadPoolExecutor(max(workers, 1), thread_name_prefix="vitral-check") as pool:
        return [look for looks in pool.map(chunk, range(0, len(sources), CHUNK)) for look in looks]


def _look(source: Source, max_pixels: int) -> _Look:
    header = digest = None
    try:
        if isinstance(source, str | bytes | os.PathLike):
            source = read_bytes(source)
            digest = blake2b(source).digest()
            header = read_header(source)
            decode(source, max_pixels)
        else:
            pixels = decode(source, max_pixels)
            header = Header("memory", pixels.shape[1], pixels.shape[0], "RGB")
            digest = blake2b(repr(pixels.shape).encode() + pixels.tobytes()).digest()
    except UnreadableImageError as error:
        return _Look(header, digest, error.reason)
    return _Look(header, digest, None)


def _name(split: Split, place: Place) -> str:
    source = split.sources[place.position]
    return describe(source) if isinstance(source, str | os.PathLike) else f"{place.split}[{place.position}]"


def _same_content(places: Sequence[Place], looks: Sequence[_Look]) -> list[list[Place]]:
    """Groups of at least two readable pictures with the same bytes."""
    by_digest: defaultdict[bytes, list[Place]] = defaultdict(list)
    for place, look in zip(places, looks, strict=True):
        if look.digest is not None and look.reason is None:
            by_digest[look.digest].append(place)
    return [group for group in by_digest.values() if len(group) > 1]


def _conflicts(
    dataset: Dataset, groups: Iterable[Sequence[Place]], named: Mapping[Place, str]
) -> Iterator[tuple[str, str, str, str]]:
    def labels(place: Place) -> tuple[int, ...]:
        return dataset.splits[place.split].labels[place.position]

    for group in groups:
        first = group[0]
        for place in group[1:]:
            if labels(place) != labels(first):
                words = [", ".join(_class_names(labels(p), dataset.classes)) for p in (first, place)]
                yield named[first], words[0], named[place], words[1]


def _wrong_endings(dataset: Dataset, places: Sequence[Place], looks: Sequence[_Look]) -> Iterator[tuple[str, str]]:
    for (name, position), look in zip(places, looks, strict=True):
        source = dataset.splits[name].sources[position]
        if look.header is not None and isinstance(source, str | os.PathLike):
            expected = ENDINGS.get(PurePath(source).suffix.lower())
            if expected != look.header.format:
                yield describe(source), look.header.format


def _class_names(labels: Sequence[int], classes: Sequence[str]) -> list[str]:
    return [classes[label] if label >= 0 else "(unknown)" for label in labels] or ["(none)"]


def _class_counts(split: Split, classes: Sequence[str]) -> dict[str, int]:
    """Pictures of each class, also of those with none, in the order of the classes."""
    counts = dict.fromkeys(classes, 0)
    for labels, count in Counter(split.labels).items():
        for name in _class_names(labels, classes):
            counts[name] = counts.get(name, 0) + count
    return counts


def _spread(values: list[int]) -> tuple[int, int, int] | None:
    return (min(values), statistics.median_low(values), max(values)) if values else None


def _imbalance(dataset: Dataset) -> float | None:
    if TRAIN not in dataset.splits:
        return None
    counts = Counter(label for labels in dataset.splits[TRAIN].labels for label in labels)
    return max(counts.values()) / min(counts.values()) if counts else None
