"""Files of weights, opened: names and shapes first, numbers only when they are asked for.

A file is recognised by its content, not by its ending. Nothing is ever unpickled in this process.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from torch import Tensor

from vitral.errors import DataError
from vitral.weights.checksum import require_checksum
from vitral.weights.stored.directory import members_of
from vitral.weights.stored.npz import NpzFile
from vitral.weights.stored.pickled import PickledFile
from vitral.weights.stored.safetensors import SafetensorsFile

Shape = tuple[int, ...]

POINTER = b"version https://git-lfs"
"""How the note begins that git keeps in the place of a large file."""


class Stored(Protocol):
    """An opened file of weights."""

    @property
    def path(self) -> Path:
        """Where it is."""

    @property
    def shapes(self) -> Mapping[str, Shape]:
        """Shape of every tensor by name, in the order of the file."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about the file that the report should carry."""

    def tensor(self, name: str) -> Tensor:
        """The numbers, in the type in which they are stored, in memory of their own.

        Raises:
            DataError: they cannot be read.
        """


def open_stored(path: Path) -> Stored:
    """Open a file of weights.

    Raises:
        DataError: it is of no known format, damaged, or its header claims what the file cannot hold.
    """
    try:
        with path.open("rb") as file:
            start = file.read(len(POINTER))
            headed = start[8:9] == b"{"  # safetensors begins with a length of eight bytes, whatever they look like
            zipped = [info.filename for info in members_of(file)] if start[:2] == b"PK" and not headed else None
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read ({error}): it is damaged; copy or download it again.") from error
    if start == POINTER:
        raise DataError(f"{path} is git's note of a large file, not the file: run git lfs pull, or download it.")
    if zipped is not None:
        return PickledFile(path) if any(name.endswith("/data.pkl") for name in zipped) else NpzFile(path)
    if start[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05") and not headed:
        return PickledFile(path)
    return SafetensorsFile(path)


def compared(stored: Stored, checksum: str) -> Stored:
    """The same file, once it was compared with the checksum that was taken when it was written.

    Raises:
        DataError: it has changed since.
    """
    if isinstance(stored, SafetensorsFile):
        return stored.compared(checksum)
    require_checksum(stored.path, checksum)
    return stored
