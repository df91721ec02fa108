"""Pictures worth a look, against plain loops."""

from __future__ import annotations

import math

import numpy as np

from vitral.evaluators.examples import confused, least_sure, worst


def made(seed: int = 0, count: int = 60, classes: int = 5) -> tuple[np.ndarray, list[tuple[int, ...]]]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(count, classes)).astype(np.float32)
    logits[7] = np.nan  # unreadable
    labels = [(int(k),) for k in rng.integers(0, classes, count)]
    labels[11] = (-1,)  # of a class that the model lacks
    return logits, labels


def probabilities(row: np.ndarray) -> list[float]:
    powers = [math.exp(float(value)) for value in row]
    return [power / sum(powers) for power in powers]


def test_the_worst_errors_give_the_truth_the_least_probability() -> None:
    logits, labels = made()
    wrong = {
        i: probabilities(logits[i])[labels[i][0]]
        for i in range(len(logits))
        if i not in (7, 11) and probabilities(logits[i])[labels[i][0]] < max(probabilities(logits[i]))
    }
    assert worst(logits, labels, 10) == sorted(wrong, key=lambda i: wrong[i])[:10]
    assert len(worst(logits, labels, 1000)) == len(wrong)


def test_of_several_labels_the_whole_truth_counts() -> None:
    logits, _ = made(1)
    rng = np.random.default_rng(2)
    labels = [tuple(int(k) for k in np.flatnonzero(rng.random(5) < 0.4)) for _ in logits]
    loss = {}
    for i, row in enumerate(logits):
        shares = [1 / (1 + math.exp(-float(value))) for value in row if not math.isnan(value)]
        if shares and any((share > 0.5) != (k in labels[i]) for k, share in enumerate(shares)):
            loss[i] = -sum(math.log(share if k in labels[i] else 1 - share) for k, share in enumerate(shares))
    assert worst(logits, labels, 12, multi_label=True) == sorted(loss, key=lambda i: -loss[i])[:12]


def test_the_least_sure_have_the_smallest_lead() -> None:
    logits, labels = made(3)
    lead = {i: float(np.diff(sorted(row)[-2:])[0]) for i, row in enumerate(logits) if i not in (7, 11)}
    assert least_sure(logits, labels, 9) == sorted(lead, key=lambda i: lead[i])[:9]


def test_one_class_has_no_second() -> None:
    assert least_sure(np.zeros((3, 1), np.float32), [(0,)] * 3, 5) == []


def test_a_confusion_shows_its_own_pictures_the_surest_first() -> None:
    truth, guess = np.array([0, 0, 1, 0]), np.array([1, 1, 0, 0])
    logits = np.array([[0, 1], [0, 3], [2, 0], [1, 0]], dtype=np.float32)
    assert confused(truth, guess, logits, (0, 1), 5) == [1, 0]
    assert confused(truth, guess, logits, (0, 1), 1) == [1]


def test_the_scores_of_damaged_or_sure_models_are_no_trouble() -> None:
    logits = np.array([[1e30, -1e30], [-1e30, 1e30]], dtype=np.float32)
    assert worst(logits, [(1,), (1,)], 5) == [0]
