"""Pictures in the rows of Parquet files, as Hugging Face's data sets hold them: {bytes, path}."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from vitral.datasets.stored import Stored
from vitral.errors import UnavailableError, UnreadableImageError

GROUPS_KEPT = 4
"""Groups of rows that stay in memory: threads that read pictures in order ask for two at most."""


def parquet_module(path: Path) -> tuple[Any, Any]:
    """pyarrow and its Parquet reader.

    Raises:
        UnavailableError: it is not installed.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise UnavailableError(f"reading {str(path)!r} needs pyarrow: pip install 'vitral[parquet]'") from None
    return pyarrow, parquet


@dataclass(frozen=True)
class Cell(Stored):
    """The picture of one row, read with the group of rows that it is in.

    Args:
        group, row: which group of the file, and which of its rows.
    """

    path: Path = field(repr=False)
    column: str
    group: int
    row: int
    place: str

    def __str__(self) -> str:
        return self.place

    def read(self) -> bytes:
        """The encoded picture."""
        pyarrow, _ = parquet_module(self.path)
        try:
            data = _group(self.path, self.column, self.group)[self.row]["bytes"].as_py()
        except (pyarrow.ArrowException, OSError, LookupError, UnicodeDecodeError) as error:
            raise UnreadableImageError(self.place, f"damaged ({error})") from None
        if not isinstance(data, bytes):
            raise UnreadableImageError(self.place, "the row holds no picture")
        return data


@dataclass(frozen=True)
class Held(Stored):
    """The encoded bytes of a row that has been read."""

    data: bytes = field(repr=False)
    place: str

    def __str__(self) -> str:
        return self.place

    @property
    def size(self) -> int:
        """Bytes of the picture."""
        return len(self.data)

    def read(self) -> bytes:
        """The encoded picture."""
        return self.data


def cells(wanted: Sequence[Cell]) -> list[Stored]:
    """The pictures of rows in memory, each group read once; a row that cannot be read stays as it is, and says why
    when it is asked for."""
    by_group: dict[tuple[Path, int], list[int]] = defaultdict(list)
    for i, cell in enumerate(wanted):
        by_group[cell.path, cell.group].append(i)
    found: list[Stored] = list(wanted)
    for members in by_group.values():
        for i in members:
            try:
                found[i] = Held(wanted[i].read(), wanted[i].place)
            except UnreadableImageError:
                continue
    return found


@lru_cache(maxsize=GROUPS_KEPT)
def _group(path: Path, column: str, group: int) -> Any:
    _, parquet = parquet_module(path)
    return parquet.ParquetFile(path).read_row_group(group, columns=[column])[column]
