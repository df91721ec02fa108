"""Bootstrap intervals against resampling one picture at a time, and by how often they hold the truth."""

from __future__ import annotations

import numpy as np
import pytest

from vitral.evaluators.classification import multi_label_metrics
from vitral.evaluators.intervals import (
    balanced_interval,
    difference_interval,
    precision_interval,
    share_interval,
)


def one_by_one(count: int, statistic: object, seed: int = 5) -> tuple[float, float]:
    """The percentile bootstrap as its definition says."""
    rng = np.random.default_rng(seed)
    samples = [statistic(rng.integers(0, count, count)) for _ in range(4000)]  # type: ignore[operator]
    low, high = np.percentile(samples, [2.5, 97.5])
    return float(low), float(high)


def test_a_share() -> None:
    hits = np.random.default_rng(0).random(300) < 0.8
    low, high = one_by_one(300, lambda drawn: hits[drawn].mean())
    made = share_interval(hits)
    assert (made["low"], made["high"]) == (pytest.approx(low, abs=0.007), pytest.approx(high, abs=0.007))


def test_a_share_is_that_of_the_binomial_distribution() -> None:
    stats = pytest.importorskip("scipy.stats", reason="the oracle, SciPy, is not installed")
    hits = np.arange(1300) < 1069  # ViT-Ti/16 on 1,300 pictures
    made = share_interval(hits)
    for end, tail in (("low", 0.025), ("high", 0.975)):
        assert made[end] == pytest.approx(stats.binom.ppf(tail, 1300, 1069 / 1300) / 1300, abs=1.5 / 1300)


@pytest.mark.parametrize("count", [1, 20, 1000])
def test_pictures_that_are_all_right_or_all_wrong_get_the_exact_bound(count: int) -> None:
    stats = pytest.importorskip("scipy.stats", reason="the oracle, SciPy, is not installed")
    exact = stats.binomtest(count, count).proportion_ci(0.95, "exact")
    assert share_interval(np.ones(count, bool)) == {"low": pytest.approx(exact.low), "high": 1.0}
    assert share_interval(np.zeros(count, bool)) == {"low": 0.0, "high": pytest.approx(1 - exact.low)}


def test_balanced_accuracy() -> None:
    rng = np.random.default_rng(1)
    truth = rng.choice(4, 400, p=[0.7, 0.2, 0.08, 0.02])
    hits = rng.random(400) < np.array([0.9, 0.7, 0.5, 0.3])[truth]

    def balanced(drawn: np.ndarray) -> float:
        return float(np.mean([hits[drawn][truth[drawn] == k].mean() for k in set(truth[drawn])]))

    low, high = one_by_one(400, balanced)
    made = balanced_interval(truth, hits)
    assert (made["low"], made["high"]) == (pytest.approx(low, abs=0.012), pytest.approx(high, abs=0.012))


def test_the_difference_of_two_models_on_the_same_pictures() -> None:
    rng = np.random.default_rng(2)
    first = rng.random(500) < 0.8
    second = np.where(rng.random(500) < 0.9, first, rng.random(500) < 0.9)
    low, high = one_by_one(500, lambda drawn: second[drawn].mean() - first[drawn].mean())
    made = difference_interval(first, second)
    assert (made["low"], made["high"]) == (pytest.approx(low, abs=0.004), pytest.approx(high, abs=0.004))


def test_balanced_accuracy_of_all_right_or_all_wrong_classes_gets_the_exact_bound() -> None:
    everything = np.ones(30, bool)
    truth = np.repeat([0, 1, 2], 10)
    assert balanced_interval(truth, everything) == {
        "low": pytest.approx(share_interval(everything)["low"]), "high": 1.0}  # fmt: skip
    assert balanced_interval(truth, ~everything) == {
        "low": 0.0, "high": pytest.approx(share_interval(~everything)["high"])}  # fmt: skip
    # The oracle of unequal classes: the smallest mean on a grid of shares under which the outcome is no surprise.
    p, q = np.meshgrid(*2 * [np.linspace(0.001, 1, 1000)])
    truth = np.repeat([0, 1], [4, 16])
    made = balanced_interval(truth, np.ones(20, bool))
    assert made["low"] == pytest.approx(((p + q) / 2)[p**4 * q**16 >= 0.025].min(), abs=0.002)
    made = balanced_interval(truth, truth == 0)
    low, high = (p / 2)[p**4 >= 0.025].min(), ((1 + q) / 2)[(1 - q) ** 16 >= 0.025].max()
    assert (made["low"], made["high"]) == (pytest.approx(low, abs=0.002), pytest.approx(high, abs=0.002))


def test_models_that_never_differ_get_the_exact_bound() -> None:
    same = np.arange(30) < 20
    reach = 1 - 0.025 ** (1 / 30)  # a larger share of pictures that differ would have shown one in 30
    assert difference_interval(same, same) == {"low": pytest.approx(-reach), "high": pytest.approx(reach)}
    right = np.ones(30, bool)
    assert difference_interval(~right, right) == {"low": pytest.approx(1 - 2 * reach), "high": 1.0}
    assert difference_interval(right, ~right) == {"low": -1.0, "high": pytest.approx(2 * reach - 1)}


def test_mean_average_precision() -> None:
    rng = np.random.default_rng(3)
    wanted = rng.random((120, 3)) < 0.3
    scores = rng.normal(size=(120, 3)) + wanted

    def precision(drawn: np.ndarray) -> float:
        labels = [tuple(np.flatnonzero(row)) for row in wanted[drawn]]
        return float(multi_label_metrics(scores[drawn], labels, ["a", "b", "c"])["mean_average_precision"])

    rng = np.random.default_rng(4)
    samples = [precision(rng.integers(0, 120, 120)) for _ in range(400)]
    low, high = np.percentile(samples, [2.5, 97.5])
    made = precision_interval(scores, wanted)
    # Duplicates of one picture stand at one place here, one after the other there: that moves it a little.
    assert (made["low"], made["high"]) == (pytest.approx(low, abs=0.03), pytest.approx(high, abs=0.03))


def test_resamples_without_any_class_are_left_out() -> None:
    wanted = np.array([[True], [False], [False]])
    made = precision_interval(np.array([[0.3], [0.9], [0.1]]), wanted)  # a third of the resamples miss the one
    assert 0 < made["low"] <= 0.5 <= made["high"] <= 1


def test_intervals_depend_on_the_counts_alone_and_are_the_same_again() -> None:
    rng = np.random.default_rng(6)
    truth, hits = rng.integers(0, 5, 200), rng.random(200) < 0.6
    order = rng.permutation(200)
    assert share_interval(hits) == share_interval(hits[order])
    assert balanced_interval(truth, hits) == balanced_interval(truth[order], hits[order])


def test_about_95_of_100_intervals_hold_the_true_share() -> None:
    rng = np.random.default_rng(7)
    held = 0
    for _ in range(200):
        ends = share_interval(rng.random(300) < 0.7)
        held += ends["low"] <= 0.7 <= ends["high"]
    assert 180 <= held <= 199
