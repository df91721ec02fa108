"""What Transformers' config.json says, value by value, in vitral's words and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitral.errors import DataError
from vitral.models.kernels import Gelu
from vitral.weights.stored import Stored

GELU: dict[str, Gelu] = {
    "gelu": "exact",
    "gelu_python": "exact",
    "gelu_new": "tanh",
    "gelu_fast": "tanh",
    "gelu_pytorch_tanh": "tanh",
}
"""Its names for the two forms of the GELU."""

WRITTEN_GELU: dict[Gelu, str] = {"exact": "gelu", "tanh": "gelu_pytorch_tanh"}

FIXED = {
    "qkv_bias": (True, "query, key and value without biases"),
    "attention_probs_dropout_prob": (0.0, "dropout of attention weights"),
}
"""Settings that vitral's networks have no field for: the value that they have, and what another would be."""


def size(value: Any) -> tuple[int, int]:
    """A side of a square or [height, width], in pixels."""
    if isinstance(value, int):
        return value, value
    height, width = value
    return int(height), int(width)


def patch(value: Any) -> int:
    """A patch's side in pixels.

    Raises:
        DataError: it is not square.
    """
    height, width = size(value)
    if height != width:
        raise DataError(f"patches of {height}x{width} pixels are not square: only square ones are read.")
    return height


def gelu(published: Mapping[str, Any]) -> Gelu:
    """The form of the GELU.

    Raises:
        DataError: the activation is another.
    """
    name = published.get("hidden_act", "gelu")
    if name not in GELU:
        raise DataError(f"the activation {name!r} is not read: it must be one of {', '.join(GELU)}.")
    return GELU[name]


def require_fixed(published: Mapping[str, Any]) -> None:
    """Refuse settings that would be lost.

    Raises:
        DataError: one of `FIXED` has another value.
    """
    for name, (value, other) in FIXED.items():
        if published.get(name, value) != value:
            raise DataError(f"{name} is {published[name]}: {other} is not read.")


def class_names(published: Mapping[str, Any]) -> tuple[str, ...]:
    """Names in the order of the head's rows; none where "id2label" only numbers them."""
    given = {int(key): str(name) for key, name in (published.get("id2label") or {}).items()}
    if sorted(given) != list(range(len(given))):
        raise DataError("id2label does not number its classes 0, 1, 2 ... without a gap.")
    names = tuple(given[k] for k in range(len(given)))
    return () if all(name == f"LABEL_{k}" for k, name in enumerate(names)) else names


def labels(classes: tuple[str, ...], count: int) -> dict[str, Any]:
    """The entries of config.json that name the classes."""
    names = classes or tuple(f"LABEL_{k}" for k in range(count))
    return {"id2label": {str(k): name for k, name in enumerate(names)}, "label2id": {n: k for k, n in enumerate(names)}}


def class_count(published: Mapping[str, Any], stored: Stored, head: str = "classifier.weight") -> int:
    """Rows of the head; 1 where the file has none.

    Raises:
        DataError: "id2label" names another number of classes.
    """
    rows = stored.shapes[head][0] if head in stored.shapes else 0
    named = len(published.get("id2label") or {})
    if rows and named and rows != named:
        raise DataError(f"id2label names {named} classes, the head has {rows}.")
    return max(rows, 1)
