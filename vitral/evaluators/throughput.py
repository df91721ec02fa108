"""How fast something answers: pictures per second by batch, and how long one answer takes.

Rounds go through all batches one after the other, so that all meet the same noise of the machine; what is told is
the median of the rounds with the least and the greatest.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

LEAST_CALLS = 3
"""Calls of a batch in each round, however long they take."""


class Spread(NamedTuple):
    """Of the rounds."""

    median: float
    least: float
    greatest: float


class Rate(NamedTuple):
    """Pictures per second with batches of `batch`, and the median seconds of one batch."""

    batch: int
    pictures_per_second: Spread
    seconds_per_batch: float


class Latency(NamedTuple):
    """Seconds from one call to its answer: the middle one of all calls, and that of every twentieth."""

    p50: float
    p95: float
    calls: int


Call = Callable[[], object]


def rates(
    calls: dict[int, Call], rounds: int, seconds: float, clock: Callable[[], float] = time.perf_counter
) -> list[Rate]:
    """Pictures per second of each call.

    Args:
        calls: by its number of pictures, something that returns when they are answered. Each is called once before
            anything is measured: first calls allocate memory and choose kernels.
        rounds: at least 1.
        seconds: least time of one batch in one round.
        clock: seconds.
    """
    for call in calls.values():
        call()
    found: dict[int, list[float]] = {batch: [] for batch in calls}
    times: dict[int, list[float]] = {batch: [] for batch in calls}
    for _ in range(rounds):
        for batch, call in calls.items():
            taken = _timed(call, seconds, clock)
            times[batch] += taken
            found[batch].append(batch * len(taken) / sum(taken))
    return [Rate(batch, spread(values), statistics.median(times[batch])) for batch, values in sorted(found.items())]


def latency(call: Call, seconds: float, clock: Callable[[], float] = time.perf_counter) -> Latency:
    """Of calls one after the other, for at least `seconds` and twenty calls, after two that do not count."""
    for _ in range(2):
        call()
    taken = _timed(call, seconds, clock, least=20)
    p50, p95 = np.quantile(taken, [0.5, 0.95])
    return Latency(float(p50), float(p95), len(taken))


def spread(values: Sequence[float]) -> Spread:
    """Median, least and greatest."""
    return Spread(statistics.median(values), min(values), max(values))


def _timed(call: Call, seconds: float, clock: Callable[[], float], least: int = LEAST_CALLS) -> list[float]:
    taken: list[float] = []
    while sum(taken) < seconds or len(taken) < least:
        start = clock()
        call()
        taken.append(clock() - start)
    return taken
