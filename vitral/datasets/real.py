"""Reassessed ImageNet labels (ReaL): every class that people saw in each validation picture.

Published as `real.json`, a list of 50,000 lists of class indices: the i-th, from 0, belongs to the picture
ILSVRC2012_val_{i + 1:08d}.JPEG. A list is empty where a picture shows none of the 1,000 classes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vitral.config import DataConfig
from vitral.datasets.table import read_column
from vitral.errors import DataError, MissingInputError, UsageError

_NUMBER = re.compile(r"ILSVRC2012_val_(\d{8})\b")


def real_labels(where: str, config: DataConfig, sources: Sequence[Any], classes: int) -> list[tuple[int, ...]]:
    """The class indices of each picture.

    Args:
        where: real.json, or the name of a column of the table `config.path` that holds indices separated by spaces.
        sources: the pictures' paths; with real.json their names say which they are.
        classes: the model's; indices are positions among them.

    Raises:
        MissingInputError, DataError, UsageError: it cannot be read, or does not fit the pictures or the model.
    """
    if where.endswith(".json"):
        lists = _read(where)
        found = [_indices(lists[_position(source, where, len(lists))], where, source) for source in sources]
    elif Path(config.path).is_dir():
        raise UsageError(f"--real {where} names a column, but {config.path!r} is a folder: give the path of real.json.")
    else:
        column = read_column(config, where, "--real")
        found = [_indices(_words(column[str(source)]), where, source) for source in sources]
    largest = max((index for indices in found for index in indices), default=0)
    if largest >= classes:
        raise UsageError(
            f"{where} names class {largest}, but the model has {classes:,} classes: ReaL labels need a model of all of "
            f"ImageNet's 1,000, in their usual order."
        )
    return found


def _read(where: str) -> list[Any]:
    path = Path(where)
    if not path.is_file():
        raise MissingInputError(f"there is no file {where!r}: give the path of real.json.")
    try:
        lists = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{where!r} cannot be read as JSON ({type(error).__name__}): fetch it again.") from None
    if not isinstance(lists, list):
        raise DataError(f"{where!r} is not a list of lists of class indices: fetch the published real.json.")
    return lists


def _position(source: Any, where: str, count: int) -> int:
    match = _NUMBER.search(Path(str(source)).name)
    number = int(match[1]) if match else 0
    if not 1 <= number <= count:
        raise DataError(
            f"{str(source)!r} is none of the {count:,} pictures of {where!r}: their names are ILSVRC2012_val_00000001 "
            f"and so on."
        )
    return number - 1


def _words(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [int(w) if w.isdecimal() else w for w in str(value or "").split()]


def _indices(value: Any, where: str, source: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(type(index) is int and index >= 0 for index in value):
        raise DataError(f"{where} holds {value!r} for {str(source)!r}: it must be class indices from 0.")
    return tuple(sorted(set(value)))
