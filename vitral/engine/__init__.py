"""A loaded model and the kinds of question it answers, in numbers only: what a model's process does.

kind               of pixels [n, height, width, 3] uint8         gives
-----------------  --------------------------------------------  -------------------------------------------------
scores             the pictures of many requests                 logits and probabilities, each [n, classes] float32
representations    likewise                                      what the head sees, [n, width] float32
explain            one picture                                   a map of where the answer comes from, [height, width]
                                                                 float32 in [0, 1]
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from vitral.backends import TORCH
from vitral.data.preprocessing import to_json
from vitral.errors import DataError, UsageError
from vitral.fastest import fingerprint, with_backend
from vitral.inspection.capture import attention_layers
from vitral.inspection.methods import METHODS, Choice, methods_for, places, stretched
from vitral.inspection.subject import class_index, network_input
from vitral.models import family_of
from vitral.serving.exported import GraphNetwork
from vitral.serving.loading import load, require_classes
from vitral.serving.predictor import BATCH_SIZE, Model

CARD_LIMIT = 256 << 10
"""Bytes of a model card that are shown at most."""

Answer = tuple[dict[str, Any], list[np.ndarray]]


class Engine:
    """One model, loaded.

    Args:
        path: what `load` takes. preprocessing: fields that replace the model's own.
        backend: what computes, see `vitral.fastest`.

    Raises:
        VitralError: as `load`, `require_classes` and `with_backend`.
    """

    def __init__(self, path: str, device: str, preprocessing: dict[str, Any], backend: str = TORCH) -> None:
        self.path = path
        changes = {name: tuple(value) if isinstance(value, list) else value for name, value in preprocessing.items()}
        model: Model = load(path, device).with_preprocessing(**changes)
        require_classes(model, path)
        self.model = model if backend == TORCH else with_backend(model, backend, path=path)[0]

    def warm_up(self) -> None:
        """Answer one grey picture, so that a model that cannot answer is never called ready.

        Raises:
            DataError: its scores are not numbers.
        """
        height, width = self.model.preprocessing.crop
        self.model.logits(np.full((1, height, width, 3), 127, dtype=np.uint8))

    def described(self) -> dict[str, Any]:
        """What the server must know of the model, as JSON."""
        model = self.model
        exported = isinstance(model.network, GraphNetwork)
        return {
            "family": "export" if exported else family_of(model.network.config),
            "parameters": None if exported else sum(p.numel() for p in model.network.parameters()),
            "device": str(model.device),
            "backend": model.backend_name,
            "preprocessing": to_json(model.preprocessing),
            "classes": list(model.classes),
            "descriptions": model.descriptions,
            "multi_label": model.multi_label,
            "temperature": model.temperature,
            "calibrated": model.temperature != 1,
            "explanations": {} if exported else explanations(model),
            "card": _card(Path(self.path)),
            "sha256": fingerprint(model),
            "batch_size": BATCH_SIZE,
            "precision": model.precision,
        }

    def answer(self, kind: str, pixels: np.ndarray, options: dict[str, Any]) -> Answer:
        """Answer one batch; see the table above.

        Raises:
            DataError: a score is not a number. UsageError: no such kind.
        """
        if kind == "scores":
            logits = self.model.logits(pixels)
            return {}, [logits.numpy(), self.model.probabilities_of(logits).numpy()]
        if kind == "representations":
            found = self.model.representations(pixels).numpy()
            if not np.isfinite(found).all():
                raise DataError("the model gives features that are infinite or not numbers: its weights are damaged.")
            return {}, [found]
        if kind == "explain":
            return {}, [self._explained(pixels, **options)]
        raise UsageError(f"no such kind of question: {kind!r} {sorted(options)}.")

    def _explained(
        self, pixels: np.ndarray, method: str, label: str | None, layer: int | None, head: int | None
    ) -> np.ndarray:
        network = self.model.network
        classes = None if label is None else (class_index(self.model.classes, label),)
        choice = Choice(classes, layer, head, self.model.multi_label)
        values = places(network, network_input(self.model, pixels), method, choice)
        return stretched(values, (pixels.shape[1], pixels.shape[2]))[0]


def explanations(model: Model) -> dict[str, Any]:
    """What can be asked of a model's network: methods with their options, the usual one first; layers and heads.

    Occlusion asks the network a hundred times or more, so it is offered only where nothing else fits.
    """
    fitting = methods_for(model.network)
    offered = [method for method in fitting if method != "occlusion"] or list(fitting)
    layers = attention_layers(model.network)
    heads = [int(getattr(layer, "num_heads", 0)) for layer in layers]
    return {"methods": {name: list(METHODS[name]) for name in offered}, "layers": len(layers), "heads": heads}


def _card(path: Path) -> str:
    """The model card beside the weights, if there is one that can be read."""
    folder = path if path.is_dir() else path.parent
    for place in (folder / "README.md", folder / "model" / "README.md"):
        if path.exists() and place.is_file():
            with place.open("rb") as file:
                return file.read(CARD_LIMIT).decode("utf-8", errors="replace")
    return ""
