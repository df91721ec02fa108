"""Logistic regression of many classes, solved to the end by L-BFGS.

The loss is convex, so there is one answer: no learning rate, no length and no seed to choose.

Letters: N pictures to learn from, R features, K classes, n other pictures.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

MOST_STEPS = 400
"""Steps of L-BFGS for one fit; where the decay is weak and classes can be told apart, the last steps change nothing
that is seen."""

STD_EPS = 1e-5
"""Added to the deviation of a feature before it is divided by it: a constant one stays near 0."""


class Logistic:
    """Weights [R + 1, K] that minimise mean cross-entropy + decay / 2 |W|^2, the bias free of decay.

    Features are first brought to mean 0 and deviation 1, so that one decay fits all of them and the steps are few.

    Args:
        features: [N, R].
        labels: the class of each [N], in [0, `classes`).
        start: an earlier fit of the same pictures to begin with, which makes the way shorter.
        counts: what each picture counts in the mean [N]; all alike by default.
    """

    def __init__(
        self,
        features: np.ndarray,
        labels: np.ndarray,
        classes: int,
        decay: float,
        start: Logistic | None = None,
        counts: np.ndarray | None = None,
    ) -> None:
        self.mean = features.mean(axis=0, dtype=np.float64)
        self.std = features.std(axis=0, dtype=np.float64) + STD_EPS
        x, y = self._prepared(features), torch.from_numpy(labels)
        made = torch.zeros(x.shape[1], classes, dtype=torch.float64) if start is None else start.weights.clone()
        self.weights: Tensor = made.requires_grad_()
        shares = None if counts is None else torch.from_numpy(counts / counts.sum())
        solver = torch.optim.LBFGS(
            [self.weights], max_iter=MOST_STEPS, tolerance_grad=1e-7, tolerance_change=1e-12, history_size=20,
            line_search_fn="strong_wolfe",
        )  # fmt: skip

        def loss() -> Tensor:
            solver.zero_grad()
            made = _mean_loss(x @ self.weights, y, shares) + decay / 2 * self.weights[:-1].square().sum()
            made.backward()
            return made

        solver.step(loss)
        self.weights = self.weights.detach()

    def scores(self, features: np.ndarray) -> Tensor:
        """Scores [n, K] float64."""
        return self._prepared(features) @ self.weights

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weight [K, R] and bias [K] of a dense layer that gives the same scores of the features as they are."""
        own = self.weights[:-1] / torch.from_numpy(self.std)[:, None]
        return own.T, self.weights[-1] - torch.from_numpy(self.mean) @ own

    def _prepared(self, features: np.ndarray) -> Tensor:
        x = (features.astype(np.float64) - self.mean) / self.std
        return torch.from_numpy(np.pad(x, ((0, 0), (0, 1)), constant_values=1.0))


def _mean_loss(scores: Tensor, labels: Tensor, shares: Tensor | None) -> Tensor:
    """Cross-entropy; `shares` of the pictures sum to 1."""
    if shares is None:
        return F.cross_entropy(scores, labels)
    return (F.cross_entropy(scores, labels, reduction="none") * shares).sum()
