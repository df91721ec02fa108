"""Sets of classes hold the true one as often as promised on data that can stand in any order."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vitral.evaluators.conformal import Method, quantile, scores, sets, try_sets


def simulated(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of a model that is wrong about them, and true classes."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(count, 10))
    true = np.exp(logits / 2)
    truth = (np.cumsum(true / true.sum(1, keepdims=True), axis=1) > rng.random((count, 1))).argmax(axis=1)
    p = np.exp(2 * logits)
    return p / p.sum(axis=1, keepdims=True), truth


@pytest.mark.parametrize("method", ["lac", "aps", "raps"])
@pytest.mark.parametrize("coverage", [0.5, 0.9])
def test_coverage_is_as_promised(method: Method, coverage: float) -> None:
    held = []
    for seed in range(200):
        probabilities, truth = simulated(300, seed)
        draws = np.random.default_rng(1000 + seed).random(300)
        strange = scores(probabilities[:100], method, draws[:100])[np.arange(100), truth[:100]]
        inside = sets(probabilities[100:], quantile(strange, coverage), method, draws[100:])
        held.append(inside[np.arange(200), truth[100:]].mean())
    expected = math.ceil(101 * coverage) / 101  # exact where no two scores are equal
    assert np.mean(held) == pytest.approx(expected, abs=0.014)  # 3 standard errors of 200 such means


def test_without_draws_the_sets_cover_at_least_as_much() -> None:
    probabilities, truth = simulated(4000, 0)
    strange = scores(probabilities[:2000], "aps")[np.arange(2000), truth[:2000]]
    inside = sets(probabilities[2000:], quantile(strange, 0.8), "aps")
    assert inside[np.arange(2000), truth[2000:]].mean() >= 0.77


def test_scores_by_hand() -> None:
    probabilities = np.array([[0.2, 0.5, 0.3]])
    assert scores(probabilities, "lac")[0] == pytest.approx([0.8, 0.5, 0.7])
    assert scores(probabilities, "aps")[0] == pytest.approx([1.0, 0.5, 0.8])
    assert scores(probabilities, "aps", np.array([0.5]))[0] == pytest.approx([0.9, 0.25, 0.65])
    eight = np.array([[0.3, 0.2, 0.15, 0.1, 0.1, 0.06, 0.05, 0.04]])
    expected = [0.3, 0.5, 0.65, 0.75, 0.85, 0.91 + 0.01, 0.96 + 0.02, 1.0 + 0.03]
    assert scores(eight, "raps")[0] == pytest.approx(expected)


def test_the_quantile_counts_the_new_picture_too() -> None:
    values = np.arange(1, 10) / 10
    assert quantile(values, 0.9) == 0.9  # ceil(10 * 0.9) = the 9th of 9
    assert quantile(values, 0.5) == 0.5
    assert quantile(values, 0.91) == math.inf


def test_each_method_is_tried_on_pictures_that_did_not_set_it_up() -> None:
    probabilities, truth = simulated(2000, 3)
    made = try_sets(probabilities, truth, 0.9)
    assert set(made) == {"lac", "aps", "raps"}
    for row in made.values():
        assert row["coverage"] == pytest.approx(0.9, abs=0.035)
        assert 1 <= (row["mean_size"] or 0) <= 10
    assert try_sets(probabilities[:1], truth[:1], 0.9) == {}
    assert all(
        row["limit"] is None and row["mean_size"] == 10 for row in try_sets(probabilities[:6], truth[:6], 0.9).values()
    )
