"""Is a data set sound? Every picture is looked at once; what is wrong with it is a report.

examine(dataset, workers)   what is seen            vitral.checks.examination
judge(examination)          what is wrong           here
suspects(...)               labels that are likely wrong, by a model's features    vitral.checks.suspects
propose(examination)        a clean split           vitral.checks.clean
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from vitral.checks import census
from vitral.checks.alike import FLAT
from vitral.checks.examination import Examination, Near, examine
from vitral.checks.report import SMALL_CLASS, CheckReport, named
from vitral.checks.shortcuts import Shortcut, shortcuts
from vitral.config import MAX_PIXELS
from vitral.datasets.dataset import TRAIN, Dataset
from vitral.datasets.fingerprint import Place, pairs

__all__ = ["CheckReport", "Examination", "check", "examine", "judge"]


def check(dataset: Dataset, workers: int, max_pixels: int = MAX_PIXELS) -> CheckReport:
    """Read and decode every picture of every split, in `workers` threads (0 counts as 1), and judge what was seen.

    Nothing is raised for a picture: what is wrong with it is in the report.
    """
    return judge(examine(dataset, workers, max_pixels))


def judge(seen: Examination) -> CheckReport:
    """The report on what was seen."""
    dataset, looks = seen.dataset, seen.looks
    headers = [look.header for look in looks.values() if look.header is not None]
    crossing, inside = _firsts(seen.near), _firsts(seen.near, within=True)
    return CheckReport(
        counts={name: census.class_counts(split, dataset.classes) for name, split in dataset.splits.items()},
        width=census.spread([header.width for header in headers]),
        height=census.spread([header.height for header in headers]),
        formats=dict(Counter(header.format for header in headers).most_common()),
        modes=dict(Counter(header.mode for header in headers).most_common()),
        unreadable=tuple((seen.name(place), look.reason) for place, look in looks.items() if look.reason),
        wrong_ending=tuple(census.wrong_endings(seen)),
        leaks=tuple(_rows(seen, pairs(seen.same, within=False))),
        duplicates=tuple(_rows(seen, pairs(seen.same, within=True))),
        conflicts=tuple(_conflicts(seen, ((group[0], place) for group in seen.same for place in group[1:]))),
        imbalance=census.imbalance(dataset),
        near_leaks=tuple((*_row(seen, near.first, near.second), near.how, near.similarity) for near in crossing),
        near_duplicates=tuple((*_row(seen, near.first, near.second), near.how, near.similarity) for near in inside),
        near_conflicts=tuple(_conflicts(seen, ((near.first, near.second) for near in seen.near))),
        shortcuts=named(_shortcuts(seen), dataset.classes),
        small_classes=census.small_classes(dataset, SMALL_CLASS),
        odd_modes=tuple(census.odd_modes(seen)),
        rotated=sum(look.orientation != 1 for look in looks.values()),
        size_outliers=tuple(census.size_outliers(seen)),
        flat=tuple(
            seen.name(place)
            for place, look in looks.items()
            if look.thumbnail is not None and look.thumbnail.std() < FLAT
        ),
        only_class=dataset.classes[0] if len(dataset.classes) == 1 and not dataset.multi_label else None,
        tiny=sum(look.thumbnail is not None and census.is_tiny(look.upright_size) for look in looks.values()),
    )


def _firsts(near: Iterable[Near], within: bool = False) -> list[Near]:
    """Each picture with the first of its near duplicates in another split, or in the same one."""
    found: dict[tuple[Place, str], Near] = {}
    for one in near:
        if (one.first.split == one.second.split) == within:
            found.setdefault((one.second, one.first.split), one)
    return list(found.values())


def _rows(seen: Examination, found: Iterable[tuple[Place, Place]]) -> Iterator[tuple[str, str, str, str]]:
    for first, second in found:
        yield _row(seen, first, second)


def _row(seen: Examination, first: Place, second: Place) -> tuple[str, str, str, str]:
    return first.split, seen.name(first), second.split, seen.name(second)


def _conflicts(seen: Examination, found: Iterable[tuple[Place, Place]]) -> Iterator[tuple[str, str, str, str]]:
    def words(place: Place) -> str:
        return ", ".join(census.class_names(seen.labels(place), seen.dataset.classes))

    for first, second in found:
        if seen.labels(first) != seen.labels(second):
            yield seen.name(first), words(first), seen.name(second), words(second)


def _shortcuts(seen: Examination) -> Sequence[Shortcut]:
    """What predicts the label in train, or in all there is without train."""
    if seen.dataset.multi_label:
        return []
    known = [
        (look, seen.labels(place)[0])
        for place, look in seen.looks.items()
        if look.thumbnail is not None
        and len(seen.labels(place)) == 1
        and seen.labels(place)[0] >= 0
        and (place.split == TRAIN or TRAIN not in seen.dataset.splits)
    ]
    return shortcuts([look for look, _ in known], [label for _, label in known])
