"""The balanced stream: how often each class and each sample comes, and that it is a function of its place alone."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from vitral.data.balance import BalancedOrder

LABELS = [0] * 50 + [1] * 7 + [2] * 3
"""Skewed, and no class's share of 60 places is a multiple of its samples."""


def stream(balance: float, count: int, labels: list[int] = LABELS, seed: int = 3) -> list[tuple[int, int]]:
    passes, ids = BalancedOrder(labels, balance, seed).sample_ids(0, count)
    return list(zip(passes.tolist(), ids.tolist(), strict=True))


@pytest.mark.parametrize(("balance", "expected"), [(1.0, [20, 20, 20]), (0.0, [50, 7, 3]), (0.5, None)])
def test_every_epoch_gives_each_class_its_share(balance: float, expected: list[int] | None) -> None:
    if expected is None:
        roots = np.sqrt([50, 7, 3])
        expected = np.round(60 * roots / roots.sum()).astype(int).tolist()
        assert sum(expected) == 60
    seen = stream(balance, 60 * 5)
    for epoch in range(5):
        counts = Counter(LABELS[sample] for _, sample in seen[60 * epoch : 60 * epoch + 60])
        assert [counts[k] for k in range(3)] == expected


def test_within_a_class_all_samples_come_before_one_comes_again() -> None:
    seen = stream(1.0, 60 * 7)
    assert len(set(seen)) == len(seen)  # so an augmentation drawn by pass and sample never repeats
    for k in range(3):
        members = {i for i, label in enumerate(LABELS) if label == k}
        own = Counter(sample for _, sample in seen if LABELS[sample] == k)
        assert set(own) <= members
        assert max(own.values()) - min(own.get(i, 0) for i in members) <= 1


@pytest.mark.parametrize("balance", [0.3, 1.0])
def test_cutting_the_stream_anywhere_changes_nothing(balance: float) -> None:
    whole = stream(balance, 200)
    order = BalancedOrder(LABELS, balance, 3)
    pieces, at = [], 0
    for count in (1, 7, 59, 60, 61, 12):
        passes, ids = order.sample_ids(at, count)
        pieces += list(zip(passes.tolist(), ids.tolist(), strict=True))
        at += count
    assert pieces == whole


def test_seeds_and_epochs_have_orders_of_their_own() -> None:
    assert stream(1.0, 60) != stream(1.0, 60, seed=4)
    seen = [sample for _, sample in stream(1.0, 120)]
    assert seen[:60] != seen[60:]


def test_a_class_of_one_sample_and_gaps_between_labels_are_sound() -> None:
    labels = [0] * 399 + [5]
    assert Counter(sample for _, sample in stream(0.0, 400, labels)) == dict.fromkeys(range(400), 1)
    assert Counter(labels[sample] for _, sample in stream(1.0, 800, labels)) == {0: 400, 5: 400}
