"""Confusion, balanced accuracy and F1 against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest

from vitral.evaluators.classification import single_label_metrics
from vitral.evaluators.confusion import MOST_PAIRS, balanced_accuracy, macro_f1, most_confused

metrics = pytest.importorskip("sklearn.metrics", reason="the oracle, scikit-learn, is not installed")


def random_case() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = rng.choice(8, 500, p=[0.4, 0.2, 0.1, 0.1, 0.1, 0.05, 0.05, 0])  # the last class has no pictures
    return truth, np.where(rng.random(500) < 0.6, truth, rng.integers(0, 8, 500))


def test_balanced_accuracy_equals_scikit_learns() -> None:
    truth, guess = random_case()
    keep = guess != 7  # scikit-learn warns of a guess that no picture has
    expected = metrics.balanced_accuracy_score(truth[keep], guess[keep])
    assert balanced_accuracy(truth[keep], guess[keep]) == pytest.approx(expected)


def test_f1_equals_scikit_learns_over_the_classes_present() -> None:
    truth, guess = random_case()
    expected = metrics.f1_score(truth, guess, labels=range(7), average="macro")
    assert macro_f1(truth, guess) == pytest.approx(expected)


def test_unreadable_pictures_count_as_missed_and_unknown_classes_as_false_alarms() -> None:
    truth, guess = np.array([0, 0, 1, 1, -1]), np.array([0, -1, 1, 1, 1])
    assert balanced_accuracy(truth, guess) == 0.75
    # Class 0: precision 1, recall 1/2. Class 1: precision 2/3, recall 1.
    assert macro_f1(truth, guess) == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert balanced_accuracy(np.array([-1]), np.array([0])) is None
    assert macro_f1(np.array([-1]), np.array([0])) is None


def test_pairs_are_those_of_the_confusion_matrix() -> None:
    truth, guess = random_case()
    names = [f"class {k}" for k in range(8)]
    matrix = metrics.confusion_matrix(truth, guess, labels=range(8))
    np.fill_diagonal(matrix, 0)
    found = {(pair["label"], pair["guess"]): pair for pair in most_confused(truth, guess, names)}
    assert {pair: row["count"] for pair, row in found.items()} == {
        (names[i], names[j]): matrix[i, j] for i, j in np.argwhere(matrix)
    }
    for (label, _), row in found.items():
        assert row["share"] == row["count"] / np.sum(truth == names.index(label))
    counts = [row["count"] for row in found.values()]
    assert counts == sorted(counts, reverse=True)


def test_of_many_pairs_the_most_frequent_are_kept_and_equals_in_the_classes_order() -> None:
    truth = np.repeat(np.arange(300), 2)
    guess = np.where(np.arange(600) < 598, (truth + 1) % 300, truth)
    guess[0] = 5
    found = most_confused(truth, guess, [str(k) for k in range(300)])
    assert len(found) == MOST_PAIRS
    assert [(row["label"], row["count"]) for row in found[:2]] == [("1", 2), ("2", 2)]


def test_they_are_among_the_metrics() -> None:
    logits = np.eye(3, dtype=np.float32)[[0, 0, 1, 2]]
    made = single_label_metrics(logits, [(0,), (1,), (1,), (2,)], ["a", "b", "c"])
    assert made["balanced_accuracy"] == pytest.approx((1 + 0.5 + 1) / 3)
    assert made["confused"] == [{"label": "b", "guess": "a", "count": 1, "share": 0.5}]
