"""`VitClassifier`: the same training behind scikit-learn's `fit`, `predict`, `predict_proba` and `score`."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vitral.config import Duration
from vitral.console import Screen
from vitral.datasets.dataset import TRAIN, Dataset, Source, Split
from vitral.errors import DataError, UnavailableError
from vitral.evaluation import threads
from vitral.planning import Plan, plan
from vitral.run import start
from vitral.serving.loading import load
from vitral.serving.predictor import Model

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.utils.validation import check_is_fitted
except ImportError as error:
    raise UnavailableError("VitClassifier needs scikit-learn: pip install 'vitral[sklearn]'.") from error


class VitClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A Vision Transformer as a scikit-learn classifier.

    Pictures are paths, encoded bytes, `PIL.Image.Image`s or uint8 arrays [height, width] or [height, width, 3];
    several of them are a list, or an array [n, height, width(, 3)].

    Args:
        model: folder of weights to start from, or a name like "ViT-Ti/16"; `None` trains from scratch.
        recipe: a key of `vitral.recipes.RECIPES`.
        epochs: passes over the pictures; `None` lets the recipe choose.
        image_size: of the network's input, in pixels, or (height, width); `None` lets the recipe choose.
        settings: any other settings of a run by dotted name, like {"optimizer.learning_rate": 1e-4}.
        seed: of the initial weights, the order and the crops.
        device: cpu, cuda, mps or auto.
        verbose: show progress.

    Attributes:
        classes_: the labels, sorted.
        model_: the trained `vitral.Model`; keep it with `model_.save(folder)`.
    """

    def __init__(
        self,
        model: str | None = None,
        recipe: str = "finetune",
        epochs: float | None = None,
        image_size: int | tuple[int, int] | None = None,
        settings: dict[str, Any] | None = None,
        seed: int = 0,
        device: str = "auto",
        verbose: bool = False,
    ) -> None:
        self.model = model
        self.recipe = recipe
        self.epochs = epochs
        self.image_size = image_size
        self.settings = settings
        self.seed = seed
        self.device = device
        self.verbose = verbose

    def fit(self, X: Sequence[Source], y: Sequence[Any]) -> VitClassifier:  # noqa: N803 - scikit-learn's name
        """Train on pictures X with labels y, one each.

        Raises:
            DataError: X and y differ in length, or y has fewer than two classes.
        """
        labels = np.asarray(y)
        if len(X) != len(labels) or labels.ndim != 1:
            raise DataError(f"{len(X)} pictures and labels of shape {labels.shape}: there must be one label a picture.")
        self.classes_, positions = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise DataError(f"there are {len(self.classes_)} classes in y: a classifier needs at least two.")
        split = Split(list(X), [(int(k),) for k in positions])
        names = tuple(str(name) for name in self.classes_)
        planned = self._plan(Dataset("pictures in memory", None, names, {TRAIN: split}))
        with tempfile.TemporaryDirectory(prefix="vitral-") as folder:
            result = start(planned, Path(folder) / "run", Screen(quiet=not self.verbose))
            if not result.finished:
                raise KeyboardInterrupt
            self.model_: Model = load(result.model, self.device)
        return self

    def _plan(self, dataset: Dataset) -> Plan:
        words: dict[str, Any] = {"training.seed": self.seed, "runtime.device": self.device}
        if self.model is not None:
            words["model.weights"] = self.model
        if self.epochs is not None:
            words["schedule.duration"] = Duration(self.epochs, "epochs")
        if self.image_size is not None:
            square = isinstance(self.image_size, int)
            words["model.image_size"] = (self.image_size, self.image_size) if square else self.image_size
        return plan(self.recipe, words | (self.settings or {}), dataset)

    def predict_proba(self, X: Sequence[Source]) -> np.ndarray:  # noqa: N803
        """Probabilities [pictures, classes] float32, in the order of `classes_`."""
        check_is_fitted(self, "model_")
        return self.model_.predict_proba(list(X), workers=threads(None))

    def predict(self, X: Sequence[Source]) -> np.ndarray:  # noqa: N803
        """The likeliest label of each picture [pictures]."""
        probabilities = self.predict_proba(X)
        return np.asarray(self.classes_[probabilities.argmax(axis=1)])
