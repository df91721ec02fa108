"""A published data set that has been found on the disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vitral.datasets.records import Records


@dataclass(frozen=True)
class Located:
    """Where it is, its splits by their published names, the names of its classes and words for them, where they are
    known, and in what it may differ from the published set, a sentence each."""

    where: str
    splits: Mapping[str, Records]
    classes: tuple[str, ...] | None = None
    doubts: tuple[str, ...] = ()
    descriptions: Mapping[str, str] = field(default_factory=dict)
