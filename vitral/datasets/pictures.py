"""Pictures without labels, for `predict`: files, folders, patterns, tables, archives, and lists on standard input.

Nothing is read ahead but names. A tar archive is read from its beginning to its end, and its pictures straight from
it: no name in it ever becomes a path on this machine.
"""

from __future__ import annotations

import glob
import os
import sys
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Self

from vitral.config import DataConfig
from vitral.datasets.dataset import Source
from vitral.datasets.rows import FORMATS
from vitral.datasets.scan import ENDINGS, begins_as_picture, pictures_below
from vitral.datasets.table import read_paths
from vitral.errors import DataError, MissingInputError, UsageError
from vitral.registry import nearest_path

STDIN = "-"
"""The word for a list of paths on standard input, one per line."""

ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")

LARGEST_MEMBER = 1 << 29
"""Bytes of a file in an archive above which it is not read."""

LARGEST_HEADER = 1 << 20
"""Bytes of a member's long name or further attributes, which tarfile takes into memory whole; zeros compress well."""

EXTENSIONS = (
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK,
)  # fmt: skip
"""Kinds of members that only say more of the next one."""


class Picture(NamedTuple):
    """What a picture is called in answers, and where its pixels are; or why there are none."""

    name: str
    source: Source
    error: str | None = None


class Listed(NamedTuple):
    """Pictures one after the other, and how many there are, where that is known ahead."""

    pictures: Iterator[Picture]
    total: int | None


def listed(words: Sequence[str], config: DataConfig) -> Listed:
    """The pictures that words stand for, in their order; of folders and patterns in the order of names.

    Args:
        config: for tables, `path_column` and `image_folder`.

    Raises:
        MissingInputError: there is nothing. UsageError: a table has no such column, or a word is empty.
        DataError: a table is not valid; or, later, an archive is damaged.
    """
    parts = [_part(word, config) for word in words]
    totals = [part.total for part in parts if part.total is not None]
    total = sum(totals) if len(totals) == len(parts) else None
    return Listed((picture for part in parts for picture in part.pictures), total)


def _part(word: str, config: DataConfig) -> Listed:
    if not word:
        raise UsageError("a picture's path is empty: name a file, a folder or a pattern.")
    if word == STDIN:
        return Listed(_lines(), None)
    path = Path(word)
    if path.is_file() and word.lower().endswith(ARCHIVES):
        return Listed(_members(path), None)
    if path.is_file() and path.suffix.lower() in FORMATS:
        found = read_paths(replace(config, path=word))
    elif path.is_dir():
        found = pictures_below(path)
    else:
        found = [word] if path.exists() else _matching(word)
    if not found:
        kinds = "JPEG, PNG, WebP, BMP or GIF files"
        raise MissingInputError(
            f"{path} holds no pictures: give a folder with {kinds} in it, or a table that names some."
        )
    return Listed((Picture(name, name) for name in found), len(found))


def _matching(words: str) -> list[str]:
    """The files that a pattern fits, in order of their names."""
    found = sorted(name for name in glob.glob(words, recursive=True) if Path(name).is_file())  # noqa: PTH207 - any pattern
    if found:
        return found
    if any(sign in words for sign in "*?["):
        raise MissingInputError(f"no picture at {words}: nothing matches the pattern; check it, from {Path.cwd()}.")
    if Path(words).is_symlink():
        raise MissingInputError(f"no picture at {words}: the symbolic link leads to nothing; check where it should.")
    near = nearest_path(Path(words), lambda path: path.is_dir() or path.suffix.lower() in ENDINGS)
    raise MissingInputError(f"no picture at {words}: " + (f"did you mean {near}?" if near else "check the path."))


def _lines() -> Iterator[Picture]:
    for line in sys.stdin.buffer if hasattr(sys.stdin, "buffer") else (line.encode() for line in sys.stdin):
        name = os.fsdecode(line.rstrip(b"\r\n"))
        if name:
            yield Picture(name, name)


class _Header(tarfile.TarInfo):
    """A member's header; a damaged one is an error, where tarfile would take it for the end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if any(buf):
                raise tarfile.ReadError(f"damaged header: {error}") from None
            raise  # zeros, or nothing at all: the end
        if header.type in EXTENSIONS and header.size > LARGEST_HEADER:
            raise tarfile.ReadError(f"a header of {header.size:,} bytes, the limit is {LARGEST_HEADER:,}")
        return header


def _members(archive: Path) -> Iterator[Picture]:
    """The pictures in an archive, each read when it is its turn."""
    try:
        with tarfile.open(archive, mode="r|*", tarinfo=_Header) as tar:
            for member in tar:
                name = f"{archive}/{member.name}"
                if not member.isfile() or Path(member.name).name.startswith("."):
                    continue
                if member.size > LARGEST_MEMBER:
                    if Path(member.name).suffix.lower() in ENDINGS:
                        yield Picture(name, b"", f"{member.size:,} bytes are more than the limit of {LARGEST_MEMBER:,}")
                    continue
                file = tar.extractfile(member)
                assert file is not None, "a file has content"
                start = file.read(12)
                if begins_as_picture(start):
                    yield Picture(name, start + file.read())
                elif Path(member.name).suffix.lower() in ENDINGS:
                    yield Picture(name, start)  # enough to say that it is no picture
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise DataError(f"{archive} cannot be read to its end ({error}): copy or pack it again.") from error
