"""A linear classifier on frozen features.

The weight decay is chosen on held-out pictures; the classifier is then fitted once more on all of them.

Letters: N pictures to learn from, R features, K classes, n test pictures.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from vitral.evaluators.features import Probing, accuracy
from vitral.logistic import Logistic

DECAYS = tuple(10.0 ** (-power / 2) for power in range(11))
"""Weight decays that are tried, from strong to weak: 1 to 1e-5."""

USUAL_DECAY = 0.1
"""Where there are too few pictures to hold any out."""


def linear_probe(data: Probing) -> dict[str, Any]:
    """`linear`: accuracy on the test pictures with the decay of most held-out pictures right, of equals the one of
    least loss there; `weight_decay`: that decay; `tried`: accuracy and loss on the held-out pictures by decay."""
    kept = ~data.held_out
    tried = []
    start = None
    for decay in DECAYS if kept.any() and not kept.all() else ():
        found = start = Logistic(data.train[kept], data.train_labels[kept], data.classes, decay, start)
        scores = found.scores(data.train[data.held_out])
        truth = torch.from_numpy(data.train_labels[data.held_out])
        share = accuracy(scores.argmax(dim=1).numpy(), truth.numpy())
        tried.append({"weight_decay": decay, "held_out": share, "loss": float(F.cross_entropy(scores, truth))})
    best = max(tried, key=lambda made: (made["held_out"], -made["loss"]), default={"weight_decay": USUAL_DECAY})
    final = Logistic(data.train, data.train_labels, data.classes, best["weight_decay"])
    answers = final.scores(data.test).argmax(dim=1).numpy()
    return {"linear": accuracy(answers, data.test_labels), "weight_decay": best["weight_decay"], "tried": tried}


def hold_out(labels: np.ndarray, share: float = 0.2, seed: int = 0) -> np.ndarray:
    """Marks [N] of pictures to choose settings on: `share` of each class, rounded, drawn by the seed."""
    rng = np.random.default_rng(seed)
    marks = np.zeros(len(labels), dtype=bool)
    for k in np.unique(labels):
        positions = rng.permutation(np.flatnonzero(labels == k))
        marks[positions[: round(share * len(positions))]] = True
    return marks
