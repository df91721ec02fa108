"""How large a batch should be, against least squares by NumPy and orders that a simulation has shown."""

from __future__ import annotations

import bisect
import heapq
import itertools
import random

import numpy as np
import pytest

from vitral.serving.pace import KEPT, Pace


def fed(batches: list[tuple[int, float]]) -> Pace:
    pace = Pace()
    for count, seconds in batches:
        pace.took(count, seconds)
    return pace


def test_the_line_is_least_squares_with_late_batches_counting_more() -> None:
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 33, 200)
    seconds = 0.005 + 0.002 * counts + rng.normal(0, 0.0005, 200)
    pace = fed([(int(n), float(t)) for n, t in zip(counts, seconds, strict=True)])
    weights = KEPT ** np.arange(199, -1, -1)
    slope, fixed = np.polyfit(counts, seconds, 1, w=np.sqrt(weights))
    np.testing.assert_allclose(pace.line, (fixed, slope), rtol=1e-6)
    np.testing.assert_allclose(pace.picture, (weights * seconds).sum() / (weights * counts).sum(), rtol=1e-9)
    np.testing.assert_allclose(pace.batch, np.average(seconds, weights=weights), rtol=1e-9)


def test_where_a_batch_saves_nothing_half_of_what_waits_is_taken() -> None:
    pace = fed([(n, 0.03 * n) for n in (1, 2, 4, 8)])
    assert [pace.size(waiting, 1, 8) for waiting in (0, 1, 2, 3, 6, 100)] == [1, 1, 1, 2, 3, 8]
    assert [pace.size(waiting, 4, 8) for waiting in (1, 4, 9, 100)] == [1, 1, 3, 8]


def test_where_a_batch_costs_as_much_as_a_picture_all_that_waits_is_taken() -> None:
    pace = fed([(n, 0.005 + 1e-5 * n) for n in (1, 2, 4, 8)])
    assert pace.size(1, 1, 32) == 32
    assert fed([(n, 0.004 + 0.001 * n) for n in (1, 3, 9)]).size(6, 1, 32) == 8


@pytest.mark.parametrize("batches", [[], [(1, 0.1)], [(4, 0.1)] * 9, [(1, 0.5), (8, 0.1)], [(3, 0.0), (5, 0.0)]])
def test_no_measurement_makes_an_impossible_size(batches: list[tuple[int, float]]) -> None:
    pace = fed(batches)
    assert all(1 <= pace.size(waiting, 1, 8) <= 8 for waiting in range(40))
    fixed, each = pace.line
    assert fixed >= 0
    assert each >= 0


def waits(cost: tuple[float, float], pace: Pace | None, rate: float) -> tuple[float, float]:
    """Median and 99th percentile of the time to an answer, two places, pictures coming at Poisson times."""
    rng = random.Random(0)
    arrivals = list(itertools.accumulate(rng.expovariate(rate) for _ in range(6000)))
    free, first = [0.0, 0.0], 0
    times: list[float] = []
    while first < len(arrivals):
        start = max(heapq.heappop(free), arrivals[first])
        waiting = bisect.bisect_right(arrivals, start) - first
        count = min(waiting, 8 if pace is None else pace.size(waiting, 2, 8))
        end = start + cost[0] + cost[1] * count
        if pace is not None:
            pace.took(count, end - start)
        heapq.heappush(free, end)
        times += [end - came for came in arrivals[first : first + count]]
        first += count
    return float(np.median(times)), float(np.quantile(times, 0.99))


@pytest.mark.parametrize("load", [0.5, 0.7])
def test_on_a_processor_answers_come_no_later_than_by_taking_all_that_waits(load: float) -> None:
    """Batch costs as measured of a ViT-Ti/16 on one core: 40 ms a picture alone, 32 in batches of 8."""
    cost = (0.0095, 0.0309)
    capacity = 2 * 8 / (cost[0] + 8 * cost[1])
    (median, tail), (median_of_all, tail_of_all) = (waits(cost, pace, load * capacity) for pace in (Pace(), None))
    assert median <= median_of_all
    assert tail < 0.9 * tail_of_all
