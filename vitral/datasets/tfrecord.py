"""Records of a TFRecord file, and the `tf.train.Example`s in them, without TensorFlow.

A record is: its length (8 bytes, little endian), the masked CRC-32C of these 8 bytes, the data, the masked CRC-32C of
the data (tensorflow/core/lib/io/record_writer.h). An Example is a protocol buffer:

    Example   1: Features
    Features  1: one entry for each feature {1: name, 2: Feature}
    Feature   1: BytesList {1: bytes, repeated} | 2: FloatList {1: float, packed} | 3: Int64List {1: varint, packed}
"""

from __future__ import annotations

import struct
from collections.abc import Container, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vitral.datasets.crc32c import crc32c
from vitral.errors import DataError, MissingInputError

LARGEST = 1 << 30
"""Bytes of the largest record that is read: a damaged length must not fill the memory."""


class Record(NamedTuple):
    """The data of a record, and the position of its first byte in the file."""

    data: bytes
    offset: int


class Blob(NamedTuple):
    """Bytes of a feature, and their position in the Example."""

    data: bytes
    offset: int


Feature = list[Blob] | np.ndarray
"""Bytes, or numbers [n] float32 or int64."""


def records(path: Path, wanted: Container[int] | None = None) -> Iterator[Record | None]:
    """Each record of a file in turn, checked; `None` in the place of one whose position is not among `wanted`,
    whose data is passed over unread.

    Raises:
        DataError: the file is cut short or damaged. MissingInputError: it cannot be opened.
    """
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            position = 0
            while head := file.read(12):
                length = _length(head, path, position)
                offset = file.tell()
                if offset + length + 4 > size:
                    raise DataError(f"{str(path)!r} is cut short in record {position}: fetch it again.")
                if wanted is not None and position not in wanted:
                    file.seek(length + 4, 1)
                    yield None
                else:
                    data = file.read(length)
                    if _masked(crc32c(data)) != int.from_bytes(file.read(4), "little"):
                        raise DataError(f"record {position} of {str(path)!r} is damaged (checksum): fetch it again.")
                    yield Record(data, offset)
                position += 1
    except OSError as error:
        raise MissingInputError(f"cannot read {str(path)!r}: {error.strerror or error}.") from None


def _length(head: bytes, path: Path, position: int) -> int:
    if len(head) < 12:
        raise DataError(f"{str(path)!r} is cut short in record {position}: fetch it again.")
    length, checksum = struct.unpack("<QI", head)
    if _masked(crc32c(head[:8])) != checksum or length > LARGEST:
        raise DataError(
            f"{str(path)!r} is damaged at record {position}, or is no TFRecord file (checksum of a length): fetch it "
            "again."
        )
    return int(length)


def _masked(crc: int) -> int:
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def parse_example(data: bytes) -> dict[str, Feature]:
    """The features of an Example by name.

    Raises:
        DataError: it is no Example.
    """
    found: dict[str, Feature] = {}
    try:
        for number, start, stop in _fields(data, 0, len(data)):
            if number == 1:
                for entry, first, last in _fields(data, start, stop):
                    if entry == 1:
                        name, feature = _entry(data, first, last)
                        found[name] = feature
    except (IndexError, ValueError, UnicodeDecodeError):
        raise DataError("the record is no tf.train.Example") from None
    return found


def _entry(data: bytes, start: int, stop: int) -> tuple[str, Feature]:
    name, feature = "", np.zeros(0, dtype=np.int64)
    made: Feature = feature
    for number, first, last in _fields(data, start, stop):
        if number == 1:
            name = data[first:last].decode()
        elif number == 2:
            for kind, begin, end in _fields(data, first, last):
                made = _values(data, kind, begin, end)
    return name, made


def _values(data: bytes, kind: int, start: int, stop: int) -> Feature:
    if kind == 1:
        return [Blob(data[first:last], first) for _, first, last in _fields(data, start, stop)]
    parts: list[np.ndarray] = []
    for _, first, last in _fields(data, start, stop):
        if kind == 2:
            parts.append(np.frombuffer(data[first:last], dtype="<f4"))
        else:
            parts.append(np.array(_varints(data, first, last), dtype=np.uint64).astype(np.int64))
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


def _varints(data: bytes, start: int, stop: int) -> list[int]:
    values = []
    while start < stop:
        value, start = _varint(data, start)
        values.append(value)
    return values


def _fields(data: bytes, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Number, start and end of each field of a message; of a number that is not packed, its own bytes."""
    while start < stop:
        tag, start = _varint(data, start)
        number, wire = tag >> 3, tag & 7
        if wire == 2:
            length, start = _varint(data, start)
            end = start + length
        elif wire == 0:
            _, end = _varint(data, start)
        elif wire in (1, 5):
            end = start + (8 if wire == 1 else 4)
        else:
            raise ValueError(wire)
        if end > stop:
            raise IndexError(end)
        yield number, start, end
        start = end


def _varint(data: bytes, start: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[start]
        start += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, start
        shift += 7
        if shift > 63:
            raise ValueError(shift)
