"""Transformers' other classifiers, behind vitral's adapter: Transformers itself says what their tensors are called."""

from __future__ import annotations

import torch

from vitral.models import adapter
from vitral.models.adapter import AdapterConfig
from vitral.weights.mapping import Entry
from vitral.weights.stored import Stored


def entries(config: AdapterConfig, _: Stored | None) -> list[Entry]:
    """Transformers' name, in memory, for each tensor.

    Raises:
        UsageError: the model's settings do not fit together, or its last layer is not a dense one.
    """
    with torch.device("meta"):
        whole = adapter.transformers_classifier(config)
    last = adapter.last_layer(whole)
    head = {f"{last}.{kind}": f"head.{kind}" for kind in ("weight", "bias")}
    return [Entry(head.get(name, f"body.{name}"), (name,)) for name in whole.state_dict()]
