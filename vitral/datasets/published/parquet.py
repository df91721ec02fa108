"""Data sets as Hugging Face holds them: Parquet files with a row for each picture, {bytes, path} and a label.

FOLDER/NAME/[...]/train-00000-of-00002[-DIGITS].parquet   what people upload, one or more files for a split
FOLDER/NAME/[...]/train/0000.parquet                      what Hugging Face makes itself of other uploads

Read by pyarrow (extra: parquet), which runs nothing that a file holds; a name inside a file is only ever shown.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from vitral.datasets.cells import Cell, cells, parquet_module
from vitral.datasets.published.located import Located
from vitral.datasets.records import Example, Records
from vitral.datasets.splits import SYNONYMS
from vitral.errors import DataError

UPLOADED = re.compile(r"([A-Za-z]+)-\d+-of-\d+(-[0-9a-f]+)?\.parquet")
MADE = re.compile(r"\d+\.parquet")

FEW = 2_000
"""Pictures up to which they are held in memory: of a file only a whole group of rows can be read, and training asks
for its pictures in any order. More are read in order, as evaluation asks for them."""

NAME_COLUMNS = ("image/file_name", "file_name", "filename", "image_id", "id")
"""Where copies write what a picture was called."""

Key = Callable[[int, str, str], "str | int | None"]
"""From a row's number, the picture's name ("" where it has none) and its class's name, to what TensorFlow Datasets
calls the picture."""


@dataclass(frozen=True)
class Copy:
    """A copy that people use.

    Attributes:
        repository: on Hugging Face.
        key: see `Key`; where it gives `None`, the order of TensorFlow Datasets cannot be had.
        picture, label: names of the columns.
        config: folder of the files, where the repository has several sets.
        joined: its splits are not the published ones: all of it is "train".
    """

    repository: str
    key: Key
    picture: str = "image"
    label: str = "label"
    config: str = ""
    joined: bool = False

    @property
    def where(self) -> str:
        """In words, after "put there"."""
        return f"the Parquet files of https://huggingface.co/datasets/{self.repository}"


def read_copy(copy: Copy, name: str, folder: Path) -> Located | None:
    """The set, if its Parquet files lie below `folder`/`name`, or below a folder called like the repository.

    Raises:
        DataError: they are damaged, or hold something else. UnavailableError: pyarrow is not installed.
    """
    places = [folder / name, folder / copy.repository.rsplit("/", 1)[-1]]
    found = next((files for place in places if (files := _files(place, copy.config))), None)
    if found is None:
        return None
    shards = {split: [_Shard(path, copy) for path in paths] for split, paths in found.items()}
    if copy.joined:
        shards = {"train": [shard for split in ("train", "validation", "test") for shard in shards.get(split, [])]}
    where = str(next(path for paths in found.values() for path in paths).parent)
    classes = next(iter(shards.values()))[0].classes
    splits = {split: _records(parts, copy) for split, parts in shards.items()}
    unordered = [split for split, records in splits.items() if records.keys is None]
    doubts = () if not unordered else (
        f"{where!r} does not say what TensorFlow Datasets calls its pictures, so they are taken in the order of the "
        "copy: the 800 and 200 that are learned from may be others than the published ones",
    )  # fmt: skip
    return Located(where, splits, classes, doubts)


def _files(place: Path, config: str) -> dict[str, list[Path]]:
    """Files of each split below a folder, in their order."""
    base = place / config if config and (place / config).is_dir() else place
    found: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(base.rglob("*.parquet")) if base.is_dir() else ():
        uploaded = UPLOADED.fullmatch(path.name)
        word = uploaded[1] if uploaded else path.parent.name if MADE.fullmatch(path.name) else ""
        split = SYNONYMS.get(word.lower())
        if split is not None:
            found[split].append(path)
    return dict(found)


class _Shard:
    """One file: what is known of its rows but the pictures."""

    def __init__(self, path: Path, copy: Copy) -> None:
        pyarrow, parquet = parquet_module(path)
        self.path = path
        try:
            file = parquet.ParquetFile(path)
            schema = file.schema_arrow
            for column in (copy.picture, copy.label):
                if schema.names.count(column) != 1:
                    many = "several columns" if column in schema.names else "no column"
                    raise DataError(f"{str(path)!r} has {many} {column!r}: it is no copy of {copy.repository}.")
            kind = schema.field(copy.picture).type
            if not pyarrow.types.is_struct(kind) or kind.get_field_index("bytes") < 0:
                raise DataError(f"{str(path)!r} holds no pictures in column {copy.picture!r}: it is another set.")
            named = next((column for column in NAME_COLUMNS if column in schema.names), None)
            column = named or (f"{copy.picture}.path" if kind.get_field_index("path") >= 0 else copy.label)
            table = file.read(columns=[copy.label, column])
            self.groups = np.cumsum([0, *(file.metadata.row_group(k).num_rows for k in range(file.num_row_groups))])
            self.labels: list[Any] = table[copy.label].to_pylist()
            names = table.columns[-1].to_pylist() if column != copy.label else []
        except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
            raise DataError(f"{str(path)!r} is damaged or no Parquet file ({error}): fetch it again.") from None
        self.classes = _class_names(schema.metadata, copy.label)
        self.names = [_name(row) for row in names]

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, row: int) -> str:
        """What the picture was called, or nothing."""
        return self.names[row] if self.names else ""

    def cell(self, row: int, column: str) -> Cell:
        """The picture of a row."""
        group = int(np.searchsorted(self.groups, row, side="right")) - 1
        return Cell(self.path, column, group, row - int(self.groups[group]), f"{self.path}: row {row}")


def _name(value: Any) -> str:
    """A name as a column holds it: a word, a number, or the path of a picture."""
    inner = value.get("path") if isinstance(value, dict) else value
    return str(inner) if isinstance(inner, str | int) else ""


def _class_names(metadata: Any, label: str) -> tuple[str, ...] | None:
    """Names of the classes, as `datasets` of Hugging Face writes them into a file's own description."""
    try:
        names = json.loads(metadata[b"huggingface"])["info"]["features"][label]["names"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    return tuple(map(str, names)) if isinstance(names, list) else None


def _records(shards: Sequence[_Shard], copy: Copy) -> Records:
    starts = np.cumsum([0, *map(len, shards)])
    labels = [_label(label, shard) for shard in shards for label in shard.labels]
    keys: list[Any] = []
    for shard, (start, stop) in zip(shards, pairwise(starts.tolist()), strict=True):
        words = shard.classes or ()
        for row in range(stop - start):
            label = labels[start + row]
            known = words[label] if 0 <= label < len(words) else str(label)
            keys.append(copy.key(start + row, shard.name(row), known))

    def read(positions: Sequence[int]) -> list[Example]:
        at = np.searchsorted(starts, positions, side="right") - 1
        found = [shards[k].cell(i - int(starts[k]), copy.picture) for i, k in zip(positions, at, strict=True)]
        pictures = cells(found) if len(found) <= FEW else found
        return [Example(picture, {"label": labels[i]}) for picture, i in zip(pictures, positions, strict=True)]

    ordered = None not in keys and len(set(keys)) == len(keys)
    return Records(len(labels), read, keys if ordered else None)


def _label(value: Any, shard: _Shard) -> int:
    if isinstance(value, str) and shard.classes and value in shard.classes:
        return shard.classes.index(value)
    if not isinstance(value, int):
        raise DataError(f"{str(shard.path)!r} has label {value!r}, which is no number of a class: it is another set.")
    return int(value)


# What TensorFlow Datasets calls a picture -------------------------------------------------------------


def _by_row(row: int, _name: str, _label: str) -> int:
    """The copy keeps the order of the authors' own file, and TensorFlow Datasets counts in it."""
    return row


def _by_name(_row: int, name: str, _label: str) -> str | None:
    return name or None


def _by_picture(_row: int, name: str, _label: str) -> str | None:
    """The name of a file, with or without its ending."""
    return f"{name.removesuffix('.jpg')}.jpg" if name else None


def _in_class(_row: int, name: str, label: str) -> str | None:
    """Class and name with "_" between; a picture is called after its class."""
    file = name.rsplit("/", 1)[-1].removesuffix(".jpg")
    return f"{label}_{file}.jpg" if re.fullmatch(r".+_\d+", file) and file.rsplit("_", 1)[0] == label else None


_CAPITALS = {name.lower(): name for name in ("BACKGROUND_Google", "Faces", "Faces_easy", "Leopards", "Motorbikes")}


def _in_folder(_row: int, name: str, label: str) -> str | None:
    """The folder as its authors write it, and the name of the file."""
    file = name.rsplit("/", 1)[-1]
    return f"{_CAPITALS.get(label, label)}/{file}" if re.fullmatch(r"image_\d{4}\.jpg", file) else None


COPIES: dict[str, Copy] = {
    "cifar10": Copy("uoft-cs/cifar10", _by_row, picture="img"),
    "cifar100": Copy("uoft-cs/cifar100", _by_row, picture="img", label="fine_label"),
    "svhn_cropped": Copy("ufldl-stanford/svhn", _by_row, config="cropped_digits"),
    "oxford_flowers102": Copy("dpdl-benchmark/oxford_flowers102", _by_picture),
    "oxford_iiit_pet": Copy("timm/oxford-iiit-pet", _by_picture),
    "caltech101": Copy("dpdl-benchmark/caltech101", _in_folder),
    "sun397": Copy("dpdl-benchmark/sun397", _by_name),
    "patch_camelyon": Copy("dpdl-benchmark/patch_camelyon", _by_name),
    "resisc45": Copy("timm/resisc45", _in_class, joined=True),
}
"""By name in TensorFlow Datasets. The keys are those that its builders give (tensorflow_datasets of 2022)."""
