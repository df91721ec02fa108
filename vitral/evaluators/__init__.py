"""From scores or features and labels to named numbers: one file per idea."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vitral.evaluators.features import Probing
from vitral.evaluators.fewshot import fewshot, fewshot_older
from vitral.evaluators.knn import knn
from vitral.evaluators.probe import linear_probe

PROBES: dict[str, Callable[[Probing], dict[str, Any]]] = {
    "fewshot": fewshot,
    "knn": knn,
    "linear": linear_probe,
    "fewshot-older": fewshot_older,
}
"""What can be read out of a frozen network's features, by the name of the method."""
