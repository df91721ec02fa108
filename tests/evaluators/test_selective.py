"""Accuracy at coverage against counting by hand, and abstaining."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from vitral.evaluators.selective import abstain_threshold, accuracy_at, aurc, selective


def test_the_area_under_the_risk_is_the_mean_error_of_the_surest() -> None:
    rng = np.random.default_rng(0)
    confidence, right = rng.random(200), rng.random(200) < 0.7
    order = np.argsort(-confidence)
    expected = np.mean([1 - right[order[:k]].mean() for k in range(1, 201)])
    assert aurc(confidence, right) == pytest.approx(expected)


def test_equals_stand_in_every_order() -> None:
    confidence = np.array([0.9, 0.5, 0.5, 0.5, 0.2])
    right = np.array([True, True, False, False, True])
    areas = []
    for middle in itertools.permutations([1, 2, 3]):
        order = [0, *middle, 4]
        areas.append(np.mean([1 - right[order[:k]].mean() for k in range(1, 6)]))
    assert aurc(confidence, right) == pytest.approx(np.mean(areas))


def test_the_surest_are_right_more_often() -> None:
    confidence, right = np.linspace(0.999, 0.5, 100), np.arange(100) < 90
    made = selective(confidence, right)
    assert made["accuracy_at"] == {
        "1": 0.9, "0.95": pytest.approx(90 / 95), "0.9": 1.0, "0.8": 1.0, "0.7": 1.0, "0.5": 1.0
    }  # fmt: skip


def test_pictures_of_equal_confidence_are_kept_together() -> None:
    confidence, right = np.array([0.9, 0.8, 0.8, 0.1]), np.array([True, True, False, False])
    assert accuracy_at(confidence, right, 0.5) == pytest.approx(2 / 3)
    assert abstain_threshold(confidence, right, 0.6) == (0.8, 0.75, pytest.approx(2 / 3))


def test_the_line_answers_as_many_as_it_can() -> None:
    rng = np.random.default_rng(1)
    confidence = rng.random(500)
    right = rng.random(500) < confidence
    line = abstain_threshold(confidence, right, 0.8)
    assert line is not None
    kept = confidence >= line.threshold
    assert line.accuracy == pytest.approx(right[kept].mean())
    assert line.coverage == pytest.approx(kept.mean())
    assert line.accuracy >= 0.8
    for lower in confidence[confidence < line.threshold]:
        assert right[confidence >= lower].mean() < 0.8


def test_an_accuracy_out_of_reach_has_no_line() -> None:
    assert abstain_threshold(np.array([0.9, 0.8]), np.array([False, False]), 0.5) is None
