"""ImageNet (ILSVRC 2012) in the files that its authors publish: ILSVRC2012_img_train.tar, a tar of a tar for each
class; ILSVRC2012_img_val.tar; and ILSVRC2012_devkit_t12.tar.gz, which says what the validation pictures show.

Classes are WordNet ids in their usual order, sorted; the set's own numbers (ILSVRC2012_ID) have another order.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from vitral.datasets.collection import first_there, inner_tar, open_collection
from vitral.datasets.published.located import Located
from vitral.datasets.published.matlab import matrices
from vitral.datasets.records import Example, Records
from vitral.datasets.stored import Part
from vitral.errors import DataError, MissingInputError

CLASSES = 1000
TRAIN, VALIDATION, DEVKIT = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar", "ILSVRC2012_devkit_t12.tar.gz"


def imagenet(folder: Path) -> Located | None:
    """The validation pictures as split "validation", and "train" where its tar is there as well."""
    path = first_there(folder, (VALIDATION,))
    if path is None:
        return None
    devkit = first_there(folder, (DEVKIT, "ILSVRC2012_devkit_t12"))
    if devkit is None:
        raise MissingInputError(f"{str(folder / DEVKIT)!r} is not there, but {VALIDATION} is: fetch it as well.")
    words = open_collection(devkit)
    ids, said = _wordnet_ids(words.read("data/meta.mat"), f"{devkit}: meta.mat")
    names = tuple(sorted(ids.values()))
    index = {name: k for k, name in enumerate(names)}
    try:
        truth = [index[ids[int(line)]] for line in words.text("data/ILSVRC2012_validation_ground_truth.txt")]
    except (ValueError, KeyError):
        raise DataError(f"the validation labels in {str(devkit)!r} are not ImageNet's: fetch it again.") from None
    pictures = sorted(open_collection(path).parts.items())
    if len(pictures) != len(truth):
        raise DataError(f"{str(path)!r} has {len(pictures):,} pictures, but {len(truth):,} have labels: fetch both.")
    splits = {"validation": _records([part for _, part in pictures], truth)}
    train = first_there(folder, (TRAIN,))
    if train is not None:
        splits["train"] = _train(train, index)
    return Located(str(path), splits, names, descriptions=said)


def _wordnet_ids(data: bytes, name: str) -> tuple[dict[int, str], dict[str, str]]:
    """WordNet id by ILSVRC2012_ID, and words by WordNet id; numbers above 1,000 are not classes but groups of them."""
    try:
        rows = matrices(data, name)["synsets"].ravel()
        found = {int(row["ILSVRC2012_ID"].ravel()[0]): str(row["WNID"].ravel()[0]) for row in rows}
        said = {str(row["WNID"].ravel()[0]): str(row["words"].ravel()[0]) for row in rows}
    except (KeyError, IndexError, ValueError, TypeError, AttributeError):
        raise DataError(f"{name!r} holds no synsets: fetch it again.") from None
    ids = {number: word for number, word in found.items() if number <= CLASSES}
    if not ids or not all(re.fullmatch(r"n\d{8}", word) for word in ids.values()):
        raise DataError(f"{name!r} names classes that are no WordNet ids: fetch it again.")
    return ids, {word: said[word] for word in ids.values() if said[word].isprintable()}


def _train(path: Path, index: dict[str, int]) -> Records:
    parts: list[Part] = []
    labels: list[int] = []
    for name, part in sorted(open_collection(path).parts.items()):
        word = name.split("/")[-1].removesuffix(".tar")
        if word not in index:
            raise DataError(f"{name!r} in {str(path)!r} is the tar of no class: fetch it again.")
        pictures = sorted(inner_tar(part).items())
        parts += [picture for _, picture in pictures]
        labels += [index[word]] * len(pictures)
    return _records(parts, labels)


def _records(parts: Sequence[Part], labels: Sequence[int]) -> Records:
    def read(positions: Sequence[int]) -> list[Example]:
        return [Example(parts[i], {"label": labels[i]}) for i in positions]

    return Records(len(parts), read, [part.name for part in parts])
