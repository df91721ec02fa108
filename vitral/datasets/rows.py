"""The rows of a table in each format: .csv, .tsv, .jsonl, .parquet.

A format is one function: it asks `choose` for the columns to keep, given those that there are, and returns
their values, one tuple per row.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vitral.datasets.splits import listed
from vitral.errors import DataError, UnavailableError


class Columns(NamedTuple):
    """The names of the columns that are read; `split` is None where the table has none."""

    path: str
    label: str
    split: str | None


Choose = Callable[[Sequence[str]], Columns]

Rows = list[tuple[Any, Any, Any]]
"""(path, label, split) as they stand in the table, one for each row."""


def _comma_separated(path: Path, choose: Choose) -> Rows:
    return _separated(path, choose, ",")


def _tab_separated(path: Path, choose: Choose) -> Rows:
    return _separated(path, choose, "\t")


def _separated(path: Path, choose: Choose, delimiter: str) -> Rows:
    rows: Rows = []
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        header = next(reader, [])
        columns = choose(header)
        places = [header.index(name) if name is not None else -1 for name in columns]
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                raise DataError(
                    f"line {reader.line_num} of {str(path)!r} has {len(row)} fields, but the header has "
                    f"{len(header)}: quote fields that contain {delimiter!r}."
                )
            path_at, label_at, split_at = places
            rows.append((row[path_at], row[label_at], row[split_at] if split_at >= 0 else None))
    return rows


def _json_lines(path: Path, choose: Choose) -> Rows:
    rows: Rows = []
    columns = None
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise DataError(f"line {number} of {str(path)!r} is not JSON: {error}.") from None
            if not isinstance(row, dict):
                raise DataError(
                    f'line {number} of {str(path)!r} is not a JSON object like {{"path": ..., "label": ...}}.'
                )
            columns = columns or choose(list(row))
            missing = [name for name in columns if name is not None and name not in row]
            if missing:
                raise DataError(f"line {number} of {str(path)!r} has no {listed(missing)}: every line needs it.")
            rows.append((row[columns.path], row[columns.label], row[columns.split] if columns.split else None))
    return rows


def _parquet(path: Path, choose: Choose) -> Rows:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise UnavailableError(f"reading {str(path)!r} needs pyarrow: pip install 'vitral[parquet]'") from None
    try:
        columns = choose(parquet.read_schema(path).names)
        table = parquet.read_table(path, columns=list({name: None for name in columns if name is not None}))
    except pyarrow.ArrowException as error:
        raise DataError(f"{str(path)!r} is not a Parquet table: {error}") from None
    values = [table[name].to_pylist() if name is not None else [None] * len(table) for name in columns]
    return list(zip(*values, strict=True))


FORMATS: dict[str, Callable[[Path, Choose], Rows]] = {
    ".csv": _comma_separated,
    ".tsv": _tab_separated,
    ".jsonl": _json_lines,
    ".parquet": _parquet,
}
"""By the ending of the table's name, in lower case. Each raises `DataError` if the content is not of that format."""
