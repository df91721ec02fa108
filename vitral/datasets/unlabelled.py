"""Pictures to learn from without labels: any folder of them, flat or in class folders, or what another reader found."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from vitral.config import DataConfig
from vitral.datasets.dataset import TEST, TRAIN, VALIDATION, Dataset, Split
from vitral.datasets.folder import check_request
from vitral.datasets.scan import Scanner
from vitral.datasets.splits import SYNONYMS, Found, Listing, listed
from vitral.errors import DataError, MissingInputError


def read_unlabelled_folder(config: DataConfig) -> Found:
    """Every picture below `config.path`, in the order of names: of train/ and val/ alone where there is a train/.

    Raises:
        UsageError: the path is a file, or options for tables are set.
        MissingInputError: the folder does not exist or holds no picture.
        DataError: a symbolic link leaves it, or two folders stand for one split.
    """
    check_request(config)
    root = Path(config.path)
    scanner = Scanner(root)
    top = scanner.scan(root, counting=False)
    folders = {name: SYNONYMS[name.lower()] for name in top.folders if name.lower() in SYNONYMS}
    found = Found(root, {})
    if TRAIN not in folders.values():
        found.splits[TRAIN], inner = _below(scanner, root)
    else:
        inner = 0
        for folder, split in folders.items():
            if split in found.splits:
                raise DataError(f"{str(root)!r} has several folders for {split}: keep one of them.")
            if split != TEST:
                found.splits[split], count = _below(scanner, root / folder)
                inner += count
        others = [name for name in top.folders if name not in folders]
        if others or top.pictures:
            loose = [f"{len(top.pictures):,} pictures"] if top.pictures else []
            beside = [f"folders {listed(others)}", *loose] if others else loose
            found.warnings.append(f"beside the splits are {' and '.join(beside)}, which are not read")
    if not len(found.splits[TRAIN]):
        seen = f", only other files ({scanner.ignored_files()})" if scanner.ignored else ""
        raise MissingInputError(f"there is no picture under {str(root)!r}{seen}: give a folder of pictures.")
    if scanner.ignored:
        found.notes.append(f"files that are not pictures are ignored: {scanner.ignored_files()}")
    if inner:
        found.notes.append("names of folders are not learned: pre-training has no use for labels")
    return _without_test(found, TEST in folders.values())


def without_labels(dataset: Dataset) -> Dataset:
    """A data set that was read with its labels, less these and its test split."""
    splits = {name: dataset.splits[name] for name in (TRAIN, VALIDATION) if name in dataset.splits}
    bare = {name: Split(split.sources, [()] * len(split)) for name, split in splits.items()}
    return replace(dataset, classes=(), splits=bare, multi_label=False, cut=None)


def stripped(found: Found) -> Found:
    """What a reader found, less its labels and its test split."""
    made = Found(found.root, {}, found.notes, found.warnings, found.name)
    for name, listing in found.splits.items():
        made.splits[name] = Listing(listing.base, listing.sources, [()] * len(listing))
    made.notes.append("what the data says of its pictures is not learned: pre-training has no use for labels")
    return _without_test(_as_train(made), TEST in made.splits)


def _as_train(found: Found) -> Found:
    if "" in found.splits:
        found.splits[TRAIN] = found.splits.pop("")
    if TRAIN not in found.splits:
        raise DataError(
            f"{str(found.root)!r} has no split train, only {' and '.join(found.splits)}: mark some rows so."
        )
    return found


def _without_test(found: Found, there: bool) -> Found:
    if there:
        found.notes.append("the test split is left alone: it is there to measure the model that comes of this")
    found.splits = {name: found.splits[name] for name in (TRAIN, VALIDATION) if len(found.splits.get(name, ()))}
    return found


def _below(scanner: Scanner, base: Path) -> tuple[Listing, int]:
    """The pictures in a folder and all below it, and how many of them lie in folders of their own."""
    listing, inner = Listing(str(base)), 0
    places = [base]
    while places:
        place = places.pop()
        seen = scanner.scan(place)
        listing.sources += [f"{place}{os.sep}{name}" for name in seen.pictures]
        inner += len(seen.pictures) if place != base else 0
        places += [place / name for name in reversed(seen.folders)]
    listing.names = [()] * len(listing.sources)
    return listing, inner
