"""The one graph that is exported: bytes of pictures in, calibrated probabilities out.

    pixels         [n, height, width, 3] uint8 RGB, n from 1 up: pictures already resized and cut
    probabilities  [n, classes] float32, at the model's temperature
    logits         [n, classes] float32, before it
    features       [n, width] float32, what the head sees; only where asked for

Weights may stand in fewer bits than float32; arithmetic is always float32, so only their rounding changes an answer.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from vitral.errors import UsageError
from vitral.serving.predictor import Model

HALVES = {"float16": torch.float16, "bfloat16": torch.bfloat16}

LEAST_WEIGHTS = 256
"""Numbers below which a weight stays in float32: it takes no room, and position tables and norms are sensitive."""

MOST_PICTURES = 4096
"""Largest batch that a graph promises to take."""


class Graph(nn.Module):
    """Pixels to outputs by name; the network is the model's own, not a copy."""

    scale: Tensor
    shift: Tensor

    def __init__(self, model: Model, features: bool) -> None:
        super().__init__()
        self.network = model.network
        self.temperature, self.multi_label, self.features = model.temperature, model.multi_label, features
        mean, std = (torch.tensor(values, dtype=torch.float64) for values in _colours(model))
        # In double precision before it is rounded once, like `vitral.data.preprocessing.normalise`.
        self.register_buffer("scale", (1 / (255 * std)).float()[:, None, None])
        self.register_buffer("shift", (-mean / std).float()[:, None, None])

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        images = pixels.permute(0, 3, 1, 2).to(torch.float32) * self.scale + self.shift
        encoded = self.network.encode(images)
        logits = self.network.classify(encoded)
        scaled = logits / self.temperature
        found = {"probabilities": scaled.sigmoid() if self.multi_label else scaled.softmax(dim=1), "logits": logits}
        return found | ({"features": self.network.pooled(encoded)} if self.features else {})


class Compact(nn.Module):
    """The same graph with its large weights in fewer bits, which it brings back to float32 on the way.

    float16, bfloat16: rounded. int8: each row of a weight is divided by its largest number / 127 and rounded; the
    factors stand beside it.
    """

    def __init__(self, graph: Graph, kind: str) -> None:
        super().__init__()
        self._graph = (graph,)  # in a tuple, so that its weights are not exported too
        self._places: dict[str, tuple[str, str | None]] = {}
        for i, (name, value) in enumerate(graph.state_dict().items()):
            value, factors = _packed(name, value.detach(), kind)
            self.register_buffer(f"w{i}", value)
            if factors is not None:
                self.register_buffer(f"w{i}_factors", factors)
            self._places[name] = f"w{i}", None if factors is None else f"w{i}_factors"

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        restored = {}
        for name, (place, factors) in self._places.items():
            value = self.get_buffer(place)
            value = value.to(torch.float32) if value.dtype in (torch.int8, *HALVES.values()) else value
            restored[name] = value if factors is None else value * self.get_buffer(factors)
        found: dict[str, Tensor] = torch.func.functional_call(self._graph[0], restored, (pixels,))
        return found


def traced(model: Model, kind: str, features: bool) -> ExportedProgram:
    """The graph of a model as torch.export sees it, for any number of pictures.

    Args:
        kind: float32, float16, bfloat16 or int8: how weights stand.

    Raises:
        UsageError: torch cannot trace the network.
    """
    graph = Graph(model, features).eval()
    module = graph if kind == "float32" else Compact(graph, kind).eval()
    height, width = model.preprocessing.crop
    pixels = torch.zeros(2, height, width, 3, dtype=torch.uint8, device=model.device)
    with torch.no_grad(), quiet():
        shapes = ({0: Dim("n", min=1, max=MOST_PICTURES)},)
        return explained("torch.export", lambda: torch.export.export(module, (pixels,), dynamic_shapes=shapes))


def explained(what: str, work: Callable[[], Any]) -> Any:
    """The result of `work`; whatever another library raises becomes one sentence."""
    try:
        return work()
    except (MemoryError, KeyboardInterrupt):
        raise
    except Exception as error:
        reason = next((line for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
        raise UsageError(f"{what} cannot take this network ({reason.strip()}): choose another format.") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps to themselves what libraries say of their own future."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _colours(model: Model) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return model.preprocessing.mean, model.preprocessing.std


def _packed(name: str, value: Tensor, kind: str) -> tuple[Tensor, Tensor | None]:
    if not value.is_floating_point() or value.ndim < 2 or value.numel() < LEAST_WEIGHTS:
        return value, None
    if kind in HALVES:
        return value.to(HALVES[kind]), None
    if not name.endswith(".weight"):
        return value, None
    largest = value.abs().amax(dim=tuple(range(1, value.ndim)), keepdim=True)
    factors = torch.where(largest > 0, largest / 127, torch.ones_like(largest))
    return (value / factors).round().to(torch.int8), factors
