"""List folders of pictures quickly, in an order that the file system and the locale do not change.

Only names are read: a file with a picture's ending is taken without opening it, and there is no stat call per
file. A file with another ending, or none, is taken if its first bytes are a picture's.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from vitral.datasets.splits import SYNONYMS
from vitral.errors import DataError, MissingInputError

ENDINGS: dict[str, str] = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".png": "PNG",
    ".webp": "WebP",
    ".bmp": "BMP",
    ".gif": "GIF",
}
"""Endings of pictures, in lower case, and the format that each promises."""


@dataclass
class Scan:
    """One folder's own content, sorted by code point; hidden entries are left out."""

    folders: list[str] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)


class Scanner:
    """Lists folders below one root, and counts by ending the files that it leaves out."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.real_root = os.path.realpath(root)
        self.ignored: Counter[str] = Counter()

    def scan(self, folder: Path, counting: bool = True) -> Scan:
        """The folders and pictures directly in `folder`; `counting` is False for a look ahead.

        Raises:
            DataError: a symbolic link leads out of the root.
            MissingInputError: the folder cannot be listed.
        """
        found = Scan()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_symlink():
                        self._refuse_escape(entry.path)
                    if entry.is_dir():
                        found.folders.append(entry.name)
                    elif _is_picture(entry):
                        found.pictures.append(entry.name)
                    elif counting:
                        self.ignored[_ending(entry.name) or "without ending"] += 1
        except OSError as error:
            raise MissingInputError(f"cannot list folder {str(folder)!r}: {error.strerror}.") from None
        found.folders.sort()
        found.pictures.sort()
        return found

    def ignored_files(self) -> str:
        """The files left out, for a sentence: "3 .txt, 1 .xml"; empty if there are none."""
        return ", ".join(f"{count:,} {ending}" for ending, count in sorted(self.ignored.items()))

    def likely_root(self, folder: Path, depth: int = 3) -> Path | None:
        """At or below `folder`, the first folder whose own folders hold pictures (or splits); None without one."""
        # A hundred names are enough for a guess; a look at everything would take as long as reading it.
        inner = [folder / name for name in self.scan(folder, counting=False).folders[:100]]
        if any(self.scan(path, counting=False).pictures for path in inner):
            return folder.parent if folder.name.lower() in SYNONYMS else folder
        if depth > 0:
            for path in inner:
                deeper = self.likely_root(path, depth - 1)
                if deeper is not None:
                    return deeper
        return None

    def _refuse_escape(self, path: str) -> None:
        target = os.path.realpath(path)
        here = os.path.realpath(os.path.dirname(path))  # noqa: PTH120
        if os.path.commonpath((here, target)) == target:
            raise DataError(f"symbolic link {path!r} leads back to {target!r}, in which it lies: remove it.")
        if os.path.commonpath((target, self.real_root)) != self.real_root:
            raise DataError(
                f"symbolic link {path!r} leads out of {str(self.root)!r}, to {target!r}: copy the files in, or give "
                f"the folder that it leads to as the path."
            )


def _ending(name: str) -> str:
    """With the dot, in lower case; "" if there is none."""
    dot = name.rfind(".")
    return name[dot:].lower() if dot > 0 else ""


def _is_picture(entry: os.DirEntry[str]) -> bool:
    if _ending(entry.name) in ENDINGS:
        return True
    try:
        if not entry.is_file():  # opening a pipe would wait for ever
            return False
        with open(entry.path, "rb") as file:  # noqa: PTH123
            start = file.read(12)
    except OSError:
        return False
    return begins_as_picture(start)


def begins_as_picture(start: bytes) -> bool:
    """Whether the first 12 bytes of a file are a picture's."""
    # "BM" alone begins too many texts; the bytes 6 to 9 of a BMP are reserved, and zero.
    is_bmp = start.startswith(b"BM") and start[6:10] == bytes(4)
    is_webp = start.startswith(b"RIFF") and start[8:] == b"WEBP"
    return is_bmp or is_webp or start.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a"))


def pictures_below(folder: Path) -> list[str]:
    """Every picture in `folder` and the folders below it, sorted folder by folder."""
    scanner = Scanner(folder)

    def walk(place: Path) -> list[str]:
        found = scanner.scan(place)
        return [str(place / name) for name in found.pictures] + [
            path for name in found.folders for path in walk(place / name)
        ]

    return walk(folder)
