"""Two models on the same pictures: McNemar's exact test against SciPy's binomial test."""

from __future__ import annotations

import numpy as np
import pytest

from vitral.evaluators.paired import mcnemar, paired


@pytest.mark.parametrize(("lost", "gained"), [(0, 0), (0, 1), (3, 10), (10, 3), (7, 7), (400, 480), (3000, 3001)])
def test_the_p_value_is_that_of_fair_coins(lost: int, gained: int) -> None:
    stats = pytest.importorskip("scipy.stats", reason="the oracle, SciPy, is not installed")
    expected = stats.binomtest(lost, lost + gained).pvalue if lost + gained else 1.0
    assert mcnemar(lost, gained) == pytest.approx(expected, rel=1e-6)


def test_the_difference_is_that_of_the_shares_and_its_interval_holds_it() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.random(400) < 0.7, rng.random(400) < 0.8
    made = paired(first, second)
    assert made["difference"] == pytest.approx(second.mean() - first.mean())
    assert made["interval"]["low"] < made["difference"] < made["interval"]["high"]
    assert made["gained"] - made["lost"] == second.sum() - first.sum()
    again = paired(second, first)
    assert (again["difference"], again["p"]) == (pytest.approx(-made["difference"]), made["p"])


def test_a_model_equals_itself() -> None:
    hits = np.arange(10) < 7
    reach = pytest.approx(1 - 0.025**0.1)  # ten pictures without a difference say no more
    made = paired(hits, hits)
    assert (-made["interval"].pop("low"), made["interval"].pop("high")) == (reach, reach)
    assert made == {
        "difference": 0.0, "interval": {}, "lost": 0, "gained": 0, "p": 1.0
    }  # fmt: skip


def test_equal_models_are_called_different_in_no_more_than_5_of_100_comparisons() -> None:
    rng = np.random.default_rng(1)
    called = sum(mcnemar(lost, 40 - lost) < 0.05 for lost in rng.binomial(40, 0.5, 2000))
    assert called / 2000 <= 0.055
