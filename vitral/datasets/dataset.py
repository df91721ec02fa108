"""What every reader of data returns: named splits of pictures with labels, and the class names they share.

Nothing here opens a picture. A label is a position in `Dataset.classes`; classes come from the training
split, and every other split is matched to them by *name*.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

Source: TypeAlias = Any
"""A picture not yet decoded: a path, encoded bytes, a `PIL.Image.Image`, or an array [height, width, 3] uint8."""

TRAIN, VALIDATION, TEST = "train", "validation", "test"


@dataclass(frozen=True)
class Split:
    """Pictures with their labels, in a fixed order: the position in it is the sample's id.

    `labels[i]` holds the classes of picture i: one for single-label data, any number for multi-label data.
    A label of -1 is a class that the training data does not have (always counted wrong).
    """

    sources: Sequence[Source]
    labels: Sequence[tuple[int, ...]]

    def __post_init__(self) -> None:
        assert len(self.sources) == len(self.labels), (len(self.sources), len(self.labels))

    def __len__(self) -> int:
        return len(self.sources)


@dataclass(frozen=True)
class Cut:
    """How validation pictures were held out of train, and the fingerprint of what remained: enough to do it again."""

    seed: int
    fraction: float
    train: str


@dataclass(frozen=True)
class Dataset:
    """Splits that share one list of classes.

    `notes` are decisions taken while reading ("cut 10 % of train for validation"), one sentence each, for
    printing; `warnings` are problems that do not stop the work, likewise. `cut` is there if the validation split
    was held out of train. `whole`: the data has no splits, so the one that is called test is all of it. `source`:
    the file or folder that a published set was found in, where it is one. `descriptions`: words for class names that
    are mere identifiers, where they are known.
    """

    name: str
    root: Path | None
    classes: tuple[str, ...]
    splits: Mapping[str, Split]
    multi_label: bool = False
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    cut: Cut | None = None
    whole: bool = False
    source: str | None = None
    descriptions: Mapping[str, str] = field(default_factory=dict)
