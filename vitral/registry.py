"""Look a name up in a table of members; a miss lists the nearest names."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from vitral.errors import UsageError

Member = TypeVar("Member")


def nearest(name: str, candidates: Iterable[str], count: int = 3) -> list[str]:
    """The up to `count` candidates that look most like `name`, best first, ignoring case."""
    by_lower = {candidate.lower(): candidate for candidate in candidates}
    close = difflib.get_close_matches(name.lower(), by_lower, n=count, cutoff=0.5)
    return [by_lower[key] for key in close]


def nearest_path(path: Path, fits: Callable[[Path], bool]) -> Path | None:
    """What stands beside a path that is not there, is of the wanted kind and has nearly its name, if anything does."""
    try:
        beside = {entry.name: entry for entry in sorted(path.parent.iterdir())}
        close = difflib.get_close_matches(
            path.name.lower(), {name.lower() for name in beside}, n=len(beside) or 1, cutoff=0.75
        )
        found = (entry for lower in close for name, entry in beside.items() if name.lower() == lower)
        return next((entry for entry in found if fits(entry)), None)
    except OSError:  # a folder that cannot be listed suggests nothing
        return None


def look_up(kind: str, name: str, members: Mapping[str, Member]) -> Member:
    """`members[name]`.

    Raises:
        UsageError: there is no such member; the message names `kind`, the nearest names, or all of them.
    """
    if name in members:
        return members[name]
    close = nearest(name, members)
    way_out = f"did you mean {' or '.join(close)}?" if close else f"choose one of {', '.join(members)}."
    raise UsageError(f"unknown {kind} {name!r}: {way_out}")
