"""What was read of training pictures, kept in memory or on a fast disk for the epochs to come.

It keeps encoded files ("files", for a slow or distant disk) or decoded pixels ("pixels", which spare the decoding and
take some ten times the room). Either way a picture's pixels are the same with the cache and without: an entry belongs
to one path, size, time of change and i-node, so a file that is written again is read again. Up to its size the cache
takes what comes first and gives up nothing: an epoch asks for every picture once, in another order each time, so the
share that is kept is the share that is found, and throwing out the oldest would only keep less.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import threading
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Literal

import numpy as np

from vitral.datasets.dataset import Source
from vitral.datasets.stored import Part, Stored
from vitral.errors import StorageError

HEADER = struct.Struct("<8sQQQQ")
"""Of a file of the cache: magic, height, width, bytes of the payload, sum of its 64-bit words. Height 0: a file."""

MAGIC = b"vitral01"

Of = Literal["files", "pixels"]


class Cache(ABC):
    """Entries by picture.

    Args:
        of: what is kept of a picture.
        size: bytes to keep at most.
    """

    def __init__(self, of: Of, size: int) -> None:
        self.of: Of = of
        self.size = size
        self.bytes = 0
        self.pictures = 0
        self.found = 0
        self.full = False
        self._lock = threading.Lock()

    @property
    def keeps_pixels(self) -> bool:
        """Whether it keeps decoded pixels."""
        return self.of == "pixels"

    def encoded(self, source: Source) -> bytes | None:
        """The file's bytes, if they are kept."""
        kept = self._found(source) if self.of == "files" else None
        return None if kept is None else kept.tobytes()

    def pixels(self, source: Source) -> np.ndarray | None:
        """The picture's pixels [height, width, 3], if they are kept; they may not be written to."""
        return self._found(source) if self.keeps_pixels else None

    def keep_encoded(self, source: Source, data: bytes) -> None:
        """Keep a file's bytes, if there is room and that is what is kept."""
        if self.of == "files":
            self._keep(source, np.frombuffer(data, dtype=np.uint8))

    def keep_pixels(self, source: Source, pixels: np.ndarray) -> None:
        """Keep pixels, if there is room and that is what is kept."""
        if self.keeps_pixels:
            self._keep(source, pixels)

    def _found(self, source: Source) -> np.ndarray | None:
        key = stamp(source)
        kept = None if key is None else self._get(key)
        if kept is not None:
            self.found += 1
        return kept

    def _keep(self, source: Source, values: np.ndarray) -> None:
        key = stamp(source)
        if key is None or not self._room_for(values.nbytes):
            return
        kept = self._put(key, values)  # another thread may keep the same picture meanwhile, for a later epoch
        with self._lock:
            if kept:
                self.pictures += 1
            else:
                self.bytes -= values.nbytes

    def _room_for(self, count: int) -> bool:
        with self._lock:
            if self.bytes + count > self.size:
                self.full = True
                return False
            self.bytes += count
            return True

    def close(self, done: bool) -> None:  # noqa: B027 - most have nothing to do
        """The run is over, or (`done` is false) will go on another time."""

    @abstractmethod
    def _get(self, key: bytes) -> np.ndarray | None:
        """The entry, read-only."""

    @abstractmethod
    def _put(self, key: bytes, values: np.ndarray) -> bool:
        """Keep an entry; `False` if it is there already or cannot be kept."""


class Memory(Cache):
    """In this process."""

    def __init__(self, of: Of, size: int) -> None:
        super().__init__(of, size)
        self._kept: dict[bytes, np.ndarray] = {}

    def _get(self, key: bytes) -> np.ndarray | None:
        return self._kept.get(key)

    def _put(self, key: bytes, values: np.ndarray) -> bool:
        own = values if values.base is None and values.flags.owndata else values.copy()
        own.flags.writeable = False
        return self._kept.setdefault(key, own) is own


class Disk(Cache):
    """Files in a folder, which other runs may share.

    Args:
        shrink: of the pictures whose pixels are kept; another value is another entry.
        temporary: the folder goes when the run is done.

    Raises:
        StorageError: the folder cannot be made.
    """

    def __init__(self, of: Of, size: int, folder: Path, shrink: int | None, temporary: bool) -> None:
        super().__init__(of, size)
        self.folder = folder
        self.temporary = temporary
        self.failure: str | None = None
        self._kind = f"{of} {shrink if of == 'pixels' else None}".encode()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            present = [entry.stat().st_size for part in folder.iterdir() if part.is_dir() for entry in part.iterdir()]
        except OSError as error:
            raise StorageError(
                f"cannot keep pictures in {folder} ({error.strerror}): name another folder with "
                "--runtime.cache-folder, or leave --cache out."
            ) from error
        self.bytes, self.pictures = sum(present), len(present)

    def _path(self, key: bytes) -> Path:
        name = hashlib.blake2b(self._kind + key, digest_size=20).hexdigest()
        return self.folder / name[:2] / name[2:]

    def _get(self, key: bytes) -> np.ndarray | None:
        try:
            data = np.fromfile(self._path(key), dtype=np.uint8)
        except OSError:
            return None
        return _unpacked(data)

    def _put(self, key: bytes, values: np.ndarray) -> bool:
        if self.failure is not None:
            return False
        path = self._path(key)
        aside = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
        try:
            path.parent.mkdir(exist_ok=True)
            with aside.open("wb") as file:
                file.write(_header(values))
                file.write(np.ascontiguousarray(values).data)
            with self._lock:
                fresh = not path.exists()
                aside.replace(path)  # not flushed: after a crash a torn entry is found out by its sum
        except OSError as error:
            with contextlib.suppress(OSError):
                aside.unlink()
            self.failure = error.strerror or str(error)
            return False
        return fresh

    def close(self, done: bool) -> None:
        """Take a temporary folder away."""
        if done and self.temporary:
            remove(self.folder)


def remove(folder: Path) -> None:
    """Take away the folder of a `Disk`, with nothing in it but what was kept there; it need not be there."""
    with contextlib.suppress(OSError):
        for part in folder.iterdir():
            for entry in part.iterdir():
                entry.unlink()
            part.rmdir()
        folder.rmdir()


def stamp(source: Source) -> bytes | None:
    """What stands for the content of a file without reading it: path, i-node, size and both times of change.

    Whoever writes to a file moves its second time (st_ctime), which cannot be set. `None` for what is in memory.
    """
    part = b""
    if isinstance(source, Part):
        part, source = f"{source.name}\0{source.offset} {source.length} ".encode("utf-8", "replace"), source.whole.path
    elif isinstance(source, Stored):
        return None
    if not isinstance(source, str | os.PathLike):
        return None
    try:
        found = os.stat(source)  # noqa: PTH116 - a Path would cost more than the call
    except (OSError, ValueError):
        return None
    facts = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    return part + os.path.abspath(os.fsencode(source)) + b"\0" + " ".join(map(str, facts)).encode()  # noqa: PTH100


def _sum(values: np.ndarray) -> int:
    """The sum of 64-bit words modulo 2^64, which takes a twentieth of the time of a checksum."""
    whole = len(values) // 8 * 8
    total = int(np.add.reduce(values[:whole].view(np.uint64), dtype=np.uint64)) if whole else 0
    return (total + int.from_bytes(values[whole:].tobytes(), "little")) % 2**64


def _header(values: np.ndarray) -> bytes:
    height, width = values.shape[:2] if values.ndim == 3 else (0, 0)
    return HEADER.pack(MAGIC, height, width, values.nbytes, _sum(np.ascontiguousarray(values).reshape(-1)))


def _unpacked(data: np.ndarray) -> np.ndarray | None:
    """The entry in a file's bytes; `None` if it is torn or of another making."""
    if len(data) < HEADER.size:
        return None
    magic, height, width, length, total = HEADER.unpack(data[: HEADER.size].tobytes())
    values = data[HEADER.size :]
    if magic != MAGIC or len(values) != length or _sum(values) != total:
        return None
    if height == 0:
        return values
    return values.reshape(height, width, 3) if height * width * 3 == length else None
