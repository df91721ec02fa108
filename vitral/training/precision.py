"""bfloat16 or float32 on a CPU: a few steps of the real network say which is faster here.

Processors differ: those with instructions for bfloat16 gain from it, others lose several times over.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

CLEARLY = 1.15
"""Times that bfloat16 must be as fast as float32 to be chosen."""

HOPELESS = 3.0
"""Times that bfloat16's first step may take as long as float32's before no second one is waited for."""

STEPS = 6
"""Steps of a trial: in each precision one to warm up and two of which the faster counts."""

SHARE = 0.02
"""Of the run's pictures, what a trial may cost."""

FEWEST, MOST = 8, 64
"""Pictures of a trial's step: fewer than the batch may be, but not so few that they say nothing."""

LEAST_SECONDS = 60.0
"""Predicted length of a run below which it stays in float32: there is little to gain."""


@dataclass(frozen=True)
class Timing:
    """Seconds for a step of `pictures` in both precisions; bfloat16's is `None` where it was not worth a look."""

    pictures: int
    float32: float
    bfloat16: float | None

    @property
    def chosen(self) -> str:
        """The precision to train in."""
        return "bfloat16" if self.bfloat16 is not None and self.float32 >= CLEARLY * self.bfloat16 else "float32"

    @property
    def seconds_per_picture(self) -> float:
        """In the precision that is chosen."""
        seconds = self.bfloat16 if self.chosen == "bfloat16" and self.bfloat16 is not None else self.float32
        return seconds / self.pictures


def trial_size(batch_size: int, pictures_in_all: int) -> int | None:
    """Pictures of a trial's step, or `None` where the run is too short for a trial."""
    size = min(batch_size, MOST, int(SHARE * pictures_in_all / STEPS))
    return size if size >= min(FEWEST, batch_size) else None


def compare(step: Callable[[str], object], pictures: int, pictures_in_all: int) -> Timing:
    """Time `step(precision)`, a forward and backward pass of `pictures`."""

    def seconds(precision: str) -> float:
        began = time.perf_counter()
        step(precision)
        return time.perf_counter() - began

    seconds("float32")
    first = seconds("float32")
    if first * pictures_in_all / pictures < LEAST_SECONDS:
        return Timing(pictures, first, None)
    slow = seconds("bfloat16")
    if slow > HOPELESS * first:
        return Timing(pictures, first, slow)
    once = seconds("bfloat16")
    return Timing(pictures, min(first, seconds("float32")), min(once, seconds("bfloat16")))
