"""What is wrong with a data set: one field for each kind of problem, and one sentence for each."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from vitral.checks.shortcuts import Shortcut
from vitral.datasets.fingerprint import Pair

IMBALANCED = 10
"""Largest over smallest class of train from which the report speaks of imbalance."""

SMALL_CLASS = 10
"""Pictures of train below which a class is called small."""

Rows = tuple[tuple[Any, ...], ...]


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
        near_leaks: (split, picture, split, picture, how one became the other, similarity up to 1), in two splits.
        near_duplicates: likewise, within one split.
        near_conflicts: as `conflicts`, of near duplicates.
        shortcuts: what each measure other than what is shown says of the class (see `vitral.checks.shortcuts`),
            the best predictor first; empty without single labels.
        suspects: (split, picture, its class, the likely class, the model's probability of each), the surest first;
            None where no model was asked.
        small_classes: class of train -> pictures, where those are fewer than 10.
        odd_modes: (picture, mode) that is neither RGB nor grey of 8 bits; read as `vitral.data.decode` says.
        rotated: pictures that EXIF says to turn or mirror, which is done.
        size_outliers: (picture, width, height) much larger, smaller or longer than the others.
        flat: pictures of nearly one colour; they are compared byte for byte only.
        tiny: pictures too small to be compared other than byte for byte.
        only_class: the class, where there is but one and a picture has one label.
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
    near_leaks: Rows
    near_duplicates: Rows
    near_conflicts: tuple[tuple[str, str, str, str], ...]
    shortcuts: tuple[dict[str, Any], ...]
    small_classes: dict[str, int]
    odd_modes: tuple[tuple[str, str], ...]
    rotated: int
    size_outliers: tuple[tuple[str, int, int], ...]
    flat: tuple[str, ...]
    tiny: int
    suspects: Rows | None = None
    only_class: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Every attribute under its own name, `problems` and `remarks`, in types that JSON has."""
        return {**dataclasses.asdict(self), "problems": self.problems(), "remarks": self.remarks()}

    def problems(self) -> list[str]:
        """One sentence for each kind of problem, the worst first; empty if there is none."""
        said = [
            _say(self.unreadable, "picture", "cannot be read", "{0} ({1})"),
            _say(
                self.leaks,
                "copy",
                "of one split's pictures in another, byte for byte, so measured accuracy is too good",
                "{0} {1} = {2} {3}",
            ),
            _say(
                self.near_leaks,
                "near copy",
                "of one split's pictures in another, so measured accuracy is too good",
                "{0} {1} ~ {2} {3} ({4})",
            ),
            _say(self.conflicts, "copy", "with other labels than the original", "{0} ({1}) = {2} ({3})"),
            _say(self.near_conflicts, "near copy", "with other labels than the original", "{0} ({1}) ~ {2} ({3})"),
            _say(self.suspects or (), "label", "probably wrong", "{1} is {2}, looks like {3}"),
            *self._shortcut_sentences(),
            _say(self.duplicates, "copy", "within one split", "{0} {1} = {3}"),
            _say(self.near_duplicates, "near copy", "within one split", "{0} {1} ~ {3} ({4})"),
        ]
        if self.only_class is not None:
            said.append(f"there is only one class, {self.only_class!r}: training needs at least two")
        if self.imbalance is not None and self.imbalance >= IMBALANCED:
            said.append(f"the largest class of train has {self.imbalance:.0f} times the pictures of the smallest")
        said.append(_say(self.wrong_ending, "picture", "can be read, but not by the ending", "{0} is {1}"))
        return [sentence for sentence in said if sentence]

    def remarks(self) -> list[str]:
        """One sentence for each fact that is good to know and need not be wrong."""
        said = []
        if self.small_classes:
            shown = _some(f"{name} has {count}" for name, count in self.small_classes.items())
            number = len(self.small_classes)
            said.append(
                f"{number:,} {'class' if number == 1 else 'classes'} of train with fewer than {SMALL_CLASS} pictures: "
                f"{shown}"
            )
        said += [
            _say(self.odd_modes, "picture", "neither RGB nor grey of 8 bits, and converted when read", "{0} is {1}"),
            f"{_pictures(self.rotated)} turned upright as EXIF says" if self.rotated else "",
            _say(self.size_outliers, "picture", "of unusual size or shape", "{0} is {1} x {2}"),
            _say([(name,) for name in self.flat], "picture", "of nearly one colour", "{0}"),
            f"{_pictures(self.tiny)} too small to be compared other than byte for byte" if self.tiny else "",
        ]
        return [sentence for sentence in said if sentence]

    def _shortcut_sentences(self) -> list[str]:
        said = []
        for found in self.shortcuts:
            if found["suspicious"]:
                one = found["one_class"] is not None
                what = f"the class {found['one_class']!r} from the others" if one else "the class"
                right, chance, limit = (
                    (found["one_class_accuracy"], 0.5, found["one_class_limit"])
                    if one
                    else (found["accuracy"], found["chance"], found["limit"])
                )
                said.append(
                    f"{found['measure']} alone tells {what} ({right:.1%} right where chance is {chance:.1%} and up to "
                    f"{limit:.1%} may be natural), so a model may learn that instead of what is shown"
                )
        return said


def named(found: Iterable[Shortcut], classes: Sequence[str]) -> tuple[dict[str, Any], ...]:
    """Shortcuts with the class's name in place of its position."""
    return tuple(
        one._asdict() | {"one_class": classes[one.one_class] if one.one_class is not None else None} for one in found
    )


def _say(rows: Sequence[tuple[Any, ...]], thing: str, what: str, form: str) -> str:
    """One sentence with the count and the first few of `rows`; "" for none."""
    several = thing.replace("copy", "copies") if thing.endswith("copy") else thing + "s"
    return (
        f"{len(rows):,} {thing if len(rows) == 1 else several} {what}: {_some(form.format(*row) for row in rows)}"
        if rows
        else ""
    )


def _pictures(count: int) -> str:
    return f"{count:,} {'picture' if count == 1 else 'pictures'}"


def _some(words: Iterable[str], limit: int = 3) -> str:
    shown = list(words)
    return "; ".join(shown[:limit]) + ("; ..." if len(shown) > limit else "")
