"""One process at a time."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Wait until no other process is in here with the same file, which is there only meanwhile.

    A file system that knows no locks is taken as if this process were alone.
    """
    while True:
        with path.open("a+b") as file:
            with contextlib.suppress(OSError):
                _lock(file.fileno())
            if _is_still(path, file.fileno()):
                try:
                    yield
                finally:
                    with contextlib.suppress(OSError):
                        path.unlink()
                return


def _is_still(path: Path, descriptor: int) -> bool:
    """Whether the opened file is the one of that path: another process may have removed it in the meantime."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_LOCK, 1)
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
