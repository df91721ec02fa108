"""VitClassifier as scikit-learn expects its classifiers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.pictures import COLOURS, picture
from vitral.errors import DataError

sklearn = pytest.importorskip("sklearn", reason="the extra, scikit-learn, is not installed")

from sklearn.base import clone, is_classifier  # noqa: E402
from sklearn.model_selection import GridSearchCV, cross_val_score  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402

from vitral import VitClassifier  # noqa: E402

SMALL = {
    "model.width": 16, "model.depth": 1, "model.num_heads": 2, "model.mlp_dim": 32, "training.average": 0.0,
    "augmentation.mixup": 0.0, "augmentation.cutmix": 0.0, "augmentation.randaugment_layers": 0,
    "optimizer.learning_rate": 5e-3,
}  # fmt: skip


def images(count: int = 10) -> tuple[np.ndarray, np.ndarray]:
    made = [(np.asarray(picture(colour, i)), colour) for i in range(count) for colour in COLOURS]
    return np.stack([pixels for pixels, _ in made]), np.array([colour for _, colour in made])


def classifier(**changes: object) -> VitClassifier:
    return VitClassifier(**{"epochs": 6, "settings": SMALL, "device": "cpu", **changes})


def test_it_is_a_classifier_that_can_be_cloned() -> None:
    made = classifier(seed=3)
    assert is_classifier(made)
    assert clone(made).get_params() == made.get_params()


def test_it_learns_and_answers_with_the_labels_it_was_given() -> None:
    X, y = images()
    fitted = classifier(epochs=15).fit(X, y)
    assert fitted.classes_.tolist() == sorted(COLOURS)
    assert fitted.score(X, y) > 0.9
    np.testing.assert_allclose(fitted.predict_proba(X).sum(axis=1), 1, atol=1e-5)


def test_labels_may_be_numbers() -> None:
    X, y = images(6)
    numbers = np.array([{"red": 7, "green": -2, "blue": 30}[name] for name in y])
    assert set(classifier().fit(X, numbers).predict(X)) <= {7, -2, 30}


def test_cross_validation_and_grid_search_run() -> None:
    X, y = images(6)
    assert cross_val_score(classifier(), X, y, cv=3).shape == (3,)
    search = GridSearchCV(classifier(), {"epochs": [1, 8]}, cv=2).fit(X, y)
    assert search.best_params_["epochs"] in (1, 8)
    assert make_pipeline(classifier()).fit(X, y).predict(X).shape == (18,)


def test_paths_work_like_arrays(tmp_path: Path) -> None:
    X, y = images(6)
    paths = []
    for i, colour in enumerate(y):
        paths.append(tmp_path / f"{i}.png")
        picture(colour, i // 3).save(paths[-1])
    fitted = classifier().fit(paths, y)
    assert (fitted.predict_proba(paths) == classifier().fit(X, y).predict_proba(X)).all()


@pytest.mark.parametrize(("labels", "said"), [(["a"] * 6, "at least two"), (["a"] * 5, "one label a picture")])
def test_labels_that_cannot_be_learned_are_refused(labels: list[str], said: str) -> None:
    with pytest.raises(DataError, match=said):
        classifier().fit(images(2)[0], labels)
