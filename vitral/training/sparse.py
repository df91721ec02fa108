"""Targets of very many classes as the few positions that are not 0, and losses that never make the rest.

With 21,843 classes a batch of 4,096 dense rows is 358 MB, as large as the scores themselves; the positions are a few
kilobytes. The losses are those of `vitral.training.losses`, rearranged so that a target appears at its classes only.

Letters: n pictures, L most classes of a picture in the batch, K classes, s the label smoothing. The dense row is
(1 - s) sum_j w_j e(c_j) + s / K, e(c) being 1 at class c and 0 elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from vitral.config import LossConfig

FROM_CLASSES = 4096
"""Classes from which a run keeps its targets sparse; below, dense rows are quick and small."""


@dataclass(frozen=True)
class SparseTargets:
    """Classes [n, L] int64 and their weights [n, L] float32; where a picture has fewer, of weight 0."""

    classes: Tensor
    weights: Tensor
    count: int  # K
    smoothing: float = 0.0

    @classmethod
    def of(cls, labels: Sequence[tuple[int, ...]], count: int, smoothing: float, device: torch.device) -> SparseTargets:
        """Weight 1 for each class of a picture, made on the host and sent to `device`."""
        most = max((len(own) for own in labels), default=0) or 1
        padded = [[*own, *[0] * (most - len(own))] for own in labels]
        there = [[1.0] * len(own) + [0.0] * (most - len(own)) for own in labels]
        classes = torch.tensor(padded, dtype=torch.int64).to(device, non_blocking=True)
        return cls(classes, torch.tensor(there).to(device, non_blocking=True), count, smoothing)

    def __len__(self) -> int:
        return len(self.classes)

    def blend(self, own: float) -> SparseTargets:
        """`own` of each row and 1 - `own` of the row before it, as Mixup and CutMix do."""
        before = self.classes.roll(1, 0), self.weights.roll(1, 0)
        classes = torch.cat([self.classes, before[0]], dim=1)
        return replace(self, classes=classes, weights=torch.cat([self.weights * own, before[1] * (1 - own)], dim=1))

    def split(self, size: int) -> list[SparseTargets]:
        """The rows in parts of `size`."""
        parts = zip(self.classes.split(size), self.weights.split(size), strict=True)
        return [replace(self, classes=classes, weights=weights) for classes, weights in parts]

    def products(self, logits: Tensor) -> Tensor:
        """sum_k t_k z_k for each row [n]."""
        at_classes = (self.weights * logits.gather(1, self.classes)).sum(dim=1)
        return (1 - self.smoothing) * at_classes + self.smoothing * logits.mean(dim=1)

    def total(self) -> Tensor:
        """sum_k t_k for each row [n]."""
        return (1 - self.smoothing) * self.weights.sum(dim=1) + self.smoothing

    def hits(self, logits: Tensor) -> Tensor:
        """As `vitral.training.losses.hits`: whether the likeliest class is one of the largest of the row [n]."""
        same = self.classes[:, :, None] == self.classes[:, None, :]
        best = (self.weights[:, None, :] * same).sum(dim=2).amax(dim=1)
        guessed = (self.weights * (self.classes == logits.argmax(dim=1, keepdim=True))).sum(dim=1)
        return (best >= 1 / self.count) & (guessed >= best * (1 - 1e-6))


def softmax_cross_entropy(logits: Tensor, targets: SparseTargets) -> Tensor:
    """- sum_k t_k log softmax(z)_k = logsumexp(z) sum_k t_k - sum_k t_k z_k, per picture [n]."""
    z = logits.float()
    return z.logsumexp(dim=1) * targets.total() - targets.products(z)


def sigmoid_cross_entropy(logits: Tensor, targets: SparseTargets) -> Tensor:
    """Sum over classes of the binary cross-entropies, sum_k log(1 + e^z_k) - sum_k t_k z_k, per picture [n]."""
    z = logits.float()
    return F.softplus(z).sum(dim=1) - targets.products(z)


def binary_cross_entropy(logits: Tensor, targets: SparseTargets) -> Tensor:
    """Their mean over classes, per picture [n]."""
    return sigmoid_cross_entropy(logits, targets) / targets.count


LOSSES: dict[str, Callable[[Tensor, SparseTargets], Tensor]] = {
    "softmax": softmax_cross_entropy,
    "sigmoid": sigmoid_cross_entropy,
    "bce": binary_cross_entropy,
}
"""By the names of `LossConfig`."""


def applies(config: LossConfig, count: int) -> bool:
    """Whether a run with so many classes keeps its targets sparse; weights of classes need dense ones."""
    return count >= FROM_CLASSES and not config.class_weights
