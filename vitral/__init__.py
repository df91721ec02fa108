"""vitral: image classification with the Vision Transformer.

>>> import vitral
>>> model = vitral.load("runs/finetune-flowers/model")
>>> model.predict("picture.jpg")[0].label

Importing this package imports nothing heavy: each name below is fetched when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from vitral.errors import (
    DataError,
    MissingInputError,
    NonFiniteError,
    StorageError,
    UnavailableError,
    UnreadableImageError,
    UsageError,
    VitralError,
)
from vitral.version import VERSION

if TYPE_CHECKING:
    from vitral.estimator import VitClassifier as VitClassifier
    from vitral.models import create_model as create_model
    from vitral.serving.loading import load as load
    from vitral.serving.predictor import Model as Model

__version__ = VERSION

_LAZY = {
    "Model": "vitral.serving.predictor",
    "VitClassifier": "vitral.estimator",
    "create_model": "vitral.models",
    "load": "vitral.serving.loading",
}

__all__ = [  # noqa: RUF022 - the lazy ones first
    "Model",
    "VitClassifier",
    "create_model",
    "load",
    "DataError",
    "MissingInputError",
    "NonFiniteError",
    "StorageError",
    "UnavailableError",
    "UnreadableImageError",
    "UsageError",
    "VitralError",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'vitral' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
