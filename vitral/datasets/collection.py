"""The files of a published archive by name, whether it is a .tar, .tar.gz, .tgz or .zip as its authors publish it, or
has been unpacked to a folder. Archives are never unpacked: only their tables of contents are read here."""

from __future__ import annotations

import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from vitral.datasets.inflating import Inflating
from vitral.datasets.stored import Bytes, Part, Plain
from vitral.errors import DataError, MissingInputError, UnreadableImageError

LOCAL_HEADER = 30
"""Bytes of the fixed part of a ZIP member's own header; two lengths at 26 and 28 follow it."""


@dataclass(frozen=True)
class Collection:
    """Files by their names, with "/" between folders, as they stand in the archive."""

    path: Path
    parts: Mapping[str, Part]

    def ending(self, tail: str) -> Part:
        """The one file whose name is `tail`, or ends with "/" and `tail`.

        Raises:
            DataError: there is none, or several.
        """
        base = tail.rsplit("/", 1)[-1]
        found = [self.parts[name] for name in self._by_base.get(base, ()) if f"/{name}".endswith(f"/{tail}")]
        if len(found) != 1:
            raise DataError(
                f"{str(self.path)!r} holds {len(found) or 'no'} file{'s' * (len(found) != 1)} {tail!r}, but it should "
                "hold one: fetch it again."
            )
        return found[0]

    @cached_property
    def _by_base(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name in self.parts:
            found.setdefault(name.rsplit("/", 1)[-1], []).append(name)
        return found

    def read(self, tail: str) -> bytes:
        """The content of the file that `ending` gives.

        Raises:
            DataError: as there, or it is damaged.
        """
        part = self.ending(tail)
        try:
            return part.read()
        except UnreadableImageError as error:
            raise DataError(f"cannot read {part} ({error.reason}): fetch it again.") from None

    def text(self, tail: str) -> list[str]:
        """The lines of a text file, without those that are empty.

        Raises:
            DataError: as `read`, or it is no text.
        """
        try:
            return [line for line in self.read(tail).decode().splitlines() if line.strip()]
        except UnicodeDecodeError:
            raise DataError(f"{tail!r} in {str(self.path)!r} is no text: fetch it again.") from None


def first_there(folder: Path, names: Iterable[str]) -> Path | None:
    """The first of these files or folders that is in `folder`."""
    return next((folder / name for name in names if (folder / name).exists()), None)


def open_collection(path: Path) -> Collection:
    """What is in an archive or a folder.

    Raises:
        DataError: it is neither, or damaged. MissingInputError: it cannot be read.
    """
    try:
        if path.is_dir():
            return Collection(path, _folder(path))
        with path.open("rb") as file:
            start = file.read(4)
        if start[:2] == b"PK":
            return Collection(path, _zip(path))
        return Collection(path, _tar(path, start[:2] == b"\x1f\x8b"))
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"{str(path)!r} is damaged or no archive ({error}): fetch it again.") from None
    except OSError as error:
        raise MissingInputError(f"cannot read {str(path)!r}: {error.strerror or error}.") from None


def _folder(path: Path) -> dict[str, Part]:
    found = {}
    for base, folders, names in os.walk(path):  # does not follow links to folders
        folders.sort()
        for name in sorted(names):
            file = Path(base) / name
            if file.is_file() and not file.is_symlink():
                inner = file.relative_to(path).as_posix()
                found[inner] = Part(Plain(file), "", 0, file.stat().st_size)
    return found


def _tar(path: Path, compressed: bool) -> dict[str, Part]:
    inside: Bytes = Inflating(path) if compressed else Plain(path)
    with tarfile.open(path, "r:gz" if compressed else "r:") as tar:
        return _members(tar, inside)


def inner_tar(part: Part) -> dict[str, Part]:
    """The files of a tar that lies, as it is, inside another one.

    Raises:
        DataError: it is damaged. MissingInputError: it cannot be read.
    """
    try:
        with part.whole.path.open("rb") as file:
            file.seek(part.offset)
            with tarfile.open(fileobj=file, mode="r:") as tar:
                return _members(tar, part.whole)
    except tarfile.TarError as error:
        raise DataError(f"{part} is damaged or no archive ({error}): fetch it again.") from None
    except OSError as error:
        raise MissingInputError(f"cannot read {part}: {error.strerror or error}.") from None


def _members(tar: tarfile.TarFile, inside: Bytes) -> dict[str, Part]:
    return {
        member.name.removeprefix("./"): Part(inside, member.name, member.offset_data, member.size)
        for member in tar
        if member.isreg() and not member.issparse()
    }


def _zip(path: Path) -> dict[str, Part]:
    found = {}
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        for info in archive.infolist():
            if (
                info.is_dir()
                or info.flag_bits & 1
                or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
            ):
                continue
            file.seek(info.header_offset)
            header = file.read(LOCAL_HEADER)
            lengths = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
            deflated = info.file_size if info.compress_type == zipfile.ZIP_DEFLATED else None
            start = info.header_offset + LOCAL_HEADER + lengths
            found[info.filename] = Part(Plain(path), info.filename, start, info.compress_size, deflated, info.CRC)
    return found
