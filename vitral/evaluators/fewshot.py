"""Few-shot linear evaluation by ridge regression in closed form: a number for a frozen network in seconds.

The protocol of the ViT papers: features of a few pictures of each class, whitened, and a constant; targets -1 and
1; W = (X'X + lambda I)^-1 X'Y; the class of the largest output is the answer.

Letters: N shots in all, D features and the constant, K classes, n test pictures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, pstdev
from typing import Any

import numpy as np

from vitral.evaluators.features import Probing, accuracy

SHOTS = (1, 5, 10, 25)
SEEDS = (0, 1, 2)
L2 = 2.0**10
BIAS = 100.0
"""The constant feature: so large that the penalty on its weight, the bias, does not matter."""

OLDER_L2 = tuple(2.0**power for power in range(-10, 20))
"""The penalties that the older protocol tries."""


def fewshot(data: Probing) -> dict[str, Any]:
    """`5shot` and its like: mean accuracy over three draws of the shots, as big_vision's fewshot_lsr does it.

    `std` is the deviation over the draws. Classes with fewer pictures give all they have; numbers of shots that no
    class has are left out.
    """
    made: dict[str, Any] = {}
    for shots in _possible(data):
        found = [accuracy(_answers(data, draw(data.train_labels, seed, shots)), data.test_labels) for seed in SEEDS]
        made[f"{shots}shot"] = fmean(found)
        made.setdefault("std", {})[f"{shots}shot"] = pstdev(found)
    return made


def fewshot_older(data: Probing) -> dict[str, Any]:
    """`5shot` and its like by the protocol before big_vision's, which older papers report.

    The first pictures of each class are the shots, and the penalty is the best on the test pictures themselves:
    with one data set its own best, over several that of `best_l2`, for which `by_l2` has all accuracies.
    """
    found = sweep_penalties(data)
    penalties = {shots: best_l2([by_l2]) for shots, by_l2 in found.items()}
    made: dict[str, Any] = {f"{shots}shot": by_l2[penalties[shots]] for shots, by_l2 in found.items()}
    by_l2 = {f"{shots}shot": {f"{l2:g}": share for l2, share in row.items()} for shots, row in found.items()}
    return {**made, "l2": {f"{shots}shot": l2 for shots, l2 in penalties.items()}, "by_l2": by_l2}


def sweep_penalties(data: Probing) -> dict[int, dict[float, float]]:
    """Accuracy by shots and penalty, with the first pictures of each class as shots."""
    made: dict[int, dict[float, float]] = {}
    for shots in _possible(data):
        of_class = [np.flatnonzero(data.train_labels == k)[:shots] for k in np.unique(data.train_labels)]
        solver = Ridge(data.train[np.concatenate(of_class)], data.train_labels[np.concatenate(of_class)], data.classes)
        made[shots] = {l2: accuracy(solver.answers(data.test, l2), data.test_labels) for l2 in OLDER_L2}
    return made


def best_l2(by_dataset: Sequence[Mapping[float, float]]) -> float:
    """The penalty with the best mean rank over data sets; between equals the smaller one."""
    penalties = sorted(by_dataset[0])
    values = np.array([[found[l2] for l2 in penalties] for found in by_dataset])
    ranks = (values[:, None, :] > values[:, :, None]).sum(axis=2)  # how many penalties are better on that data set
    return penalties[int(ranks.mean(axis=0).argmin())]


def draw(labels: np.ndarray, seed: int, shots: int) -> np.ndarray:
    """Positions of `shots` pictures of each class; with more shots the former ones stay."""
    rng = np.random.default_rng(seed)
    of_class = [rng.permutation(np.flatnonzero(labels == k)) for k in range(int(labels.max()) + 1)]
    return np.concatenate([positions[:shots] for positions in of_class])


class Ridge:
    """The regression on shots [N, D - 1] with classes [N], solved for any penalty by one decomposition."""

    def __init__(self, features: np.ndarray, labels: np.ndarray, classes: int) -> None:
        x = features.astype(np.float64)
        self.mean, self.std = x.mean(axis=0), x.std(axis=0) + 1e-5
        x = self._whitened(x)
        y = 2.0 * (labels[:, None] == np.arange(classes)) - 1
        # (X'X + lambda I)^-1 X'Y = X' (XX' + lambda I)^-1 Y: of the two the one with the smaller matrix is solved.
        if x.shape[0] >= x.shape[1]:
            self.eigenvalues, vectors = np.linalg.eigh(x.T @ x)
            self.left, self.right = vectors, vectors.T @ (x.T @ y)
        else:
            self.eigenvalues, vectors = np.linalg.eigh(x @ x.T)
            self.left, self.right = x.T @ vectors, vectors.T @ y

    def weights(self, l2: float) -> np.ndarray:
        """W [D, K]."""
        return np.asarray((self.left / (self.eigenvalues + l2)) @ self.right)

    def answers(self, features: np.ndarray, l2: float) -> np.ndarray:
        """The class of each of the features [n, D - 1]."""
        return np.asarray((self._whitened(features.astype(np.float64)) @ self.weights(l2)).argmax(axis=1))

    def _whitened(self, x: np.ndarray) -> np.ndarray:
        return np.pad((x - self.mean) / self.std, ((0, 0), (0, 1)), constant_values=BIAS)


def _answers(data: Probing, positions: np.ndarray) -> np.ndarray:
    return Ridge(data.train[positions], data.train_labels[positions], data.classes).answers(data.test, L2)


def _possible(data: Probing) -> list[int]:
    most = int(np.bincount(data.train_labels).max())
    return [shots for shots in SHOTS if shots <= most]
