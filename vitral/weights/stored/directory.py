"""A zip archive: its directory looked at before anything in it is believed, its members checked as they are read."""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO

END = b"PK\x05\x06"
END_64 = b"PK\x06\x06"
LOCATOR_64 = b"PK\x06\x07"

SPARE = 64 << 20
"""Bytes that any archive may unpack to."""

EXPANSION = 8
"""Times its own size that an archive may unpack to beyond that; weights hardly compress at all."""

SLICE = 1 << 20
"""Bytes unpacked at a time."""

LONGEST_COMMENT = 65_535
MOST_MEMBERS = 20_000
"""The largest network published has some thousand tensors."""

LONGEST_DIRECTORY = 16 << 20
"""Bytes of all names and places."""


def members_of(file: BinaryIO) -> list[zipfile.ZipInfo]:
    """What a zip archive holds.

    Raises:
        ValueError, zipfile.BadZipFile: it is damaged, packed in an unusual way, or made to fill the memory.
    """
    size = file.seek(0, os.SEEK_END)
    count = _count(file, size)
    if count > MOST_MEMBERS:
        raise ValueError(f"it lists {count} members")
    try:
        with zipfile.ZipFile(file) as archive:
            found = archive.infolist()
    except (NotImplementedError, RuntimeError, UnicodeDecodeError, OverflowError, struct.error) as error:
        raise ValueError(str(error)) from error
    if len(found) != count:
        raise ValueError(f"it lists {len(found)} members and says that it has {count}")
    unpacked_size = sum(info.file_size for info in found)
    if unpacked_size > SPARE + EXPANSION * size:
        raise ValueError(f"{size} bytes would unpack to {unpacked_size}")
    for info in found:
        _check(file, size, info)
    return found


def unpacked(file: BinaryIO, info: zipfile.ZipInfo, most: int = SLICE) -> Iterator[bytes]:
    """The bytes of a member, `most` at a time.

    Raises:
        ValueError: after the last piece, where they do not agree with the archive's CRC-32; or there are too few.
    """
    file.seek(info.header_offset)
    lengths = struct.unpack("<26xHH", file.read(30))  # of the name and the extra field that follow
    file.seek(info.header_offset + 30 + sum(lengths))
    unpack = zlib.decompressobj(-15) if info.compress_type == zipfile.ZIP_DEFLATED else None
    crc, left, packed_left = 0, info.file_size, info.compress_size
    while left:
        packed = unpack.unconsumed_tail if unpack else b""
        if not packed:
            packed = file.read(min(packed_left, most))
            packed_left -= len(packed)
        try:
            piece = unpack.decompress(packed, min(left, most)) if unpack else packed
        except zlib.error as error:
            raise ValueError(f"{info.filename} cannot be unpacked: {error}") from error
        if not piece and not packed:
            raise ValueError(f"{info.filename} ends too early")
        crc, left = zlib.crc32(piece, crc), left - len(piece)
        yield piece
    if crc != info.CRC:
        raise ValueError(f"the checksum of {info.filename} is not that of its bytes")


def _count(file: BinaryIO, size: int) -> int:
    """Members by the record at the archive's end, and no more of them than its directory has room for."""
    start = max(0, size - LONGEST_COMMENT - 22)
    file.seek(start)
    tail = file.read()
    place = tail.rfind(END)
    if place < 0 or len(tail) - place < 22:
        raise ValueError("it has no end: it was cut off")
    count, length, begin = struct.unpack_from("<HII", tail, place + 10)
    end = start + place  # of the directory, where the record stands
    if tail[max(0, place - 20) : place][:4] == LOCATOR_64:  # torch writes one in archives of any size
        end = struct.unpack_from("<Q", tail, place - 12)[0]
        file.seek(min(end, size))
        record = file.read(56)
        if len(record) < 56 or record[:4] != END_64:
            raise ValueError("its end is damaged")
        count, length, begin = struct.unpack_from("<QQQ", record, 32)
    if begin + length != end:
        raise ValueError("its directory is not where its end says")
    if length > size or length > LONGEST_DIRECTORY or count > length // 46:  # an entry has 46 bytes or more
        raise ValueError(f"it says that it has {count} members in {length} bytes")
    return int(count)


def _check(file: BinaryIO, size: int, info: zipfile.ZipInfo) -> None:
    """Refuse what is locked, packed in an unusual way, outside of the file, or called otherwise where it stands."""
    if info.flag_bits & 1:
        raise ValueError(f"{info.filename} is encrypted")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{info.filename} is packed by method {info.compress_type}")
    if info.compress_type == zipfile.ZIP_STORED and info.compress_size != info.file_size:
        raise ValueError(f"{info.filename} is not packed and has two sizes")
    if not 0 <= info.header_offset <= size - 30 or info.compress_size > size:
        raise ValueError(f"{info.filename} stands outside of the file")
    file.seek(info.header_offset)
    head = file.read(30)
    length = struct.unpack_from("<H", head, 26)[0]
    if head[:4] != b"PK\x03\x04" or file.read(length) != info.orig_filename.encode(
        "utf-8" if info.flag_bits & 0x800 else "cp437"
    ):
        raise ValueError(f"{info.filename} has another name where it stands")
