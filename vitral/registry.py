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
    return _close(name, candidates, count, cutoff=0.5)


def _close(name: str, candidates: Iterable[str], count: int, cutoff: float) -> list[str]:
    by_lower: dict[str, list[str]] = {}
    for candidate in candidates:
        by_lower.setdefault(candidate.lower(), []).append(candidate)
    close = difflib.get_close_matches(name.lower(), by_lower, n=count, cutoff=cutoff)
    return [candidate for key in close for candidate in by_lower[key]][:count]


def spelled(name: str, candidates: Iterable[str]) -> str:
    """`name` as the candidates spell it: where none is the same, the one that differs in capitals alone, unless there
    are two such; else as it is."""
    names = dict.fromkeys(candidates)
    alike = [candidate for candidate in names if candidate.lower() == name.lower()]
    return alike[0] if name not in names and len(alike) == 1 else name


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


def look_up(kind: str, name: str, members: Mapping[str, Member], listed_by: str = "") -> Member:
    """`members[name]`.

    Args:
        listed_by: the command that lists the members, where there are too many to name them all.

    Raises:
        UsageError: there is no such member; the message names `kind`, the nearest names, or all of them.
    """
    if name in members:
        return members[name]
    close = nearest(name, members)
    way_out = f"did you mean {' or '.join(close)}?" if close else f"choose one of {', '.join(members)}."
    if listed_by:
        close = close or _close(name, members, 3, cutoff=0.0)
        way_out = f"did you mean {' or '.join(close)}? `{listed_by}` lists all."
    raise UsageError(f"unknown {kind} {name!r}: {way_out}")
