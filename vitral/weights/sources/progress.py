"""How far a download is, said on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

Progress = Callable[[str, int, int | None], None]
"""Called with a file's name, the bytes that are here, and all of them where the server says how many."""

SMALL = 4 << 20
"""Bytes of a file that come too quickly to be spoken of."""


def to_stderr() -> Progress:
    """A line that is redrawn on a terminal, and one now and then elsewhere."""
    live = sys.stderr.isatty()
    every, last = (0.1 if live else 30.0), time.monotonic()  # seconds

    def show(name: str, done: int, size: int | None) -> None:
        nonlocal last
        ended = done == size
        if (size is not None and size < SMALL) or not (ended or time.monotonic() - last >= every):
            return
        last = time.monotonic()
        of = "" if size is None else f" of {size / 1e6:.0f}"
        line = f"fetching {name}: {done / 1e6:.0f}{of} MB"
        print(f"\r{line}" if live else line, end="" if live and not ended else "\n", file=sys.stderr, flush=True)

    return show
