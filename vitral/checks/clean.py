"""A proposed clean split, as a table that `vitral finetune` takes. The pictures themselves are never touched."""

from __future__ import annotations

import csv
import io
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from vitral.checks.examination import Examination
from vitral.datasets.dataset import TEST, TRAIN, VALIDATION
from vitral.datasets.fingerprint import Place
from vitral.datasets.splits import listed
from vitral.errors import DataError, StorageError, UsageError

RANK = {TRAIN: 0, VALIDATION: 1, TEST: 2}
"""Of two splits with the same picture, the one of higher rank keeps it."""


class Proposal(NamedTuple):
    """kept: pictures of the clean split, in order. dropped: the others, each with the reason."""

    kept: list[Place]
    dropped: dict[Place, str]


def propose(seen: Examination, drop_conflicts: bool = False) -> Proposal:
    """Which pictures to keep.

    Left out are unreadable pictures; those of train that have an exact or near copy in validation or test, and those
    of validation with one in test; with `drop_conflicts`, every copy of a picture with two labels. Where train is
    still to be cut for validation, only the first of several copies within it stays: the cut would tear them apart.

    Raises:
        DataError: fewer than two classes would be left in train (one, if multi-label).
    """
    dropped: dict[Place, str] = {}
    for place, look in seen.looks.items():
        if look.reason is not None:
            dropped[place] = f"unreadable: {look.reason}"
    for first, second in _conflicts(seen) if drop_conflicts else ():
        dropped.setdefault(first, f"{seen.name(second)} is a copy with another label")
        dropped.setdefault(second, f"{seen.name(first)} is a copy with another label")
    for first, second in _copies(seen):
        low, high = sorted((first, second), key=lambda place: RANK[place.split])
        if low.split != high.split and high not in dropped:
            dropped.setdefault(low, f"a copy is in {high.split}: {seen.name(high)}")
    uncut = VALIDATION not in seen.dataset.splits
    for first, second in _copies(seen) if uncut else ():
        if first.split == second.split == TRAIN and first not in dropped:
            dropped.setdefault(second, f"a copy of {seen.name(first)}, which stays")
    paths: dict[str, Place] = {}
    for place in seen.looks:
        if place not in dropped and paths.setdefault(seen.name(place), place) != place:
            dropped[place] = "listed twice"
    _drop_lost_classes(seen, dropped)
    return Proposal([place for place in seen.looks if place not in dropped], dropped)


def _copies(seen: Examination) -> Iterator[tuple[Place, Place]]:
    """Every pair of exact or near copies, in the order of splits and pictures."""
    twins: defaultdict[Place, list[Place]] = defaultdict(list)
    for group in seen.same:
        firsts: dict[str, Place] = {}
        for place in group:
            if firsts.setdefault(place.split, place) != place:
                twins[firsts[place.split]].append(place)
        # Each with the first of every split: all pairs of a large group would be too many.
        for place in group:
            for first in firsts.values():
                if first != place and not (firsts.get(place.split) == place and first > place):
                    yield (first, place) if first.split == place.split else (place, first)
    for near in seen.near:
        for first in (near.first, *twins[near.first]):
            for second in (near.second, *twins[near.second]):
                yield first, second


def _conflicts(seen: Examination) -> Iterator[tuple[Place, Place]]:
    """Each copy of a picture that has several labels, with one of another label."""
    for group in seen.same:
        by_label = {seen.labels(place): place for place in group}
        for place in group:
            yield from ((place, other) for labels, other in by_label.items() if labels != seen.labels(place))
    for first, second in _copies(seen):
        if seen.labels(first) != seen.labels(second):
            yield first, second


def _drop_lost_classes(seen: Examination, dropped: dict[Place, str]) -> None:
    """A class that has no picture of train left cannot be learned, so it leaves the other splits too."""
    before: set[int] = set()
    after: set[int] = set()
    for place in seen.looks:
        if place.split == TRAIN:
            before.update(seen.labels(place))
            after.update(seen.labels(place) if place not in dropped else ())
    lost = before - after
    if len(after) < (1 if seen.dataset.multi_label else 2):
        names = [seen.dataset.classes[label] for label in sorted(after)]
        raise DataError(
            f"a clean split would leave train {listed(names) if names else 'no class'} of {len(before)} classes: add "
            f"pictures that stand in no other split, see `vitral data check --json`."
        )
    for place in seen.looks:
        if lost & set(seen.labels(place)):
            dropped.setdefault(place, "its class has no picture of train left")


def write_table(seen: Examination, proposal: Proposal, path: Path) -> list[str]:
    """Write columns path, label (labels, with ';' between them, if multi-label) and split, and say what was left out.

    Paths start from the table's folder if they lie in it, else from the root.

    Returns:
        pictures whose name is not UTF-8, which the table cannot hold.

    Raises:
        UsageError: a class of multi-label data has a ';' in its name.
        StorageError: the table exists or cannot be written.
    """
    many = seen.dataset.multi_label
    divided = [name for name in seen.dataset.classes if ";" in name]
    if many and divided:
        raise UsageError(f"a table cannot hold class names with ';': rename {listed(divided)}.")
    folder = os.path.abspath(path.parent)  # noqa: PTH100 - links stay as they are
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(("path", "labels" if many else "label", "split"))
    nameless = []
    for place in proposal.kept:
        source = os.path.abspath(seen.source(place))  # noqa: PTH100
        shown = source.removeprefix(folder.rstrip(os.sep) + os.sep)
        try:
            shown.encode()
        except UnicodeEncodeError:
            nameless.append(seen.name(place))
            continue
        names = [seen.dataset.classes[label] for label in seen.labels(place)]
        writer.writerow((shown, ";".join(names), place.split))
    try:
        with path.open("x", encoding="utf-8", newline="") as file:
            file.write(text.getvalue())
    except OSError as error:
        raise StorageError(
            f"cannot write {path} ({error.strerror}): name a new file in a folder that exists."
        ) from None
    return nameless
