"""Any range of bytes of what a .gz file holds, without unpacking it: the state of the decompression is kept every few
megabytes of its output, and a range is read from the last state before it."""

from __future__ import annotations

import bisect
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

EVERY = 1 << 21
"""Bytes of output between two states, of about 40 kB each: a read inflates half of it on average, in a few ms."""

CHUNK = 1 << 16
"""Bytes of the file read at once."""

GZIP = zlib.MAX_WBITS | 16
"""What tells zlib that a gzip header and checksum are around the stream."""


class State(NamedTuple):
    """Where a decompression stands: output so far, position in the file, and the decompressor."""

    made: int
    position: int
    inflater: Any


class Inflating:
    """What a .gz file holds. Making it reads the whole file once, and so checks its checksum.

    Raises:
        OSError, zlib.error, EOFError: the file cannot be read, is damaged, or cut short.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._states = [State(0, 0, zlib.decompressobj(GZIP))]
        self.size = 0
        for state in self._run(State(0, 0, zlib.decompressobj(GZIP))):
            if state.made - self._states[-1].made >= EVERY and not state.inflater.eof:
                self._states.append(State(state.made, state.position, state.inflater.copy()))
            self.size = state.made
        self._starts = [state.made for state in self._states]

    def at(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes from `offset`, or fewer where the end comes first."""
        parts: list[bytes] = []
        before = self._states[bisect.bisect_right(self._starts, offset) - 1]
        state = State(before.made, before.position, before.inflater.copy())
        for after in self._run(state, parts):
            if after.made >= offset + length:
                break
            if after.made <= offset:
                parts.clear()
                state = after
        return b"".join(parts)[offset - state.made :][:length]

    def _run(self, state: State, output: list[bytes] | None = None) -> Iterator[State]:
        """The state after each chunk of the file, from a given one on; what comes out is added to `output`."""
        made, position, inflater = state
        begun = made > 0  # whether a stream is under way; a file may hold several, one after the other
        with self.path.open("rb") as file:
            file.seek(position)
            while chunk := file.read(CHUNK):
                while chunk:
                    if not begun:  # between streams, and after the last, there may be zeros, as tapes are padded
                        rest = chunk.lstrip(b"\0")
                        position += len(chunk) - len(rest)
                        chunk = rest
                        if not chunk:
                            break
                    begun = True
                    part = inflater.decompress(chunk)
                    made += len(part)
                    position += len(chunk) - len(inflater.unused_data)
                    if output is not None:
                        output.append(part)
                    chunk = inflater.unused_data
                    yield State(made, position, inflater)
                    if inflater.eof:
                        begun, inflater = False, zlib.decompressobj(GZIP)
        if begun or made == 0:
            raise EOFError("truncated")
