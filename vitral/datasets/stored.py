"""Pictures that are not files of their own: a range of bytes inside an archive, or a row of an array.

They are read when they are needed. Nothing is ever unpacked to the disk, so no name in an archive can lead anywhere.
"""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from vitral.errors import UnreadableImageError

LARGEST = 1 << 31
"""Bytes of the largest part that is read: a damaged or malicious size must not fill the memory."""


class Stored(ABC):
    """A picture inside something larger; `str` of it says where: "archive.tar: member"."""

    @abstractmethod
    def read(self) -> bytes | np.ndarray:
        """Encoded bytes, or pixels [height, width] or [height, width, 3] uint8.

        Raises:
            UnreadableImageError: they cannot be read.
        """

    @property
    def size(self) -> int:
        """Bytes of the picture as it is stored, known without reading it; 0 where all of its kind have the same."""
        return 0

    def content(self) -> bytes:
        """What tells the picture apart from others: its bytes, or its pixels'."""
        read = self.read()
        return read if isinstance(read, bytes) else f"{read.shape} ".encode() + read.tobytes()


class Bytes(Protocol):
    """Something that gives a range of bytes: a file, or what a compressed one holds."""

    @property
    def path(self) -> Path:
        """The file."""

    def at(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes from `offset`, or fewer where the end comes first; raises `OSError`."""


@dataclass(frozen=True)
class Plain:
    """The bytes of a file as they are."""

    path: Path

    def at(self, offset: int, length: int) -> bytes:
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.read(length)


@dataclass(frozen=True)
class Part(Stored):
    """A range of bytes.

    Args:
        whole: what it is part of.
        name: what the part is called; nothing if it is all of a file.
        offset, length: in bytes.
        deflated: the length in bytes after inflating, where the range holds a raw deflate stream, as in a ZIP.
        checksum: CRC-32 of the bytes, where it is known.
    """

    whole: Bytes = field(repr=False)
    name: str
    offset: int
    length: int
    deflated: int | None = None
    checksum: int | None = None

    def __str__(self) -> str:
        return f"{self.whole.path}: {self.name}" if self.name else str(self.whole.path)

    @property
    def size(self) -> int:
        """Bytes of the picture."""
        return self.length if self.deflated is None else self.deflated

    def read(self) -> bytes:
        """The bytes."""
        if max(self.size, self.length) > LARGEST:
            raise UnreadableImageError(
                str(self), f"it has {self.size:,} bytes, more than the {LARGEST:,} that are read"
            )
        try:
            data = self.whole.at(self.offset, self.length)
            if len(data) == self.length and self.deflated is not None:
                data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, self.deflated)
        except (OSError, zlib.error, EOFError) as error:
            reason = getattr(error, "strerror", None) or f"damaged ({error})"
            raise UnreadableImageError(str(self), reason) from None
        if len(data) != self.size:
            raise UnreadableImageError(str(self), "truncated")
        if self.checksum is not None and zlib.crc32(data) != self.checksum:
            raise UnreadableImageError(str(self), "damaged (checksum)")
        return data


@dataclass(frozen=True)
class Row(Stored):
    """One picture of an array in memory, [n, height, width] or [n, height, width, 3] uint8."""

    array: np.ndarray = field(repr=False)
    index: int
    place: str

    def __str__(self) -> str:
        return self.place

    def read(self) -> np.ndarray:
        """The pixels."""
        return np.ascontiguousarray(self.array[self.index])
