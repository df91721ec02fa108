"""Metrics against plain counting, NumPy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vitral.data.loader import Batch
from vitral.errors import UnreadableImageError
from vitral.evaluators import classification
from vitral.evaluators.classification import evaluate, hits, multi_label_metrics, single_label_metrics

CLASSES = [f"class {k}" for k in range(8)]


def random_case(count: int = 200, seed: int = 0) -> tuple[np.ndarray, list[tuple[int, ...]]]:
    rng = np.random.default_rng(seed)
    labels = [(int(k),) for k in rng.integers(0, 8, count)]
    return rng.normal(size=(count, 8)).astype(np.float32), labels


def test_top1_and_top5_count_the_right_ones() -> None:
    logits, labels = random_case()
    metrics = single_label_metrics(logits, labels, CLASSES)
    order = [sorted(range(8), key=lambda k, row=row: (-row[k], k)) for row in logits]
    assert metrics["top1"] == np.mean([ranked[0] == label[0] for ranked, label in zip(order, labels, strict=True)])
    assert metrics["top5"] == np.mean([label[0] in ranked[:5] for ranked, label in zip(order, labels, strict=True)])


def test_loss_is_the_mean_negative_log_likelihood() -> None:
    logits, labels = random_case()
    expected = torch.nn.functional.cross_entropy(torch.from_numpy(logits), torch.tensor([k for (k,) in labels]))
    assert single_label_metrics(logits, labels, CLASSES)["loss"] == pytest.approx(float(expected), rel=1e-6)


def test_classes_add_up_to_the_whole() -> None:
    logits, labels = random_case()
    metrics = single_label_metrics(logits, labels, CLASSES)
    per_class = metrics["per_class"].values()
    assert sum(found["count"] for found in per_class) == 200
    assert sum(found["count"] * found["top1"] for found in per_class) == pytest.approx(200 * metrics["top1"])


def test_equal_scores_prefer_the_first_class_as_argmax_does() -> None:
    logits = np.zeros((2, 8), dtype=np.float32)
    assert single_label_metrics(logits, [(0,), (5,)], CLASSES)["top1"] == 0.5
    assert single_label_metrics(logits, [(4,), (5,)], CLASSES)["top5"] == 0.5


def test_unreadable_pictures_and_unknown_classes_count_as_wrong() -> None:
    logits = np.zeros((4, 8), dtype=np.float32)
    logits[:, 0] = 9
    logits[3] = np.nan
    metrics = single_label_metrics(logits, [(0,), (0,), (-1,), (0,)], CLASSES)
    assert metrics["top1"] == metrics["top5"] == 0.5
    assert metrics["per_class"] == {"class 0": {"count": 3, "top1": pytest.approx(2 / 3)}}


def batches(count: int, size: int, bad: set[int]) -> list[Batch]:
    made = []
    for start in range(0, count, size):
        ids = np.array([i for i in range(start, min(start + size, count)) if i not in bad], dtype=np.int64)
        images = np.broadcast_to(ids[:, None, None, None], (len(ids), 2, 2, 3)).astype(np.uint8)
        errors = tuple((i, UnreadableImageError(str(i), "torn")) for i in range(start, start + size) if i in bad)
        made.append(Batch(images, np.zeros_like(ids), ids, errors))
    return made


def test_numbers_do_not_depend_on_how_pictures_are_batched() -> None:
    logits, labels = random_case(50)

    def answered(size: int) -> list[tuple[Batch, torch.Tensor]]:
        return [(b, torch.from_numpy(logits[b.images[:, 0, 0, 0]])) for b in batches(50, size, {7, 30})]

    results = [evaluate(answered(size), labels, CLASSES) for size in (1, 7, 50)]
    assert results[0] is not None
    assert results[0].metrics["unreadable"] == 2
    assert results[0].unreadable == {7: "torn", 30: "torn"}
    assert all(result is not None and result.metrics == results[0].metrics for result in results)


def test_an_evaluation_can_be_stopped() -> None:
    _, labels = random_case(50)
    answered = ((batch, torch.zeros(len(batch), 8)) for batch in batches(50, 10, set()))
    assert evaluate(answered, labels, CLASSES, stop=lambda: True) is None


def test_a_picture_with_an_unknown_class_counts_as_wrong_among_several_labels_too() -> None:
    logits = np.full((3, 8), -5, dtype=np.float32)
    logits[:, 2] = 5
    made = multi_label_metrics(logits, [(2,), (2, -1), (-1,)], CLASSES)
    assert (made["top1"], made["exact_match"]) == (pytest.approx(1 / 3), pytest.approx(1 / 3))


def test_average_precision_equals_scikit_learns() -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="the oracle, scikit-learn, is not installed")
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(60, 8)).astype(np.float32)
    labels = [tuple(np.flatnonzero(row)) for row in rng.random((60, 8)) < 0.3]
    made = multi_label_metrics(logits, labels, CLASSES)
    wanted = np.array([[k in label for k in range(8)] for label in labels])
    expected = [metrics.average_precision_score(wanted[:, k], logits[:, k]) for k in range(8)]
    assert made["mean_average_precision"] == pytest.approx(np.mean(expected), rel=1e-6)
    assert made["exact_match"] == np.mean(((logits > 0) == wanted).all(axis=1))


def test_of_few_classes_an_unreadable_picture_is_wrong_in_every_top() -> None:
    logits = np.zeros((4, 3), dtype=np.float32)
    logits[3] = np.nan
    labels = [(0,), (2,), (-1,), (0,)]
    assert single_label_metrics(logits, labels, CLASSES[:3])["top5"] == 0.5
    assert hits(logits, labels)["top5"].tolist() == [True, True, False, False]


def test_numbers_do_not_depend_on_how_many_rows_are_looked_at_in_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(23, 7)).astype(np.float32)
    logits[5] = np.nan
    labels = [(int(k),) for k in rng.integers(-1, 7, 23)]
    classes = [f"c{k}" for k in range(7)]
    whole = classification.single_label_metrics(logits, labels, classes)
    for at_once in (1, 20, 50):
        monkeypatch.setattr(classification, "AT_ONCE", at_once)
        assert classification.single_label_metrics(logits, labels, classes) == whole
