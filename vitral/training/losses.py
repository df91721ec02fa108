"""What is minimised: softmax and sigmoid cross-entropy on dense targets."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from vitral.config import LossConfig
from vitral.registry import look_up


def targets(
    labels: Sequence[tuple[int, ...]], num_classes: int, smoothing: float, device: torch.device
) -> Float[Tensor, "n K"]:
    """One row per picture: 1 at each of its classes, 0 elsewhere, then `(1 - smoothing) row + smoothing / K`.

    Only the positions travel to `device`; the dense rows are made there.
    """
    counts = torch.tensor([len(classes) for classes in labels])
    columns = torch.tensor([k for classes in labels for k in classes], dtype=torch.int64)
    rows = torch.repeat_interleave(torch.arange(len(labels)), counts)
    dense = torch.zeros(len(labels), num_classes, device=device)
    dense[rows.to(device), columns.to(device)] = 1.0
    return dense * (1 - smoothing) + smoothing / num_classes if smoothing else dense


def softmax_cross_entropy(logits: Float[Tensor, "n K"], targets: Float[Tensor, "n K"]) -> Float[Tensor, " n"]:
    """- sum_k t_k log softmax(z)_k, per picture."""
    return -(targets * F.log_softmax(logits.float(), dim=1)).sum(dim=1)


def sigmoid_cross_entropy(logits: Float[Tensor, "n K"], targets: Float[Tensor, "n K"]) -> Float[Tensor, " n"]:
    """Sum over classes (not the mean) of the binary cross-entropies, per picture, as the authors pre-train."""
    return F.binary_cross_entropy_with_logits(logits.float(), targets, reduction="none").sum(dim=1)


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "softmax": softmax_cross_entropy,
    "sigmoid": sigmoid_cross_entropy,
}


def build_loss(config: LossConfig) -> Callable[[Tensor, Tensor], Tensor]:
    """(logits [n, K], targets [n, K]) -> loss of each picture [n]."""
    return look_up("loss", config.name, LOSSES)


def hits(logits: Float[Tensor, "n K"], targets: Float[Tensor, "n K"]) -> Bool[Tensor, " n"]:
    """Whether the likeliest class is one that the picture shows; of a mixed picture, one of the larger part."""
    best = targets.amax(dim=1)
    shown = best >= 1 / targets.shape[1]  # smoothing alone, of a picture without any label, stays below
    return shown & (targets.gather(1, logits.argmax(dim=1, keepdim=True))[:, 0] == best)
