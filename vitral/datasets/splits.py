"""The splits that a reader found, by class *name*, and the cut of a validation split out of train.

Readers return `Found`; names become positions only once all splits are known (see `vitral.datasets.labels`).
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

from vitral.datasets.dataset import TEST, TRAIN, VALIDATION

SYNONYMS: dict[str, str] = {
    "train": TRAIN,
    "training": TRAIN,
    "val": VALIDATION,
    "valid": VALIDATION,
    "validation": VALIDATION,
    "dev": VALIDATION,
    "test": TEST,
    "testing": TEST,
}
"""What people call a split, in lower case, and what vitral calls it."""


@dataclass
class Listing:
    """The pictures of one split, in a fixed order, with the names of their classes.

    Attributes:
        base: folder that the pictures' names start from; it does not change what is cut.
        sources: a list of paths, or a sequence of pictures inside archives.
        names: the class names of each picture, one unless the data is multi-label.
        empty: names of classes that have a folder but no picture.
    """

    base: str
    sources: Any = field(default_factory=list)
    names: list[tuple[str, ...]] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.sources)

    def classes(self) -> set[str]:
        """Every class name that a picture has."""
        return {name for names in set(self.names) for name in names}

    def take(self, positions: Sequence[int]) -> Listing:
        """The pictures at these positions, in their order."""
        return Listing(self.base, [self.sources[i] for i in positions], [self.names[i] for i in positions])


@dataclass
class Found:
    """What a reader found.

    Attributes:
        root: the folder, or the table's.
        splits: by vitral's own names; "" alone where the data has no splits.
        notes, warnings: as in `Dataset`.
        name: of a published data set; classes: all of its classes, whether train has pictures of each or not;
            descriptions: words for them.
    """

    root: Path
    splits: dict[str, Listing]
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    name: str = ""
    classes: tuple[str, ...] = ()
    descriptions: Mapping[str, str] = field(default_factory=dict)


def cut_validation(found: Found, fraction: float, seed: int, multi_label: bool) -> None:
    """Where there is no validation split, hold `fraction` of train out as one, and say so in the notes.

    A class of n pictures gives round(fraction * n), but at least 1 of 2 or more and never its last. Which ones
    is a function of the seed, the class and the names of its pictures alone: neither the order nor the other
    classes matter. Multi-label pictures are cut as if they were of one class.
    """
    if VALIDATION in found.splits:
        return
    if fraction == 0:
        found.notes.append("no validation split: nothing is held out, because validation_fraction is 0")
        return
    train = found.splits[TRAIN]
    groups: dict[tuple[str, ...], dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for position, (source, names) in enumerate(zip(train.sources, train.names, strict=True)):
        name = str(source).removeprefix(train.base + os.sep).replace(os.sep, "/")
        groups[() if multi_label else names][name].append(position)
    held = set()
    for names, positions in groups.items():
        for name in held_out(list(positions), fraction, seed, "".join(names)):
            held.update(positions[name])
    alone = sorted(names[0] for names, positions in groups.items() if names and len(positions) == 1)
    if alone:
        found.warnings.append(
            f"{len(alone)} {'class has' if len(alone) == 1 else 'classes have'} a single picture, which stays in "
            f"train and is not validated: {listed(alone)}"
        )
    if not held:
        found.notes.append("no validation split: train has too few pictures to hold any out")
        return
    found.splits[TRAIN] = train.take([i for i in range(len(train)) if i not in held])
    found.splits[VALIDATION] = train.take(sorted(held))
    how = "" if multi_label else "stratified, "
    found.notes.append(
        f"no validation split: {100 * fraction:g} % of train ({len(held)} pictures, {how}seed {seed}) held out"
    )


def held_out(names: Sequence[str], fraction: float, seed: int, group: str) -> list[str]:
    """Which of `names` (no two alike) to hold out: round(fraction * n), at least 1 of 2, at most n - 1."""
    count = min(max(int(fraction * len(names) + 0.5), 1), len(names) - 1)
    key = seed.to_bytes(16, "little", signed=True)

    def draw(name: str) -> tuple[bytes, str]:
        # surrogatepass: names that are not UTF-8 on disk count like any other.
        return blake2b(f"{group}\0{name}".encode("utf-8", "surrogatepass"), key=key, digest_size=16).digest(), name

    return sorted(names, key=draw)[:count]


def listed(names: Sequence[str], limit: int = 10) -> str:
    """Names for a sentence: quoted, the first `limit` of them and the count of the rest."""
    shown = ", ".join(map(repr, names[:limit]))
    return f"{shown} and {len(names) - limit:,} more" if len(names) > limit else shown
