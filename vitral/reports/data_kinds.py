"""The kinds of problem that the page of a data check shows, and how a row of the report becomes pictures and words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from vitral.reports.wording import percent


class Side(NamedTuple):
    """A picture, and what is said above its name."""

    picture: str
    label: str = ""


class Kind(NamedTuple):
    """A kind of problem. show: a row of the report to the pictures shown and the words above them."""

    title: str
    field: str
    meaning: str
    show: Callable[[Sequence[Any]], tuple[list[Side], str]]


def _two_splits(row: Sequence[Any]) -> tuple[list[Side], str]:
    how = f"{row[4]}, similarity {row[5]:.2f}" if len(row) > 4 else "same bytes"
    return [Side(row[1], row[0]), Side(row[3], row[2])], how


def _two_labels(row: Sequence[Any]) -> tuple[list[Side], str]:
    return [Side(row[0], row[1]), Side(row[2], row[3])], ""


KINDS = (
    Kind(
        "Unreadable",
        "unreadable",
        "Not a whole picture. Training leaves it out or stops, as told; evaluation counts it as wrong.",
        lambda row: ([Side(row[0])], row[1]),
    ),
    Kind(
        "Leaks",
        "leaks",
        "The same file in two splits: what is measured on it was seen in training.",
        _two_splits,
    ),
    Kind(
        "Near leaks",
        "near_leaks",
        "The same photograph in two splits, changed a little: what is measured on it was seen in training.",
        _two_splits,
    ),
    Kind("Conflicts", "conflicts", "The same file with different labels: at most one is right.", _two_labels),
    Kind(
        "Near conflicts",
        "near_conflicts",
        "The same photograph, changed a little, with different labels.",
        _two_labels,
    ),
    Kind(
        "Suspected labels",
        "suspects",
        "A classifier that never saw the picture's label prefers another, the surest first. Look before you change.",
        lambda row: (
            [Side(row[1], row[0])],
            f"labelled {row[2]} ({percent(row[4], 0)}), looks like {row[3]} ({percent(row[5], 0)})",
        ),
    ),
    Kind("Duplicates", "duplicates", "The same file several times in one split: it counts several times.", _two_splits),
    Kind("Near duplicates", "near_duplicates", "The same photograph several times in one split.", _two_splits),
    Kind(
        "Wrong endings",
        "wrong_ending",
        "The name says another format than the content. vitral reads them all the same; other programs may not.",
        lambda row: ([Side(row[0])], f"is {row[1]}"),
    ),
    Kind(
        "Unusual sizes",
        "size_outliers",
        "Far larger, smaller or longer than the others: often banners, icons or scans.",
        lambda row: ([Side(row[0])], f"{row[1]:,} × {row[2]:,} pixels"),
    ),
    Kind(
        "Unusual modes",
        "odd_modes",
        "Neither RGB nor grey of 8 bits. They are converted when read: alpha is laid over white, 16 bits become 8.",
        lambda row: ([Side(row[0])], str(row[1])),
    ),
    Kind("Nearly one colour", "flat", "There is hardly anything to see.", lambda row: ([Side(str(row))], "")),
)
