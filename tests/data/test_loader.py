"""Batches made by threads: the same bytes however many there are."""

from __future__ import annotations

import itertools
import random
import time

import numpy as np
import pytest

from vitral.data.loader import Batch, batches
from vitral.errors import UnreadableImageError


def make(epoch: int, sample: int) -> np.ndarray:
    if sample == 13:
        raise UnreadableImageError(f"picture {sample}", "torn")
    time.sleep(random.random() / 2000)  # threads finish out of order
    return np.full((2, 3, 3), (epoch * 31 + sample) % 251, dtype=np.uint8)


def ids(sizes: list[int]) -> list[tuple[np.ndarray, np.ndarray]]:
    start, made = 0, []
    for size in sizes:
        numbers = np.arange(start, start + size)
        made.append((numbers // 20, numbers % 20))
        start += size
    return made


def stream(workers: int, prefetch: int) -> list[Batch]:
    return list(batches(ids([10, 1, 17, 32]), make, (2, 3), workers, prefetch))


@pytest.mark.parametrize(("workers", "prefetch"), [(1, 1), (2, 1), (2, 4), (4, 16)])
def test_the_stream_is_the_same_for_any_number_of_threads(workers: int, prefetch: int) -> None:
    for ours, reference in zip(stream(workers, prefetch), stream(0, 1), strict=True):
        assert ours.images.tobytes() == reference.images.tobytes()
        assert (ours.epochs.tolist(), ours.samples.tolist()) == (reference.epochs.tolist(), reference.samples.tolist())
        assert [i for i, _ in ours.unreadable] == [i for i, _ in reference.unreadable]


def test_an_unreadable_picture_is_left_out_and_named_never_replaced() -> None:
    batch = next(batches([(np.zeros(3, int), np.array([12, 13, 14]))], make, (2, 3), 2, 1))
    assert batch.samples.tolist() == [12, 14]
    assert batch.images[:, 0, 0, 0].tolist() == [12, 14]
    assert [(i, error.reason) for i, error in batch.unreadable] == [(13, "torn")]


def test_an_endless_stream_is_read_only_as_far_ahead_as_asked() -> None:
    asked = []

    def endless():  # type: ignore[no-untyped-def]
        for start in itertools.count(0, 4):
            asked.append(start)
            yield np.zeros(4, int), np.arange(start, start + 4) % 10

    source = batches(endless(), make, (2, 3), 2, prefetch=3)
    for _ in range(5):
        next(source)
    source.close()  # type: ignore[attr-defined]
    assert len(asked) <= 5 + 3


def test_other_errors_are_not_swallowed() -> None:
    def broken(epoch: int, sample: int) -> np.ndarray:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(batches(ids([4]), broken, (2, 3), 2, 1))
