"""Speed, by a clock that the test turns."""

from __future__ import annotations

import pytest

from vitral.evaluators.throughput import latency, rates


class Clock:
    def __init__(self) -> None:
        self.now = 0.0
        self.calls = 0

    def __call__(self) -> float:
        return self.now

    def work(self, *seconds: float) -> object:
        """Something that takes these seconds, in turn."""

        def call() -> None:
            self.now += seconds[self.calls % len(seconds)]
            self.calls += 1

        return call


def test_rates_are_pictures_by_seconds_of_each_round() -> None:
    clock = Clock()
    found = rates({8: clock.work(0.5), 2: clock.work(0.25)}, rounds=3, seconds=1, clock=clock)  # type: ignore[dict-item]
    assert [(rate.batch, rate.seconds_per_batch) for rate in found] == [(2, 0.25), (8, 0.5)]
    assert found[1].pictures_per_second == (16, 16, 16)
    assert found[0].pictures_per_second == (8, 8, 8)


def test_the_first_call_does_not_count() -> None:
    clock = Clock()
    slow_start = clock.work(100, *[1.0] * 1000)
    (found,) = rates({1: slow_start}, rounds=1, seconds=3, clock=clock)  # type: ignore[dict-item]
    assert found.pictures_per_second.median == 1


def test_rounds_are_interleaved() -> None:
    clock, order = Clock(), []

    def call(name: int) -> object:
        def work() -> None:
            clock.now += 1
            order.append(name)

        return work

    rates({1: call(1), 2: call(2)}, rounds=2, seconds=3, clock=clock)  # type: ignore[dict-item]
    assert order[2:] == [1, 1, 1, 2, 2, 2, 1, 1, 1, 2, 2, 2]


def test_latency_is_the_middle_and_the_slowest_twentieth() -> None:
    clock = Clock()
    found = latency(clock.work(*[0.01] * 17, 0.5, 0.5, 0.5), seconds=0, clock=clock)  # type: ignore[arg-type]
    assert found.calls == 20
    assert found.p50 == pytest.approx(0.01)
    assert found.p95 == pytest.approx(0.5)
