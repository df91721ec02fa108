"""Oxford-IIIT Pets, Oxford Flowers-102 and the Describable Textures, as Oxford's Visual Geometry Group publishes
them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vitral.datasets.collection import Collection, first_there, open_collection
from vitral.datasets.published.located import Located
from vitral.datasets.published.matlab import matrices
from vitral.datasets.records import Example, Records
from vitral.errors import DataError, MissingInputError

PETS_LISTS = {"train": "trainval.txt", "test": "test.txt"}
FLOWERS_LISTS = {"train": "trnid", "validation": "valid", "test": "tstid"}
DTD_LISTS = {"train": "train1.txt", "validation": "val1.txt", "test": "test1.txt"}
"""Of the ten partitions of DTD the first, as TensorFlow Datasets and VTAB have it."""


def pets(folder: Path) -> Located | None:
    """Pets: images.tar.gz and annotations.tar.gz, or the folders images and annotations."""
    path = first_there(folder, ("images.tar.gz", "images"))
    lists = first_there(folder, ("annotations.tar.gz", "annotations"))
    if path is None or lists is None:
        return None
    inside, listed = open_collection(path), open_collection(lists)
    names: dict[int, str] = {}
    splits = {}
    for split, file in PETS_LISTS.items():
        rows = []
        for line in listed.text(file):
            match = re.fullmatch(r"(\S+)_\d+ (\d+) \d+ \d+", line.strip())
            if match is None:
                raise DataError(f"{line!r} in {file!r} of {str(lists)!r} names no picture and class: fetch it again.")
            rows.append((f"{line.split()[0]}.jpg", int(match[2]) - 1))
            names[int(match[2]) - 1] = match[1]
        splits[split] = _listed(inside, rows)
    return Located(str(path), splits, tuple(names[k] for k in sorted(names)))


def flowers(folder: Path) -> Located | None:
    """Flowers-102: 102flowers.tgz or the folder jpg, with imagelabels.mat and setid.mat."""
    path = first_there(folder, ("102flowers.tgz", "jpg"))
    if path is None:
        return None
    for name in ("imagelabels.mat", "setid.mat"):
        if not (folder / name).is_file():
            raise MissingInputError(f"{str(folder / name)!r} is not there, but {path.name} is: fetch it as well.")
    inside = open_collection(path)
    labels = _row(matrices(folder / "imagelabels.mat"), "labels", folder / "imagelabels.mat")
    sets = matrices(folder / "setid.mat")
    splits = {}
    for split, name in FLOWERS_LISTS.items():
        numbers = _row(sets, name, folder / "setid.mat")
        if len(numbers) and not 1 <= numbers.min() <= numbers.max() <= len(labels):
            raise DataError(f"'setid.mat' names pictures that 'imagelabels.mat' in {str(folder)!r} lacks: fetch both.")
        splits[split] = _listed(inside, [(f"image_{n:05d}.jpg", int(labels[n - 1]) - 1) for n in numbers])
    return Located(str(path), splits)


def textures(folder: Path) -> Located | None:
    """DTD: dtd-r1.0.1.tar.gz, or the folder dtd."""
    path = first_there(folder, ("dtd-r1.0.1.tar.gz", "dtd"))
    if path is None:
        return None
    inside = open_collection(path)
    lists = {split: [line.strip() for line in inside.text(file)] for split, file in DTD_LISTS.items()}
    names = sorted({line.split("/")[0] for lines in lists.values() for line in lines})
    index = {name: k for k, name in enumerate(names)}
    rows = {split: [(line, index[line.split("/")[0]]) for line in lines] for split, lines in lists.items()}
    return Located(str(path), {split: _listed(inside, made) for split, made in rows.items()}, tuple(names))


def _row(found: dict[str, Any], name: str, path: Path) -> np.ndarray:
    values = found.get(name)
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "iuf":
        raise DataError(f"{str(path)!r} holds no numbers {name!r}: fetch it again.")
    return values.ravel().astype(np.int64)


def _listed(inside: Collection, rows: list[tuple[str, int]]) -> Records:
    """Pictures by name with their labels; the names are TensorFlow Datasets' keys."""
    by_tail: dict[str, Any] = {}
    for name, part in inside.parts.items():
        pieces = name.split("/")
        for depth in (1, 2):
            by_tail["/".join(pieces[-depth:])] = part
    missing = [name for name, _ in rows if name not in by_tail]
    if missing:
        raise DataError(f"{str(inside.path)!r} lacks {len(missing):,} pictures, like {missing[0]!r}: fetch it again.")

    def read(positions: Sequence[int]) -> list[Example]:
        return [Example(by_tail[rows[i][0]], {"label": rows[i][1], "file_name": rows[i][0]}) for i in positions]

    return Records(len(rows), read, [name for name, _ in rows])
