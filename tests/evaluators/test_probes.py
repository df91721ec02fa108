"""Probes of features against ridge regression written out, scikit-learn's neighbours and logistic regression."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vitral.evaluators import PROBES
from vitral.evaluators.features import Probing, accuracy
from vitral.evaluators.fewshot import OLDER_L2, Ridge, best_l2, draw, fewshot, fewshot_older, sweep_penalties
from vitral.evaluators.knn import knn, nearest, vote
from vitral.evaluators.probe import DECAYS, USUAL_DECAY, hold_out, linear_probe
from vitral.logistic import Logistic


def features(width: int = 12, each: int = 30, spread: float = 2.5) -> Probing:
    """Four classes as clouds that overlap."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(4, width))

    def drawn(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = rng.permutation(np.repeat(np.arange(4), count))
        return (centres[labels] + spread * rng.normal(size=(4 * count, width)) + 3).astype(np.float32), labels

    train, train_labels = drawn(each)
    test, test_labels = drawn(50)
    return Probing(train, train_labels, hold_out(train_labels), test, test_labels, 4)


@pytest.mark.parametrize(("width", "shots"), [(12, 25), (200, 10), (12, 1)])
def test_ridge_is_the_normal_equation_in_both_forms(width: int, shots: int) -> None:
    data = features(width)
    rows = draw(data.train_labels, 0, shots)
    x, labels = data.train[rows].astype(np.float64), data.train_labels[rows]
    white = np.column_stack([(x - x.mean(0)) / (x.std(0) + 1e-5), np.full(len(x), 100.0)])
    targets = np.full((len(x), 4), -1.0)
    targets[np.arange(len(x)), labels] = 1
    expected = np.linalg.solve(white.T @ white + 1024 * np.eye(width + 1), white.T @ targets)
    solver = Ridge(data.train[rows], labels, 4)
    np.testing.assert_allclose(solver.weights(1024), expected, atol=1e-9)
    test = np.column_stack([(data.test - x.mean(0)) / (x.std(0) + 1e-5), np.full(len(data.test), 100.0)])
    assert np.array_equal(solver.answers(data.test, 1024), (test @ expected).argmax(axis=1))


def test_shots_are_drawn_class_by_class_from_one_generator() -> None:
    labels = np.array([2, 0, 1, 0, 2, 1, 0, 2, 1, 0])
    rng = np.random.default_rng(7)
    expected = [rng.permutation(np.where(labels == k)[0])[:2] for k in range(3)]
    assert np.array_equal(draw(labels, 7, 2), np.concatenate(expected))
    assert set(draw(labels, 7, 1)) < set(draw(labels, 7, 2))


def test_few_shot_accuracy_is_the_mean_over_three_draws() -> None:
    data = features()
    found = []
    for seed in range(3):
        rows = draw(data.train_labels, seed, 5)
        found.append(
            accuracy(Ridge(data.train[rows], data.train_labels[rows], 4).answers(data.test, 1024), data.test_labels)
        )
    made = fewshot(data)
    assert made["5shot"] == pytest.approx(np.mean(found))
    assert made["std"]["5shot"] == pytest.approx(np.std(found))
    assert [name for name in made if name != "std"] == ["1shot", "5shot", "10shot", "25shot"]
    assert "10shot" not in fewshot(features(each=7))


def test_the_older_protocol_takes_the_first_pictures_and_every_penalty() -> None:
    data = features()
    made = sweep_penalties(data)
    rows = np.concatenate([np.where(data.train_labels == k)[0][:5] for k in range(4)])
    solver = Ridge(data.train[rows], data.train_labels[rows], 4)
    assert list(made[5]) == list(OLDER_L2)
    for power in (-10, 3, 19):
        assert made[5][2.0**power] == accuracy(solver.answers(data.test, 2.0**power), data.test_labels)
    reported = fewshot_older(data)
    assert reported["5shot"] == max(made[5].values()) == reported["by_l2"]["5shot"][f"{reported['l2']['5shot']:g}"]


def test_the_older_penalty_has_the_best_mean_rank_over_data_sets() -> None:
    one = {0.5: 0.9, 1.0: 0.8, 2.0: 0.1}
    other = {0.5: 0.1, 1.0: 0.7, 2.0: 0.8}
    assert best_l2([one]) == 0.5
    assert best_l2([one, other]) == 0.5  # ranks 0 and 2, 1 and 1, 2 and 0: equal, so the smallest
    assert best_l2([one, {**other, 0.5: 0.75}]) == 0.5
    assert best_l2([one, other, other]) == 2.0


def test_the_nearest_neighbour_equals_scikit_learns() -> None:
    neighbors = pytest.importorskip("sklearn.neighbors", reason="the oracle, scikit-learn, is not installed")
    data = features()
    oracle = neighbors.KNeighborsClassifier(1, metric="cosine").fit(data.train, data.train_labels)
    assert knn(data)["1nn"] == pytest.approx(oracle.score(data.test, data.test_labels))


def test_votes_weigh_as_dinos_do() -> None:
    neighbors = pytest.importorskip("sklearn.neighbors", reason="the oracle, scikit-learn, is not installed")
    data = features()
    oracle = neighbors.KNeighborsClassifier(
        20, metric="cosine", weights=lambda distances: np.exp((1 - distances) / 0.07)
    ).fit(data.train, data.train_labels)
    cosines, labels = nearest(data.train, data.train_labels, data.test, 20)
    assert np.array_equal(vote(cosines, labels, 4), oracle.predict(data.test))
    assert knn(data)["20nn"] == pytest.approx(oracle.score(data.test, data.test_labels))


def test_fewer_pictures_than_neighbours_all_vote() -> None:
    made = knn(replace(features(), train=np.eye(2, 12, dtype=np.float32), train_labels=np.array([0, 1])))
    assert 0 <= made["20nn"] <= 1


@pytest.mark.parametrize("decay", [0.1, 1e-3])
def test_the_linear_classifier_equals_scikit_learns(decay: float) -> None:
    linear = pytest.importorskip("sklearn.linear_model", reason="the oracle, scikit-learn, is not installed")
    data = features()
    made = Logistic(data.train, data.train_labels, 4, decay)
    x = (data.train - data.train.mean(0, dtype=np.float64)) / (data.train.std(0, dtype=np.float64) + 1e-5)
    oracle = linear.LogisticRegression(C=1 / (decay * len(x)), tol=1e-10, max_iter=5000).fit(x, data.train_labels)
    scores = made.scores(data.train).softmax(dim=1).numpy()
    np.testing.assert_allclose(scores, oracle.predict_proba(x), atol=2e-5)


def test_the_decay_is_chosen_on_held_out_pictures_and_all_are_learned_from() -> None:
    data = features(width=60, each=15)
    made = linear_probe(data)
    assert [row["weight_decay"] for row in made["tried"]] == list(DECAYS)
    best = max(row["held_out"] for row in made["tried"])
    (chosen,) = [row for row in made["tried"] if row["weight_decay"] == made["weight_decay"]]
    assert chosen["held_out"] == best
    final = Logistic(data.train, data.train_labels, 4, made["weight_decay"])
    assert made["linear"] == accuracy(final.scores(data.test).argmax(dim=1).numpy(), data.test_labels)


def test_with_too_few_pictures_to_hold_any_out_the_usual_decay_is_taken() -> None:
    data = features(each=2)
    assert not data.held_out.any()
    made = linear_probe(data)
    assert (made["tried"], made["weight_decay"]) == ([], USUAL_DECAY)
    assert made["linear"] > 0.25


def test_a_fifth_of_each_class_is_held_out() -> None:
    marks = hold_out(np.repeat([0, 1, 2], [50, 10, 2]))
    assert [marks[:50].sum(), marks[50:60].sum(), marks[60:].sum()] == [10, 2, 0]


@pytest.mark.parametrize("method", PROBES)
def test_a_picture_that_was_not_read_counts_as_wrong(method: str) -> None:
    data = features()
    sound = PROBES[method](data)
    labels = data.test_labels.copy()
    labels[:] = -1
    blind = PROBES[method](replace(data, test_labels=labels))
    for name in ("5shot", "20nn", "1nn", "linear"):
        assert blind.get(name, 0.0) == 0.0
        assert name not in sound or sound[name] > 0.4
