"""What a model is, whatever computes it, as one number: an export says of which model it was made."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

from vitral.data.preprocessing import to_json
from vitral.models import family_of
from vitral.models.digest import weights_digest
from vitral.serving.predictor import Model


def identity(model: Model) -> str:
    """64 hexadecimal digits: SHA-256 of a model's weights and of all that stands beside them."""
    return hashlib.sha256(json.dumps(parts_of(model), sort_keys=True).encode()).hexdigest()


def parts_of(model: Model) -> dict[str, Any]:
    """All that decides a model's answers, but for the programs that compute them."""
    config = model.network.config
    return {
        "family": family_of(config),
        "config": dataclasses.asdict(config),
        "preprocessing": to_json(model.preprocessing),
        "classes": model.classes,
        "multi_label": model.multi_label,
        "temperature": model.temperature,
        "weights": weights_digest(model.network),
    }
