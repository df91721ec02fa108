"""Readers of data: a folder of pictures, a table that lists them, or a published data set in its archives, for training
or for evaluation.

read(config)                  the splits to train with; the classes are train's
read_unlabelled(config)       the splits to pre-train with; there are no classes
read_for_evaluation(config)   one split to measure a model on; the classes are the model's
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from vitral.config import DataConfig
from vitral.datasets.dataset import TEST, TRAIN, VALIDATION, Cut, Dataset, Source, Split
from vitral.datasets.fingerprint import fingerprint
from vitral.datasets.folder import read_folder
from vitral.datasets.found import read_published
from vitral.datasets.labels import evaluation_labels, in_order, positions, training_classes
from vitral.datasets.named import split_name
from vitral.datasets.splits import SYNONYMS, Found, Listing, cut_validation
from vitral.datasets.synsets import synset_words
from vitral.datasets.table import read_table
from vitral.datasets.unlabelled import read_unlabelled_folder, stripped, without_labels
from vitral.errors import DataError, MissingInputError, UsageError

__all__ = ["TEST", "TRAIN", "VALIDATION", "Cut", "Dataset", "Source", "Split", "read", "read_for_evaluation"]
__all__ += ["read_unlabelled", "without_labels"]

READERS: dict[str, Callable[[DataConfig], Found]] = {
    ".csv": read_table,
    ".tsv": read_table,
    ".jsonl": read_table,
    ".parquet": read_table,
}
"""Reader by the ending of the path, in lower case; without one here, the path is a folder."""

ORDER = (TRAIN, VALIDATION, TEST)


def read(config: DataConfig, seed: int = 0, fewest: int = 2, hold_out: bool = True) -> Dataset:
    """The data to train with: train, validation (cut out of train where there is none), and test if there is one.

    The order of classes and pictures depends on names alone (in a table: on its rows).

    Args:
        config: where and how to read.
        seed: of the cut.
        fewest: classes that there must be where a picture has one label.
        hold_out: whether validation pictures are held out of train where there are none, and that is told.

    Raises:
        MissingInputError: the path does not exist or holds no picture.
        DataError: the data has a form that cannot be trained on; the message says which and what to do.
        UsageError: an option does not fit the data.
        UnavailableError: a package for this kind of table is not installed.
    """
    found = _find(config)
    if "" in found.splits:
        found.splits[TRAIN] = found.splits.pop("")
    if TRAIN not in found.splits:
        raise DataError(
            f"{config.path!r} has no split train, only {' and '.join(found.splits)}: add train/, or give a path "
            f"whose folders are classes."
        )
    classes = found.classes or training_classes(found, 1 if config.multi_label else fewest)
    if not found.descriptions:
        found.descriptions, where = synset_words(classes, found.root)
        if where:
            found.notes.append(f"classes are WordNet ids, shown with their words in {where}")
    whole = VALIDATION not in found.splits
    if hold_out:
        cut_validation(found, config.validation_fraction, seed, config.multi_label)
    index = {name: position for position, name in enumerate(classes)}
    splits = {name: positions(found.splits[name], index) for name in ORDER if name in found.splits}
    dataset = _dataset(config, found, classes, splits)
    if not whole or VALIDATION not in splits:
        return dataset
    return replace(dataset, cut=Cut(seed, config.validation_fraction, fingerprint(splits[TRAIN], found.root)))


def read_unlabelled(config: DataConfig, seed: int = 0) -> Dataset:
    """The data to pre-train with: train, and validation (cut out of train where there is none). Labels that there are
    are left out, and that is said; a test split stays out of it.

    Raises:
        MissingInputError, DataError, UsageError, UnavailableError: as `read`.
    """
    path = Path(config.path)
    is_table = path.suffix.lower() in READERS and not path.is_dir()
    if config.path and is_table and split_name(config.path) is None:
        found = stripped(read_table(config, labelled=False))
    elif not config.path or split_name(config.path) is not None:
        found = stripped(_find(config))
    else:
        found = read_unlabelled_folder(config)
    cut_validation(found, config.validation_fraction, seed, multi_label=True)
    splits = {name: Split(listing.sources, [()] * len(listing)) for name, listing in found.splits.items()}
    return _dataset(config, found, (), splits)


def read_for_evaluation(
    config: DataConfig, classes: Sequence[str] | None, split: str | None, cut: Cut | None = None
) -> Dataset:
    """One split to measure a model on, with labels mapped by name onto the model's classes.

    Args:
        cut: how the model's own validation pictures were held out. If these are the pictures that it was trained
            on, they are held out again.
        classes: the model's, in its order. None takes those of train if the data has it, else the split's own.
        split: "train", "validation" or "test" (or a synonym); None takes test, else validation; data without
            splits is evaluated whole, as "test".

    Returns:
        a `Dataset` with that split alone. Classes that the model lacks have label -1, and a warning names them.

    Raises:
        UsageError: the data does not have the split.
        MissingInputError, DataError, UnavailableError: as `read`; or the model knows none of the classes.
    """
    found = _find(config)
    seen = _cut_again(config, found, classes, cut) if cut is not None and classes is not None else ""
    name, listing = _choose(config, found, split)
    if seen and name != TEST:  # of test, the model has seen nothing
        found.notes.append(seen)
    if classes is None:
        classes = in_order(found.splits.get(TRAIN, listing).classes())
    labelled = evaluation_labels(name, listing, classes, found.warnings)
    return replace(_dataset(config, found, tuple(classes), {name: labelled}), whole="" in found.splits)


def _cut_again(config: DataConfig, found: Found, classes: Sequence[str], cut: Cut) -> str:
    """Hold the same pictures out of train, if the rest is what the model was trained on; a sentence that says so."""
    train = found.splits.get("", found.splits.get(TRAIN))
    if train is None or VALIDATION in found.splits:
        return ""
    again = Found(found.root, {name: listing for name, listing in found.splits.items() if name} | {TRAIN: train})
    cut_validation(again, cut.fraction, cut.seed, config.multi_label)
    index = {name: position for position, name in enumerate(classes)}
    if VALIDATION in again.splits and fingerprint(positions(again.splits[TRAIN], index), found.root) == cut.train:
        found.splits = again.splits
        held = len(again.splits[VALIDATION])
        return f"the model was trained on these pictures, but for the {held:,} that were held out as validation"
    return ""


def _find(config: DataConfig) -> Found:
    if not config.path:
        raise MissingInputError("no data is given: name a folder or a table of pictures.")
    named = split_name(config.path)
    if named is not None:
        return read_published(config, *named)
    path = Path(config.path)
    reader = READERS.get(path.suffix.lower())
    return reader(config) if reader is not None and not path.is_dir() else read_folder(config)


def _choose(config: DataConfig, found: Found, wanted: str | None) -> tuple[str, Listing]:
    if "" in found.splits:
        if wanted is not None:
            raise UsageError(f"{config.path!r} has no splits, so not {wanted!r}: leave the split out to use it whole.")
        found.notes.append(f"the data has no splits: all {len(found.splits['']):,} pictures are evaluated")
        return TEST, found.splits[""]
    present = ", ".join(name for name in ORDER if name in found.splits)
    if wanted is not None:
        name = SYNONYMS.get(wanted.lower(), wanted)
        if name not in found.splits:
            raise UsageError(f"{config.path!r} has no split {wanted!r}: choose one of {present}.")
        return name, found.splits[name]
    for name in (TEST, VALIDATION):
        if name in found.splits:
            found.notes.append(f"evaluated on split {name} (of {present})")
            return name, found.splits[name]
    raise UsageError(f"{config.path!r} has only the split {present}: name it to evaluate on the training pictures.")


def _dataset(config: DataConfig, found: Found, classes: tuple[str, ...], splits: dict[str, Split]) -> Dataset:
    return Dataset(
        name=found.name or Path(config.path).resolve().stem,
        root=found.root,
        classes=classes,
        splits=splits,
        multi_label=config.multi_label,
        notes=tuple(found.notes),
        warnings=tuple(found.warnings),
        descriptions=dict(found.descriptions),
    )
