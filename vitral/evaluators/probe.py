"""A linear classifier on frozen features: logistic regression of many classes, solved to the end by L-BFGS.

The loss is convex, so there is one answer: no learning rate, no length and no seed to choose. The weight decay is
chosen on held-out pictures; the classifier is then fitted once more on all of them.

Letters: N pictures to learn from, R features, K classes, n test pictures.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vitral.evaluators.features import Probing, accuracy

DECAYS = tuple(10.0 ** (-power / 2) for power in range(11))
"""Weight decays that are tried, from strong to weak: 1 to 1e-5."""

USUAL_DECAY = 0.1
"""Where there are too few pictures to hold any out."""

MOST_STEPS = 400
"""Steps of L-BFGS for one fit; where the decay is weak and classes can be told apart, the last steps change nothing
that is seen."""


def linear_probe(data: Probing) -> dict[str, Any]:
    """`linear`: accuracy with the decay of least loss on the held-out pictures; `weight_decay`, and `tried`:
    accuracy and loss there by decay."""
    kept = ~data.held_out
    tried = []
    start = None
    for decay in DECAYS if kept.any() and not kept.all() else ():
        found = start = Linear(data.train[kept], data.train_labels[kept], data.classes, decay, start)
        scores = found.scores(data.train[data.held_out])
        truth = torch.from_numpy(data.train_labels[data.held_out])
        share = accuracy(scores.argmax(dim=1).numpy(), truth.numpy())
        tried.append({"weight_decay": decay, "held_out": share, "loss": float(F.cross_entropy(scores, truth))})
    best = max(tried, key=lambda made: (made["held_out"], -made["loss"]), default={"weight_decay": USUAL_DECAY})
    final = Linear(data.train, data.train_labels, data.classes, best["weight_decay"])
    answers = final.scores(data.test).argmax(dim=1).numpy()
    return {"linear": accuracy(answers, data.test_labels), "weight_decay": best["weight_decay"], "tried": tried}


class Linear:
    """Weights [R + 1, K] that minimise mean cross-entropy + decay / 2 |W|^2, the bias free of decay.

    Features are first brought to mean 0 and deviation 1, so that one decay fits all of them and the steps are few.
    """

    def __init__(
        self, features: np.ndarray, labels: np.ndarray, classes: int, decay: float, start: Linear | None = None
    ) -> None:
        self.mean, self.std = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64) + 1e-5
        x, y = self._prepared(features), torch.from_numpy(labels)
        made = torch.zeros(x.shape[1], classes, dtype=torch.float64) if start is None else start.weights.clone()
        self.weights: Tensor = made.requires_grad_()
        solver = torch.optim.LBFGS(
            [self.weights], max_iter=MOST_STEPS, tolerance_grad=1e-7, tolerance_change=1e-12, history_size=20,
            line_search_fn="strong_wolfe",
        )  # fmt: skip

        def loss() -> Tensor:
            solver.zero_grad()
            made = F.cross_entropy(x @ self.weights, y) + decay / 2 * self.weights[:-1].square().sum()
            made.backward()
            return made

        solver.step(loss)
        self.weights = self.weights.detach()

    def scores(self, features: np.ndarray) -> Tensor:
        """Scores [n, K] float64."""
        return self._prepared(features) @ self.weights

    def _prepared(self, features: np.ndarray) -> Tensor:
        x = (features.astype(np.float64) - self.mean) / self.std
        return torch.from_numpy(np.pad(x, ((0, 0), (0, 1)), constant_values=1.0))


def hold_out(labels: np.ndarray, share: float = 0.2, seed: int = 0) -> np.ndarray:
    """Marks [N] of pictures to choose settings on: `share` of each class, rounded, drawn by the seed."""
    rng = np.random.default_rng(seed)
    marks = np.zeros(len(labels), dtype=bool)
    for k in np.unique(labels):
        positions = rng.permutation(np.flatnonzero(labels == k))
        marks[positions[: round(share * len(positions))]] = True
    return marks
