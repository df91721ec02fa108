"""Data sets as TensorFlow Datasets prepares them: NAME/[CONFIG/]VERSION/ with dataset_info.json, features.json and
TFRecord files. Read without TensorFlow; pictures are read from the files when they are needed."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from vitral.datasets.dataset import Source
from vitral.datasets.records import Example, Records
from vitral.datasets.stored import Part, Plain
from vitral.datasets.tfrecord import Blob, parse_example, records
from vitral.errors import DataError

INFO = "dataset_info.json"
IMAGE = "image"
"""The feature that holds the picture, in every data set that is read."""

FILE_NAMES = ("file_name", "filename", "image/file_name", "id")
"""Features that hold what the picture was called."""


def find_prepared(folder: Path, name: str, config: str = "") -> Path | None:
    """The newest prepared version of a data set below `folder`; `None` if there is none."""
    places = [folder / name / config] if config else [folder / name]
    versions = [path for place in places if place.is_dir() for path in place.iterdir() if (path / INFO).is_file()]
    numbered = [(tuple(map(int, path.name.split("."))), path) for path in versions if _is_version(path.name)]
    return max(numbered)[1] if numbered else None


def _is_version(name: str) -> bool:
    return re.fullmatch(r"\d{1,9}\.\d{1,9}\.\d{1,9}", name) is not None


def read_prepared(folder: Path) -> dict[str, Records]:
    """The splits of a prepared data set by their names.

    Raises:
        DataError: its description is not what it should be.
    """
    info = _json(folder / INFO)
    try:
        name = str(info["name"])
        splits = {str(split["name"]): [int(n) for n in split["shardLengths"]] for split in info["splits"]}
        form = info.get("fileFormat", "tfrecord")
    except (KeyError, TypeError, ValueError, AttributeError):
        raise DataError(
            f"{str(folder / INFO)!r} does not describe a data set and its shards: prepare it again."
        ) from None
    if form != "tfrecord":
        raise DataError(f"{str(folder)!r} holds {form!r} files, and only tfrecord can be read: prepare it as tfrecord.")
    if not re.fullmatch(r"\w+", name) or not all(re.fullmatch(r"[\w-]+", split) for split in splits):
        raise DataError(f"{str(folder / INFO)!r} names a data set or a split that is no name: prepare it again.")
    return {split: _split(folder, name, split, lengths) for split, lengths in splits.items()}


def class_names(folder: Path, feature: str = "label") -> tuple[str, ...] | None:
    """The names of a feature's classes, where they stand beside the records."""
    path = folder / f"{feature}.labels.txt"
    try:
        return tuple(line for line in path.read_text(encoding="utf-8").splitlines() if line)
    except (OSError, UnicodeDecodeError):
        return None


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{str(path)!r} cannot be read as JSON ({type(error).__name__}): prepare it again.") from None


def _split(folder: Path, name: str, split: str, lengths: list[int]) -> Records:
    if any(length < 0 for length in lengths):
        raise DataError(f"{str(folder / INFO)!r} has a shard with {min(lengths)} records: prepare it again.")
    files = [folder / f"{name}-{split}.tfrecord-{i:05d}-of-{len(lengths):05d}" for i in range(len(lengths))]
    ends = [0, *np.cumsum(lengths).tolist()]

    def read(positions: Sequence[int]) -> list[Example]:
        found: dict[int, Example] = {}
        wanted = set(positions)
        for path, (start, stop) in zip(files, pairwise(ends), strict=True):
            inside = {position - start for position in wanted if start <= position < stop}
            if inside:
                found |= {start + i: example for i, example in _examples(path, inside, stop - start).items()}
        return [found[position] for position in positions]

    return Records(ends[-1], read)


def _examples(path: Path, wanted: set[int], count: int) -> dict[int, Example]:
    """The wanted records of a file that should hold `count`."""
    found: dict[int, Example] = {}
    last = max(wanted)
    for i, record in enumerate(records(path, wanted)):
        if record is not None:
            try:
                features = parse_example(record.data)
            except DataError as error:
                raise DataError(f"record {i} of {str(path)!r}: {error}: prepare it again.") from None
            found[i] = _example(features, path, i, record.offset)
        if i == last:
            break
    if len(found) < len(wanted):
        raise DataError(f"{str(path)!r} has fewer than the {count:,} records that {INFO} says: prepare it again.")
    return found


def _example(features: dict[str, Any], path: Path, i: int, offset: int) -> Example:
    picture = features.pop(IMAGE, None)
    if not isinstance(picture, list) or len(picture) != 1:
        raise DataError(f"record {i} of {str(path)!r} has no picture {IMAGE!r}: this is another data set.")
    blob: Blob = picture[0]
    source: Source = Part(Plain(path), f"record {i}{_named(features)}", offset + blob.offset, len(blob.data))
    return Example(source, {name: _plain(value) for name, value in features.items()})


def _named(features: dict[str, Any]) -> str:
    """The original file's name, where the record has it, for messages and for what goes by it."""
    for name in FILE_NAMES:
        value = features.get(name)
        if isinstance(value, list) and value:
            return f" {value[0].data.decode(errors='backslashreplace')}"
    return ""


def _plain(value: Any) -> Any:
    """A feature as a number where it is one, else numbers [n], or bytes."""
    if isinstance(value, list):
        return [blob.data for blob in value]
    return int(value[0]) if len(value) == 1 and value.dtype == np.int64 else value
