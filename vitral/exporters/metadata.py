"""What travels inside every exported file: all that a program needs to prepare a picture and to name the answer."""

from __future__ import annotations

import json

from vitral.data.preprocessing import to_json
from vitral.serving.predictor import Model
from vitral.version import VERSION


def metadata(model: Model, kind: str) -> dict[str, str]:
    """Words by name; what is more than a word is JSON.

    library, version     vitral, and which
    classes              names in the order of the scores
    descriptions         words for names that are mere identifiers
    multi_label          true: each class is a question of its own, and probabilities are sigmoids
    temperature          by which the graph divides its scores before they become probabilities
    preprocessing        as preprocessing.json; mean and std are in the graph already
    precision            of weights and arithmetic, a key of `vitral.exporters.parity.TOLERANCES`
    """
    return {
        "library": "vitral",
        "version": VERSION,
        "classes": json.dumps(list(model.classes), ensure_ascii=False),
        "descriptions": json.dumps(model.descriptions, ensure_ascii=False),
        "multi_label": json.dumps(model.multi_label),
        "temperature": repr(model.temperature),
        "preprocessing": json.dumps(to_json(model.preprocessing)),
        "precision": kind,
    }
