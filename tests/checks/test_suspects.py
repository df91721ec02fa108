"""Flipped labels are found by features alone."""

from __future__ import annotations

import numpy as np
import pytest

from tests.checks.photographs import dataset, encoded, textured
from tests.places import DATA, WEIGHTS
from vitral.checks import examine
from vitral.checks.suspects import find_suspects, suspects
from vitral.errors import UsageError


def blobs(per_class: int, classes: int, apart: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), per_class)
    return (apart * rng.normal(size=(classes, 16))[labels] + rng.normal(size=(len(labels), 16))).astype(
        np.float32
    ), labels


def flipped(labels: np.ndarray, share: float) -> tuple[np.ndarray, set[int]]:
    rng = np.random.default_rng(1)
    wrong = rng.choice(len(labels), round(share * len(labels)), replace=False)
    given, count = labels.copy(), labels.max() + 1
    given[wrong] = (labels[wrong] + rng.integers(1, count, len(wrong))) % count
    return given, set(wrong.tolist())


@pytest.mark.parametrize("apart", [1.0, 2.0])
def test_flipped_labels_are_found_with_the_right_suggestion(apart: float) -> None:
    features, labels = blobs(60, 6, apart)
    given, wrong = flipped(labels, 0.1)
    found = find_suspects(features, given.tolist())
    hits = [one for one in found if one.position in wrong]
    assert len(hits) >= 0.8 * len(wrong)
    assert len(hits) >= 0.7 * len(found)
    assert np.mean([one.suggested == labels[one.position] for one in hits]) > 0.9
    margins = [one.suggested_probability - one.given_probability for one in found]
    assert margins == sorted(margins, reverse=True)
    assert all(one.given == given[one.position] for one in found)


def test_clean_labels_far_apart_raise_no_alarm() -> None:
    features, labels = blobs(40, 4, 3.0)
    assert find_suspects(features, labels.tolist()) == []


def test_copies_are_judged_by_a_classifier_that_saw_none_of_them() -> None:
    features, labels = blobs(30, 3, 2.0)
    given = labels.copy()
    given[[0, 1, 2, 3, 4]] = 1  # five copies of one picture, all with the same wrong label
    features[[1, 2, 3, 4]] = features[0]
    groups = list(range(len(labels)))
    groups[:5] = [0] * 5
    assert {0, 1, 2, 3, 4} <= {one.position for one in find_suspects(features, given.tolist(), groups)}


def test_a_class_of_one_picture_is_never_suspect() -> None:
    features, labels = blobs(20, 3, 2.0)
    given = labels.copy()
    given[0] = 7
    assert 0 not in {one.position for one in find_suspects(features, given.tolist())}


def test_one_class_has_no_suspects() -> None:
    assert find_suspects(np.zeros((4, 3), np.float32), [2, 2, 2, 2]) == []


def test_suspects_are_named_and_the_unreadable_are_not_asked_about() -> None:
    rows = [(encoded(textured(seed, (40, 40))), (seed % 2,)) for seed in range(40)] + [(b"broken", (0,))]
    seen = examine(dataset(train=rows), workers=1)
    asked: list[int] = []

    def features(sources: list[object]) -> np.ndarray:
        asked.append(len(sources))
        values = np.array([[seed % 2 * 4.0, 1.0] for seed in range(40)], np.float32)
        values[3] = [0.0, 1.0]
        return values

    (row,) = suspects(seen, features)
    assert asked == [40]
    assert row[:4] == ("train", "train[3]", "dog", "cat")
    assert 0 <= row[4] < row[5] <= 1


def test_several_labels_are_refused() -> None:
    from dataclasses import replace

    seen = examine(dataset(train=[(encoded(textured(1)), (0, 1))]), workers=1)
    several = replace(seen, dataset=replace(seen.dataset, multi_label=True))
    with pytest.raises(UsageError, match="leave --model out"):
        suspects(several, lambda sources: np.zeros((1, 1)))


@pytest.mark.slow
def test_flipped_labels_of_real_photographs_are_found_by_real_weights() -> None:
    flowers = DATA / "flowers12_224" / "train"
    if not flowers.is_dir() or not WEIGHTS.is_dir():
        pytest.skip("no real photographs or weights beside the project")
    from vitral.serving.loading import load

    folders = sorted(flowers.iterdir())[:4]
    paths = [path for folder in folders for path in sorted(folder.iterdir())[:20]]
    labels = np.repeat(np.arange(4), 20)
    given, wrong = flipped(labels, 0.1)
    found = {one.position for one in find_suspects(load(WEIGHTS).features(paths), given.tolist())}
    assert len(found & wrong) >= 0.8 * len(wrong)
    assert len(found & wrong) >= 0.7 * len(found)
