"""What `predict --out` writes: a row per picture, whole or not there, and gone on with where it was left.

Rows are collected in FILE.part, one JSON object per line, and become FILE at the end. FILE.part.json says what was
asked, so that nothing else is ever added to them.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Self

from vitral.commands.predictions import write_csv
from vitral.errors import DataError, StorageError, UnavailableError, UsageError
from vitral.files import flush

FORMATS = (".csv", ".jsonl", ".parquet")

ROW_GROUP = 4096
"""Rows that are brought into Parquet's form at a time."""


class AnswersFile:
    """Rows on their way to a file, which belongs to this process until the context is left.

    Attributes:
        done: rows that an earlier start has left.
        bad: how many of them are of pictures that could not be read.
    """

    def __init__(self, path: Path, request: dict[str, Any]) -> None:
        """Begin, or go on.

        Args:
            request: all that decides what a row looks like; the same again goes on.

        Raises:
            UsageError: the file is there already, has another ending, or was begun with something else.
            UnavailableError: Parquet without pyarrow. StorageError: it cannot be written.
        """
        if path.suffix.lower() not in FORMATS:
            raise UsageError(f"--out {path} must end in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}.")
        if path.exists():
            raise UsageError(f"{path} is there already and is not overwritten: name another file, or move it away.")
        if path.suffix.lower() == ".parquet":
            _pyarrow()
        self.path, self._top, self._features = path, request["top"], request["features"]
        self._abstains = request["abstain_below"] is not None
        self.part = path.with_name(path.name + ".part")
        self._asked = path.with_name(path.name + ".part.json")
        self._file: BinaryIO | None = None
        try:
            with contextlib.ExitStack() as stack:
                self._lock = stack.enter_context(self._asked.open("a+b"))
                self._begin(self._lock, request)
                self.done, self.bad = self._repair()
                stack.pop_all()
        except OSError as error:
            raise StorageError(f"cannot write {self.part} ({error.strerror}): name another file.") from error

    def _begin(self, file: BinaryIO, request: dict[str, Any]) -> None:
        """Lock the file that says what was asked; the system lets go of it however this process ends."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            others = os.fstat(file.fileno()).st_nlink == 0  # they have just finished
        except BlockingIOError:
            others = True
        if others:
            raise UsageError(f"another vitral is writing {self.path}: wait for it, or name another file.")
        file.seek(0)
        if said := file.read():
            self._require_same(said, request)
        elif self.part.exists():
            raise UsageError(f"{self.part} is there and says nothing of where it comes from: move it away.")
        else:
            file.write((json.dumps(request, indent=1) + "\n").encode())
            file.flush()
            os.fsync(file.fileno())

    def _require_same(self, said: bytes, request: dict[str, Any]) -> None:
        try:
            before = json.loads(said)
            differing = [name for name in request if before.get(name) != json.loads(json.dumps(request[name]))]
        except (ValueError, RecursionError, AttributeError):
            raise UsageError(f"{self._asked} is damaged: remove it and {self.part} to start anew.") from None
        if differing:
            raise UsageError(
                f"{self.part} was begun with another {', '.join(differing)}: type the same command again to go on, or "
                f"remove it to start anew."
            )

    def _repair(self) -> tuple[int, int]:
        """Count the whole rows, and cut off what a crash tore."""
        if not self.part.exists():
            return 0, 0
        whole = rows = bad = 0
        with self.part.open("rb+") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                whole += len(line)
                rows += 1
                bad += "error" in _row(line, self.part)
            file.truncate(whole)
        return rows, bad

    def names(self) -> Iterator[str]:
        """The pictures that have a row already, in order."""
        return (row["path"] for row in self._rows())

    def add(self, rows: Iterable[dict[str, Any]]) -> None:
        """Write rows {path, predictions, features} or {path, error}; they outlive a crash of this process."""
        try:
            if self._file is None:
                self._file = self.part.open("ab")
            self._file.write(b"".join(json.dumps(row).encode() + b"\n" for row in rows))
            self._file.flush()
        except OSError as error:
            raise StorageError(
                f"cannot write {self.part} ({error.strerror}): make room, then type the same command again to go on."
            ) from error

    def finish(self) -> None:
        """Give the rows their form and their name."""
        self.close()
        aside = self.path.with_name(self.path.name + ".tmp")
        try:
            flush(self.part)
            if self.path.suffix.lower() == ".jsonl":
                self.part.rename(self.path)
            else:
                write = self._write_csv if self.path.suffix.lower() == ".csv" else self._write_parquet
                write(aside)
                flush(aside)
                aside.rename(self.path)
        except OSError as error:
            raise StorageError(f"cannot write {self.path} ({error.strerror}): the rows are in {self.part}.") from error
        self.part.unlink(missing_ok=True)
        self._asked.unlink(missing_ok=True)

    def close(self) -> None:
        """Leave it for another time."""
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Let others write it."""
        self.close()
        self._lock.close()

    def _rows(self) -> Iterator[dict[str, Any]]:
        with self.part.open("rb") as file:
            for line in file:
                yield _row(line, self.part)

    def _columns(self) -> list[str]:
        guesses = (f"{what}{k + 1}" for k in range(self._top) for what in ("top", "probability"))
        return ["path", *guesses, *["abstained"] * self._abstains, "error"]

    def _cells(self, row: dict[str, Any]) -> list[Any]:
        guesses = row.get("predictions", [])
        cells = [cell for guess in guesses for cell in (guess["label"], guess["probability"])]
        abstained = [row.get("abstained")] * self._abstains
        return [row["path"], *cells, *[None] * (2 * (self._top - len(guesses))), *abstained, row.get("error")]

    def _write_csv(self, path: Path) -> None:
        width = next((len(row["features"]) for row in self._rows() if "features" in row), 0) if self._features else 0
        rows = ([*self._cells(row), *row.get("features", [None] * width)] for row in self._rows())
        write_csv(path, [*self._columns(), *(f"feature{k}" for k in range(width))], rows)

    def _write_parquet(self, path: Path) -> None:
        pyarrow, parquet = _pyarrow()
        kinds: dict[str, Any] = {name: pyarrow.string() for name in self._columns()}
        kinds |= {f"probability{k + 1}": pyarrow.float32() for k in range(self._top)}
        kinds |= {"abstained": pyarrow.bool_()} if self._abstains else {}
        kinds |= {"features": pyarrow.list_(pyarrow.float32())} if self._features else {}
        with parquet.ParquetWriter(path, pyarrow.schema(kinds)) as writer:
            rows = self._rows()
            while group := list(itertools.islice(rows, ROW_GROUP)):
                table = [self._cells(row) + ([row.get("features")] if self._features else []) for row in group]
                columns: Sequence[Any] = [list(map(_plain, column)) for column in zip(*table, strict=True)]
                writer.write_table(pyarrow.table(dict(zip(kinds, columns, strict=True)), schema=pyarrow.schema(kinds)))


def _plain(value: Any) -> Any:
    """Names of files may hold bytes that are no text, for which Parquet has no place."""
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value


def _row(line: bytes, path: Path) -> dict[str, Any]:
    try:
        row = json.loads(line)
        if isinstance(row, dict) and isinstance(row.get("path"), str):
            return row
    except (ValueError, RecursionError):
        pass
    raise DataError(f"{path} holds a line that is no row of answers: remove it to start anew.")


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise UnavailableError("writing Parquet needs pyarrow: pip install 'vitral[parquet]'.") from None
    return pyarrow, parquet
