"""Published data sets as PICTURES: "NAME:FOLDER", where the folder holds the files as their authors publish them, or
as TensorFlow Datasets prepares them. "cifar10:/data", "pets:/data"; "vtab/dtd:/data" is one of VTAB's 19 tasks.

A folder is never guessed to be one: it may hold the archives of several sets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vitral.datasets.dataset import TEST, TRAIN, VALIDATION, Dataset, Split
from vitral.datasets.imagenet21k import WHERE, read_imagenet21k
from vitral.datasets.published import PUBLISHED, Located, locate, where_from
from vitral.datasets.records import Records
from vitral.datasets.vtab import TASKS, read_task
from vitral.errors import DataError, MissingInputError
from vitral.registry import look_up

PREFIX = "vtab/"
IMAGENET_21K = "imagenet21k"


@dataclass(frozen=True)
class Named:
    """A published set with all of its training split.

    Attributes:
        dataset: key of `PUBLISHED`.
        classes: how many.
        splits: vitral's name of a split -> the published one.
    """

    dataset: str
    classes: int
    splits: Mapping[str, str]


_THREE = {TRAIN: "train", VALIDATION: "validation", TEST: "test"}
_TWO = {TRAIN: "train", TEST: "test"}

NAMED: dict[str, Named] = {
    "imagenet": Named("imagenet2012", 1000, {TRAIN: "train", TEST: "validation"}),
    "cifar10": Named("cifar10", 10, _TWO),
    "cifar100": Named("cifar100", 100, _TWO),
    "pets": Named("oxford_iiit_pet", 37, _TWO),
    "flowers102": Named("oxford_flowers102", 102, _THREE),
    "dtd": Named("dtd", 47, _THREE),
    "svhn": Named("svhn_cropped", 10, _TWO),
}
"""By the word before the colon. ImageNet's validation pictures are its test split, as in the papers."""


def split_name(path: str) -> tuple[str, str] | None:
    """Name and folder of "NAME:FOLDER"; `None` if `path` has another form."""
    match = re.fullmatch(r"(vtab/\w+|\w{2,}):(.+)", path)  # one letter is a drive
    if match is None or Path(path).exists():
        return None
    known = {*NAMED, IMAGENET_21K} | {PREFIX + name for name in TASKS}
    look_up("data set", match[1], dict.fromkeys(sorted(known)))
    return match[1], match[2]


def require_named(name: str, folder: str) -> Dataset:
    """As `read_named`, or:

    Raises:
        MissingInputError: it is not there; the message says what to put there.
    """
    if not Path(folder).is_dir():
        raise MissingInputError(f"{folder!r} is no folder: give the one that holds the files of {name}.")
    dataset = read_named(name, Path(folder))
    if dataset is None:
        if name == IMAGENET_21K:
            raise MissingInputError(f"{name} is not in {folder!r}: put there {WHERE}.")
        task = name.removeprefix(PREFIX)
        published = PUBLISHED[TASKS[task].dataset if name.startswith(PREFIX) else NAMED[name].dataset]
        raise MissingInputError(f"{name} is not in {folder!r}: put there {where_from(published)}.")
    return dataset


def read_named(name: str, folder: Path) -> Dataset | None:
    """A data set of `NAMED`, or a task of VTAB; `None` if it is not in the folder.

    Raises:
        DataError: it is damaged, or not the published set.
        MissingInputError, UnavailableError: a part of it, or a package to read it with, is missing.
    """
    if name.startswith(PREFIX):
        return read_task(TASKS[name.removeprefix(PREFIX)], folder)
    if name == IMAGENET_21K:
        return read_imagenet21k(folder)
    named = NAMED[name]
    found = locate(PUBLISHED[named.dataset], folder)
    if found is None:
        return None
    classes = found.classes or tuple(map(str, range(named.classes)))
    if len(classes) != named.classes:
        raise DataError(f"{found.where!r} names {len(classes)} classes, but {name} has {named.classes}.")
    there = {ours: theirs for ours, theirs in named.splits.items() if theirs in found.splits}
    splits = {ours: _split(found, theirs, found.splits[theirs], len(classes)) for ours, theirs in there.items()}
    notes = (f"{name}: from {found.where}",)
    return Dataset(name, folder, classes, splits, notes=notes, source=found.where, descriptions=found.descriptions)


def _split(found: Located, name: str, records: Records, classes: int) -> Split:
    examples = records.read(range(records.count))
    labels = [example.fields.get("label") for example in examples]
    if not all(isinstance(label, int) and 0 <= label < classes for label in labels):
        raise DataError(f"{found.where!r} has labels in {name} that are no class of {classes}: fetch it again.")
    shared = [(k,) for k in range(classes)]
    return Split([example.picture for example in examples], [shared[label] for label in labels])  # type: ignore[index]
