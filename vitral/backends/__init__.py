"""Engines that run an exported graph in the place of the torch network: one file each, one line in `BACKENDS`.

A graph takes pixels and normalises them itself, so every engine sees the same bytes as the torch network does. Its
scores agree with the network's to rounding; only the torch network promises a picture the same bits in any batch.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from vitral.backends import onnxruntime, openvino
from vitral.registry import look_up

TORCH = "torch"
"""The name of no engine: the network itself."""

AUTO = "auto"
"""Whichever is fastest, see `vitral.fastest`."""


class Answers(NamedTuple):
    """What a graph says of n pictures: logits [n, classes] float32, and features [n, width] float32 where the graph
    gives them."""

    logits: np.ndarray
    features: np.ndarray | None


class Backend(Protocol):
    """An opened graph. `run` may be called from several threads at once."""

    @property
    def name(self) -> str:
        """A key of `BACKENDS`."""

    @property
    def metadata(self) -> dict[str, str]:
        """What the exporter wrote into the file, see `vitral.exporters.metadata`."""

    @property
    def names(self) -> list[str]:
        """Of its outputs: "logits", "probabilities", perhaps "features"."""

    def outputs(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """Every output of the graph by its name, of pixels [n, height, width, 3] uint8."""


Open = Callable[[Path, int | None], Backend]
"""(file, threads; `None` lets the engine choose) -> the opened graph."""

BACKENDS: dict[str, Open] = {"openvino": openvino.open_graph, "onnxruntime": onnxruntime.open_graph}
"""Every engine by the name of its package."""


def open_backend(name: str, file: Path, threads: int | None = None) -> Backend:
    """Open a graph.

    Raises:
        UsageError: no engine of that name. UnavailableError: it is not installed. DataError: it cannot read the file.
    """
    return look_up("backend", name, BACKENDS)(file, threads)


def answers(backend: Backend, pixels: np.ndarray) -> Answers:
    """Logits, and features if there are any, of pixels [n, height, width, 3] uint8."""
    found = backend.outputs(pixels)
    return Answers(found["logits"], found.get("features"))
