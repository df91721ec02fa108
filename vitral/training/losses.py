"""What is minimised: softmax and sigmoid cross-entropy on dense targets, and what each class counts in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from vitral.config import LossConfig
from vitral.errors import UsageError
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


def binary_cross_entropy(logits: Float[Tensor, "n K"], targets: Float[Tensor, "n K"]) -> Float[Tensor, " n"]:
    """Mean over classes of the binary cross-entropies, per picture, as DeiT III's authors (arXiv 2204.07118)."""
    return F.binary_cross_entropy_with_logits(logits.float(), targets, reduction="none").mean(dim=1)


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "softmax": softmax_cross_entropy,
    "sigmoid": sigmoid_cross_entropy,
    "bce": binary_cross_entropy,
}


WEIGHTED: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    # The term of class k that says "yes" counts w_k times, as `weight` and `pos_weight` of torch's losses.
    "softmax": lambda logits, targets, weights: softmax_cross_entropy(logits, targets * weights),
    "sigmoid": lambda logits, targets, weights: F.binary_cross_entropy_with_logits(
        logits.float(), targets, reduction="none", pos_weight=weights
    ).sum(dim=1),
    "bce": lambda logits, targets, weights: F.binary_cross_entropy_with_logits(
        logits.float(), targets, reduction="none", pos_weight=weights
    ).mean(dim=1),
}


def build_loss(config: LossConfig, weights: Float[Tensor, " K"] | None = None) -> Callable[[Tensor, Tensor], Tensor]:
    """(logits [n, K], targets [n, K]) -> loss of each picture [n]; `weights` say what each class counts."""
    if weights is None:
        return look_up("loss", config.name, LOSSES)
    weighted = look_up("loss", config.name, WEIGHTED)
    return lambda logits, targets: weighted(logits, targets, weights)


def class_weights(
    said: Sequence[str], classes: Sequence[str], labels: Sequence[tuple[int, ...]]
) -> Float[Tensor, " K"] | None:
    """What the pictures of each class count; `None` where nothing is said, so all count alike.

    "balanced" gives class k of n_k pictures the weight N / (K n_k), N being the sum of all n_k, so that the classes
    count alike and a picture counts 1 on average. "NAME=WEIGHT" sets one class; those not named keep 1.

    Raises:
        UsageError: a class that is not there, or a weight that is no number from 0 to 1000.
    """
    if not said:
        return None
    if tuple(said) == ("balanced",):
        counts = torch.bincount(torch.tensor([k for own in labels for k in own]), minlength=len(classes))
        return (counts.sum() / (len(classes) * counts.clamp(min=1))).float()
    weights = torch.ones(len(classes))
    for entry in said:
        name, equals, number = entry.rpartition("=")
        try:
            weight = float(number) if equals else -1.0
        except ValueError:
            weight = -1.0
        if not 0 <= weight <= 1000:
            raise UsageError(
                f"class_weights takes 'balanced' or NAME=WEIGHT with a weight of 0 to 1000, not {entry!r}."
            )
        look_up("class", name, dict.fromkeys(classes))
        weights[list(classes).index(name)] = weight
    if not weights.any():
        raise UsageError("class_weights gives every class the weight 0: nothing would be learned.")
    return weights


def hits(logits: Float[Tensor, "n K"], targets: Float[Tensor, "n K"]) -> Bool[Tensor, " n"]:
    """Whether the likeliest class is one that the picture shows; of a mixed picture, one of the larger part."""
    best = targets.amax(dim=1)
    shown = best >= 1 / targets.shape[1]  # smoothing alone, of a picture without any label, stays below
    return shown & (targets.gather(1, logits.argmax(dim=1, keepdim=True))[:, 0] == best)
