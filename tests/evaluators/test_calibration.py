"""Calibration against scikit-learn, sums written out, and models whose miscalibration is planted."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vitral.evaluators import intervals
from vitral.evaluators.calibration import (
    BINS,
    calibration,
    confidences,
    ece_interval,
    expected_calibration_error,
    reliability,
)
from vitral.evaluators.temperature import LEAST_PICTURES, fit_temperature

Labels = list[tuple[int, ...]]


def sampled(count: int, temperature: float, seed: int = 0) -> tuple[np.ndarray, Labels]:
    """Scores, and labels drawn from softmax(scores / temperature): the right temperature is that one."""
    rng = np.random.default_rng(seed)
    logits = (3 * rng.normal(size=(count, 6))).astype(np.float32)
    p = torch.from_numpy(logits / temperature).double().softmax(dim=1).numpy()
    drawn = (p.cumsum(axis=1) > rng.random((count, 1))).argmax(axis=1)
    return logits, [(int(k),) for k in drawn]


def questions(count: int, temperature: float) -> tuple[np.ndarray, Labels]:
    rng = np.random.default_rng(1)
    logits = (2 * rng.normal(size=(count, 4))).astype(np.float32)
    there = rng.random((count, 4)) < 1 / (1 + np.exp(-logits / temperature))
    return logits, [tuple(np.flatnonzero(row)) for row in there]


def loss(logits: np.ndarray, labels: Labels, temperature: float, multi_label: bool) -> float:
    """Negative log-posterior of a temperature, by torch's own losses."""
    scores = torch.from_numpy(logits).double() / temperature
    if multi_label:
        wanted = torch.tensor([[float(k in label) for k in range(scores.shape[1])] for label in labels])
        made = torch.nn.functional.binary_cross_entropy_with_logits(scores, wanted.double(), reduction="sum")
    else:
        truth = torch.tensor([label[0] for label in labels])
        made = torch.nn.functional.cross_entropy(scores, truth, reduction="sum")
    return float(made) + np.log(temperature) ** 2 / 2


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
@pytest.mark.parametrize("make", [sampled, questions])
def test_a_planted_temperature_is_found(make: object, temperature: float) -> None:
    logits, labels = make(20_000, temperature)  # type: ignore[operator]
    assert fit_temperature(logits, labels, make is questions) == pytest.approx(temperature, rel=0.03)


@pytest.mark.parametrize("make", [sampled, questions])
def test_no_temperature_nearby_is_likelier(make: object) -> None:
    logits, labels = make(300, 1.7)  # type: ignore[operator]
    found = fit_temperature(logits, labels, make is questions)
    assert found is not None
    least = loss(logits, labels, found, make is questions)
    for factor in (0.5, 0.99, 0.9999, 1.0001, 1.01, 2):
        assert loss(logits, labels, found * factor, make is questions) > least, factor


def test_the_temperature_does_not_depend_on_the_order_of_pictures() -> None:
    logits, labels = sampled(9000, 1.5)  # more than one chunk
    order = np.random.default_rng(2).permutation(9000)
    again = fit_temperature(logits[order], [labels[i] for i in order])
    assert again == pytest.approx(fit_temperature(logits, labels), rel=1e-9)


def test_too_few_pictures_fit_nothing_and_unusable_ones_do_not_count() -> None:
    logits, labels = sampled(LEAST_PICTURES + 2, 2.0)
    assert fit_temperature(logits[: LEAST_PICTURES - 1], labels[: LEAST_PICTURES - 1]) is None
    assert fit_temperature(logits, labels) is not None
    logits[0], labels[1], labels[2] = np.nan, (-1,), (-1,)
    assert fit_temperature(logits, labels) is None
    expected = fit_temperature(*sampled(100, 2.0))
    logits, labels = sampled(100, 2.0)
    logits = np.concatenate([logits, np.full((1, 6), np.nan, np.float32), logits[:1]])
    assert fit_temperature(logits, [*labels, (0,), (-1,)]) == expected


def test_pictures_that_are_all_right_do_not_drive_the_temperature_to_zero() -> None:
    logits = np.eye(6, dtype=np.float32)[np.arange(60) % 6] * 8
    found = fit_temperature(logits, [(k % 6,) for k in range(60)])
    assert found is not None
    assert 0.3 < found < 1


def test_scores_equal_scikit_learns() -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="the oracle, scikit-learn, is not installed")
    logits, labels = sampled(400, 2.0)
    truth = [label[0] for label in labels]
    made = calibration(logits, labels, 1.6)
    for temperature, found in ((1.6, made), (1.0, made["before"])):
        p = torch.from_numpy(logits).double().div(temperature).softmax(dim=1).numpy()
        assert found["nll"] == pytest.approx(metrics.log_loss(truth, p, labels=range(6)), rel=1e-9)
        brier = metrics.brier_score_loss(truth, p, labels=range(6), scale_by_half=False)
        assert found["brier"] == pytest.approx(brier, rel=1e-9)


def test_scores_of_several_labels_are_means_over_questions() -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="the oracle, scikit-learn, is not installed")
    logits, labels = questions(300, 1.0)
    there = np.array([[k in label for k in range(4)] for label in labels]).ravel()
    p = torch.from_numpy(logits).double().sigmoid().numpy().ravel()
    made = calibration(logits, labels, multi_label=True)
    assert made["nll"] == pytest.approx(metrics.log_loss(there, p), rel=1e-9)
    assert made["brier"] == pytest.approx(metrics.brier_score_loss(there, p), rel=1e-9)
    assert made["count"] == 1200


def by_hand(confidence: list[float], right: list[bool], edges: list[tuple[float, float]]) -> float:
    total = 0.0
    for low, high in edges:
        inside = [i for i, c in enumerate(confidence) if low < c <= high]
        if inside:
            mean = sum(confidence[i] for i in inside) / len(inside)
            accuracy = sum(right[i] for i in inside) / len(inside)
            total += len(inside) / len(confidence) * abs(mean - accuracy)
    return total


def test_the_error_is_the_weighted_gap_of_equally_wide_bins() -> None:
    found = confidences(*sampled(500, 2.0))
    edges = [(k / BINS, (k + 1) / BINS) for k in range(BINS)]
    expected = by_hand(list(found.confidence), list(found.right), edges)
    assert expected_calibration_error(found.confidence, found.right) == pytest.approx(expected, rel=1e-9)
    bins = reliability(found.confidence, found.right)
    assert sum(row["count"] for row in bins) == 500
    gaps = sum(row["count"] * abs(row["confidence"] - row["accuracy"]) for row in bins) / 500
    assert gaps == pytest.approx(expected, rel=1e-9)
    assert all(row["low"] < row["confidence"] <= row["high"] for row in bins)


def test_adaptive_bins_hold_equally_many_pictures() -> None:
    found = confidences(*sampled(450, 2.0))
    order = np.argsort(found.confidence)
    groups = order.reshape(BINS, 30)
    expected = np.mean([abs(found.confidence[g].mean() - found.right[g].mean()) for g in groups])
    made = expected_calibration_error(found.confidence, found.right, adaptive=True)
    assert made == pytest.approx(expected, rel=1e-9)


def test_the_error_does_not_depend_on_the_order_of_pictures() -> None:
    rng = np.random.default_rng(3)
    confidence, right = rng.integers(1, 11, 500) / 10, rng.random(500) < 0.5
    order = rng.permutation(500)
    for adaptive in (False, True):
        made = expected_calibration_error(confidence, right, adaptive=adaptive)
        assert expected_calibration_error(confidence[order], right[order], adaptive=adaptive) == made


def test_the_fitted_temperature_mends_an_overconfident_model() -> None:
    logits, labels = sampled(5000, 3.0)
    made = calibration(logits, labels, fit_temperature(logits, labels) or 0.0)
    assert made["before"]["ece"] > 0.2
    assert made["ece"] < 0.02
    assert made["nll"] < made["before"]["nll"]


def test_the_interval_of_the_error_holds_the_true_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that claims 10 points too much: its true error is 0.1, which about 95 of 100 intervals must hold."""
    monkeypatch.setattr(intervals, "RESAMPLES", 1000)
    rng = np.random.default_rng(4)
    held = 0
    for _ in range(40):
        confidence = 0.2 + 0.8 * rng.beta(4, 1.2, 400)
        right = rng.random(400) < confidence - 0.1
        ends = ece_interval(confidences_of(confidence, right))
        held += ends["low"] <= 0.1 <= ends["high"]
    assert held >= 34  # fewer in 1 of 400 tries, were it exactly 95 %


def confidences_of(confidence: np.ndarray, right: np.ndarray) -> object:
    from vitral.evaluators.calibration import Confidences

    return Confidences(confidence, right, np.zeros(0), np.zeros(0))


def test_nothing_known_gives_the_temperature_alone() -> None:
    assert calibration(np.full((2, 3), np.nan, np.float32), [(0,), (1,)], 2.0) == {"temperature": 2.0}
