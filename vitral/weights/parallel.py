"""Several tensors at once: most of a load goes into fresh pages of memory, which the kernel makes for each core."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")

THREADS = max(1, min(4, os.cpu_count() or 1))

MANY = 4 << 20
"""Numbers of a file from which on several threads are worth their start, and the memory that each sets apart."""


def side_by_side(make: Callable[[Given], Made], given: Iterable[Given], numbers: int) -> list[Made]:
    """What `make` makes of each, in their order; the first of its errors in that order, if there are any.

    Args:
        numbers: how many there are in all.
    """
    if THREADS == 1 or numbers < MANY:
        return [make(one) for one in given]
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(make, given))


def numbers_in(shapes: Iterable[Sequence[int]]) -> int:
    """How many numbers tensors of these shapes have."""
    return sum(map(math.prod, shapes))
