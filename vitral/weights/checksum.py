"""A checksum of a file of weights that keeps every core busy: SHA-256 of its pieces, then of their digests.

SHA-256 is the fastest strong function of Python's standard library where the processor has instructions for it, as
nearly all have. One after the other, the bytes of a file would still take longer to sum than to read; pieces are
summed side by side. Numbers that are wanted anyway are summed where they were read to, while they are in the cache.
"""

from __future__ import annotations

import bisect
import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from vitral.errors import DataError

PIECE = 4 << 20
"""Bytes of a piece."""

KIND = "sha256-4MiB"
"""How a checksum begins that was made this way."""

SLICE = 256 << 10
"""Bytes read at a time: they are summed while they are in the cache."""

MOST_THREADS = 8

Kept = Sequence[tuple[int, memoryview]]
"""Parts of a file that are to be kept: where each begins, and memory for its bytes; in order, without overlap."""


def checksum_of(path: Path, kept: Kept = ()) -> str:
    """The checksum of a file: "sha256-4MiB:" and 64 hexadecimal digits.

    Args:
        kept: parts of the file that are to be kept, too.

    Raises:
        OSError: it cannot be read.
    """
    pieces = range(0, path.stat().st_size, PIECE)
    threads = max(1, min(MOST_THREADS, os.cpu_count() or 1, len(pieces)))
    if threads == 1:
        digests = dict(_digests(path, pieces, kept))
    else:
        with ThreadPoolExecutor(threads) as pool:
            runs = pool.map(lambda first: _digests(path, pieces[first::threads], kept), range(threads))
            digests = dict(digest for run in runs for digest in run)
    whole = hashlib.sha256(b"".join(digests[start] for start in pieces))
    return f"{KIND}:{whole.hexdigest()}"


def require_checksum(path: Path, expected: str, kept: Kept = ()) -> None:
    """Compare a file with the checksum that was taken when it was written.

    Args:
        kept: parts of the file that are to be kept; of use only where this does not raise.

    Raises:
        DataError: it has changed since, or the checksum is of an unknown kind.
    """
    if not expected.startswith(f"{KIND}:"):
        raise DataError(f"{path} has a checksum of the unknown kind {expected[:20]!r}: update vitral.")
    try:
        found = checksum_of(path, kept)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): copy it again.") from error
    if found != expected:
        raise DataError(
            f"{path} is not the file that was saved (its checksum differs): copy it again, or take the checksum out of "
            f"config.json if it was changed on purpose."
        )


def _digests(path: Path, starts: range, kept: Kept) -> list[tuple[int, bytes]]:
    """Digest of the piece at each start; hashing and reading let other threads run."""
    found = []
    spare = memoryview(bytearray(SLICE))
    with path.open("rb", buffering=0) as file:
        for start in starts:
            file.seek(start)
            digest = hashlib.sha256()
            for place in _places(start, start + PIECE, kept, spare):
                while len(place) and (count := file.readinto(place)):
                    digest.update(place[:count])
                    place = place[count:]
                if len(place):  # the file's end
                    break
            found.append((start, digest.digest()))
    return found


def _places(start: int, end: int, kept: Kept, spare: memoryview) -> Iterator[memoryview]:
    """Memory for the file's bytes from `start` to `end`, in their order: where they are kept, or `spare`."""
    number = bisect.bisect_right(kept, start, key=lambda part: part[0] + len(part[1]))  # the first that ends later
    while start < end:
        begin, view = kept[number] if number < len(kept) else (end, spare)
        if start < begin or view is spare:
            place = spare[: min(begin, end) - start]
        else:
            place = view[start - begin : min(end - begin, start - begin + SLICE)]
            number += start + len(place) == begin + len(view)
        yield place
        start += len(place)
