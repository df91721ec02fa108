"""What happened to every tensor of a file on its way into a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vitral.errors import DataError, one_line
from vitral.registry import nearest


@dataclass
class LoadReport:
    """An account of a load. Nothing is read without appearing here, and nothing unexplained is let through.

    Attributes:
        source: the file or folder.
        layout: whose names the file uses.
        read: how many tensors went in, resized ones included.
        renamed: (name in the file, name in the model) where they differ.
        reformed: how many were transposed, joined and so on, by what was done.
        resized: (name, shape in the file, shape in the model).
        reinitialised: names that start from their initial values instead of the file's.
        dropped: names in the file that the model does not want, with the reason.
        notes: what else there is to say about the file.
    """

    source: str
    layout: str
    read: int = 0
    renamed: list[tuple[str, str]] = field(default_factory=list)
    reformed: dict[str, int] = field(default_factory=dict)
    resized: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = field(default_factory=list)
    reinitialised: list[str] = field(default_factory=list)
    dropped: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """The account in one line per kind of event, whatever names stand in the file."""
        done = "".join(f", {count} {what}" for what, count in self.reformed.items())
        said = [
            f"{self.read} tensors read from {self.source} ({self.layout} layout, {len(self.renamed)} renamed{done})"
        ]
        said += self.notes
        for name, old, new in self.resized:
            said.append(f"{name} resized from {list(old)} to {list(new)}")
        if self.reinitialised:
            said.append(f"starting anew: {', '.join(self.reinitialised)}")
        for reason in dict.fromkeys(reason for _, reason in self.dropped):
            first, *others = [name for name, why in self.dropped if why == reason]
            said.append(f"left out {first}{f' and {len(others)} more' if others else ''}: {reason}")
        return list(map(one_line, said))


def require_no_differences(
    source: str | Path, missing: Sequence[str], extra: Sequence[str], other: Sequence[str] = ()
) -> None:
    """Refuse a file whose tensors are not those of the model.

    Args:
        missing: names of the model's that the file lacks.
        extra: names of the file's that the model lacks.
        other: see `other_shape`.

    Raises:
        DataError: there are any; both sides are listed.
    """
    said = _both_sides(missing, extra)
    if other:
        said.append("of another shape " + "; ".join(other[:3]) + _more(other, 3))
    if said:
        raise DataError(f"{source} does not fit the model: {'; '.join(said)}.")


def other_shape(name: str, given: Sequence[int], wanted: Sequence[int]) -> str:
    """How a tensor's shapes in the file and in the model are said to differ."""
    return f"{name}: {list(given)} in the file, {list(wanted)} in the model"


def _both_sides(missing: Sequence[str], extra: Sequence[str]) -> list[str]:
    said = []
    if missing:
        said.append("missing " + ", ".join(_with_nearest(name, extra) for name in missing[:5]) + _more(missing))
    if extra:
        said.append("left over " + ", ".join(extra[:5]) + _more(extra))
    return said


def _with_nearest(name: str, candidates: Sequence[str]) -> str:
    close = nearest(name, candidates, 1)
    return f"{name} (nearest in the file: {close[0]})" if close else name


def _more(items: Sequence[object], shown: int = 5) -> str:
    return f" and {len(items) - shown} more" if len(items) > shown else ""
