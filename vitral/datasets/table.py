"""Read a table that lists pictures, one row each: columns for the path, the label and, if there is one, the split."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vitral.config import DataConfig
from vitral.datasets.rows import FORMATS, Choose, Columns, Rows
from vitral.datasets.splits import SYNONYMS, Found, Listing, listed
from vitral.errors import DataError, MissingInputError, UsageError
from vitral.registry import nearest, nearest_path

PATH_COLUMNS = ("path", "file", "file_name", "filename", "image", "image_path")
LABEL_COLUMNS = ("label", "labels", "class", "class_name", "target")
SPLIT_COLUMN = "split"

LOOKED_FOR = 100
"""Rows whose pictures must exist when the table is read; looking for all would take minutes on a network disk."""


def read_table(config: DataConfig, labelled: bool = True) -> Found:
    """The splits of the table `config.path`, by class name; "" alone where it has no column `split`.

    Rows keep their order. Paths start from `config.image_folder`, or from the table's own folder. Where it need not be
    `labelled`, no label is read, and a picture's path stands in its place.

    Raises:
        MissingInputError: the table, or a picture that it names, does not exist; or it has no rows.
        UsageError: it has no such column.
        DataError: its content is not valid, or gives one picture two labels.
        UnavailableError: Parquet without pyarrow.
    """
    path = Path(config.path)
    if not path.is_file():
        near = nearest_path(path, lambda beside: beside.suffix.lower() in FORMATS)
        hint = f"did you mean {str(near)!r}?" if near else "check the path."
        raise MissingInputError(f"{config.path!r} does not exist: {hint}")
    columns, rows = _read(config, path, labelled)
    if not rows:
        raise MissingInputError(f"{config.path!r} holds no rows: it needs one for each picture.")
    base = config.image_folder if config.image_folder is not None else str(path.parent)
    found = _sort_into_splits(config, base, columns, rows)
    _check_pictures_exist(config, base, rows)
    return found


def read_paths(config: DataConfig) -> list[str]:
    """The pictures that a table names, in its order, whatever else stands in it; none is looked for.

    Raises:
        UsageError: it has no such column. DataError: its content is not valid.
        UnavailableError: Parquet without pyarrow.
    """

    def choose(present: Sequence[str]) -> Columns:
        path = _pick(config, present, "picture's path", "--path-column", config.path_column, PATH_COLUMNS)
        return Columns(path, path, None)

    base = config.image_folder if config.image_folder is not None else os.path.dirname(config.path)  # noqa: PTH120
    found = []
    for number, (path, _, _) in enumerate(_rows(config, Path(config.path), choose), start=1):
        if not isinstance(path, str) or not path:
            raise DataError(f"row {number:,} of {config.path!r} has no path: give it one, or remove the row.")
        found.append(os.path.join(base, path))  # noqa: PTH118 - as below
    return found


def read_column(config: DataConfig, name: str, option: str) -> dict[str, Any]:
    """The values of the column `name`, by the picture's path as `read_table` gives it; `option` asked for them.

    Raises:
        UsageError: it has no such column. And as `read_table`.
    """

    def choose(present: Sequence[str]) -> Columns:
        path = _pick(config, present, "picture's path", "--path-column", config.path_column, PATH_COLUMNS)
        return Columns(path, _pick(config, present, "values", option, name, ()), None)

    base = config.image_folder if config.image_folder is not None else str(Path(config.path).parent)
    rows = _rows(config, Path(config.path), choose)
    return {os.path.join(base, path): value for path, value, _ in rows}  # noqa: PTH118 - as below


def _read(config: DataConfig, path: Path, labelled: bool) -> tuple[Columns, Rows]:
    chosen: list[Columns] = []

    def choose(present: Sequence[str]) -> Columns:
        chosen.append(_columns(config, present, labelled))
        return chosen[0]

    rows = _rows(config, path, choose)
    return (chosen[0], rows) if chosen else (Columns("", "", None), [])


def _rows(config: DataConfig, path: Path, choose: Choose) -> Rows:
    try:
        return FORMATS[path.suffix.lower()](path, choose)
    except UnicodeDecodeError as error:
        raise DataError(f"{config.path!r} is not UTF-8 text ({error.reason}): save it as UTF-8.") from None
    except csv.Error as error:
        raise DataError(f"{config.path!r} is not a valid table: {error}.") from None
    except OSError as error:
        raise MissingInputError(f"cannot read {config.path!r}: {error.strerror or error}.") from None


def _columns(config: DataConfig, present: Sequence[str], labelled: bool) -> Columns:
    path = _pick(config, present, "picture's path", "--path-column", config.path_column, PATH_COLUMNS)
    label = _pick(config, present, "label", "--label-column", config.label_column, LABEL_COLUMNS) if labelled else path
    return Columns(path, label, SPLIT_COLUMN if SPLIT_COLUMN in present else None)


def _pick(
    config: DataConfig, present: Sequence[str], meaning: str, option: str, wanted: str | None, usual: Sequence[str]
) -> str:
    name = wanted or next((name for name in usual if name in present), None)
    if name is None or name not in present:
        looked_for = f"column {wanted!r}" if wanted else f"column called {', '.join(usual)}"
        close = nearest(wanted, present, 1) if wanted else []
        raise UsageError(
            f"{config.path!r} has no {looked_for} for the {meaning}; it has {listed(present, 20)}: "
            f"{f'did you mean {close[0]!r}?' if close else f'name one with {option}.'}"
        )
    if list(present).count(name) > 1:
        raise DataError(f"{config.path!r} has several columns {name!r}: rename all but one.")
    return name


def _sort_into_splits(config: DataConfig, base: str, columns: Columns, rows: Rows) -> Found:
    found = Found(Path(base), {})
    labels: dict[str, tuple[str, ...]] = {}
    conflicts: list[str] = []
    for number, (path, label, split) in enumerate(rows, start=1):
        where = f"row {number:,} of {config.path!r}"
        if not isinstance(path, str) or not path:
            raise DataError(f"{where} has {path!r} in column {columns.path!r}, which is not the path of a picture.")
        name = _split_name(split, where) if columns.split is not None else ""
        names = _names(label, columns.label, config.multi_label, where)
        source = os.path.join(base, path)  # noqa: PTH118 - a Path per row would double the time
        if labels.setdefault(source, names) != names:
            conflicts.append(f"{path!r} is {listed(labels[source])} and {listed(names)}")
        listing = found.splits.setdefault(name, Listing(base))
        listing.sources.append(source)
        listing.names.append(names)
    repeated = len(rows) - len(labels)
    if conflicts:
        shown = "; ".join(conflicts[:5]) + (f"; and {len(conflicts) - 5:,} more" if len(conflicts) > 5 else "")
        raise DataError(f"{config.path!r} gives one picture different labels: {shown}; keep one row of each.")
    if repeated:
        found.warnings.append(f"{repeated:,} rows of {config.path!r} name a picture that another row names already")
    return found


def _split_name(value: Any, where: str) -> str:
    name = SYNONYMS.get(str(value).strip().lower())
    if name is None:
        raise DataError(f"{where} has split {value!r}: use train, validation (or val) or test.")
    return name


def _names(label: Any, column: str, multi_label: bool, where: str) -> tuple[str, ...]:
    """The class names of one row; labels are taken as they stand, but for spaces around a ';'."""
    several = isinstance(label, list)
    if not multi_label:
        if several or (column == "labels" and ";" in str(label)):
            raise UsageError(
                f"{where} has several labels in column {column!r} ({label!r}): add --multi-label to learn them all."
            )
        if label is None or label == "" or label != label:  # NaN alone differs from itself
            raise DataError(f"{where} has no label in column {column!r}: give it one, or remove the row.")
        return (_word(label, where),)
    if label is None or label == "":
        return ()
    parts = label if several else str(label).split(";")
    words = [_word(part, where).strip() for part in parts]
    if "" in words:
        raise DataError(f"{where} has an empty name among its labels {label!r}: remove the extra ';'.")
    return tuple(sorted(set(words)))


def _word(value: Any, where: str) -> str:
    if not isinstance(value, str | int | float):
        raise DataError(f"{where} has label {value!r}, which is neither a word nor a number.")
    return str(value)


def _check_pictures_exist(config: DataConfig, base: str, rows: Rows) -> None:
    count = min(LOOKED_FOR, len(rows))
    spread = [rows[i * len(rows) // count][0] for i in range(count)]
    sample = [os.path.join(base, path) for path in spread]  # noqa: PTH118
    missing = [path for path in sample if not os.path.exists(path)]  # noqa: PTH110
    if missing:
        raise MissingInputError(
            f"{len(missing)} of {len(sample)} pictures looked for do not exist, for example {missing[0]!r}: paths in "
            f"{config.path!r} start from {base!r}; name another folder with --image-folder."
        )
