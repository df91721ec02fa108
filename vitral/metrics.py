"""How measured numbers are called and written, the same on the screen, in a page and in a card."""

from __future__ import annotations

NAMES = {
    "top1": "top-1",
    "top5": "top-5",
    "real_top1": "ReaL top-1",
    "mean_average_precision": "mean average precision",
}
"""Of those that stand first; the others are called by their keys."""

_SHARES = ("real_top1", "exact_match", "balanced_accuracy", "ece", "ece_before")


def name_of(metric: str) -> str:
    """ "top1" -> "top-1", "balanced_accuracy" -> "balanced accuracy"."""
    return NAMES.get(metric, metric.replace("_", " "))


def written(metric: str, value: float) -> str:
    """A number as it is printed: shares in percent, precisions and losses as they are."""
    return f"{value:.2%}" if metric.startswith("top") or metric in _SHARES else f"{value:.4f}"
