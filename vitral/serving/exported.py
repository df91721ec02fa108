"""An exported folder in use: everything but the network, in whose place an engine runs the graph.

What is believed is what stands inside the graph's own file, and it is checked as a stranger's.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vitral.backends import Backend, open_backend
from vitral.config import Preprocessing
from vitral.data.preprocessing import from_json
from vitral.errors import DataError, UsageError
from vitral.models import Network
from vitral.weights.json_files import read_object

MARK = "export.json"
"""The file by which a folder is known as an export of vitral's."""

ENGINES = {"onnx": "onnxruntime", "openvino": "openvino"}
"""The engine that runs each format."""

LONGEST = 300.0
"""Seconds in which a graph must have been opened and have answered one picture: a stranger's may never end."""

FILES = {"onnx": "model.onnx", "openvino": "model.xml"}


@dataclass(frozen=True)
class GraphShape:
    """What is known of a network that is a graph."""

    image_size: tuple[int, int]
    num_classes: int


class GraphNetwork(Network):
    """Stands where a network would; the engine has its weights."""

    def __init__(self, config: GraphShape) -> None:
        super().__init__()
        self.config = config
        self.nothing = nn.Parameter(torch.zeros(0), requires_grad=False)

    def encode(self, images: Tensor) -> Tensor:  # noqa: ARG002
        raise UsageError("an exported graph only answers: take the model folder that it was exported from.")

    def pooled(self, encoded: Tensor) -> Tensor:
        return self.encode(encoded)

    @property
    def num_layers(self) -> int:
        return 0

    def layer_index(self, name: str) -> int:  # noqa: ARG002
        return 0


@dataclass(frozen=True)
class Exported:
    """All that a `Model` is made of."""

    network: GraphNetwork
    backend: Backend
    preprocessing: Preprocessing
    classes: list[str]
    descriptions: dict[str, str]
    multi_label: bool
    metrics: dict[str, Any]


def is_export(path: str | Path) -> bool:
    """Whether a folder is an export."""
    return (Path(path) / MARK).is_file()


def open_export(folder: Path, threads: int | None = None) -> Exported:
    """Open an export.

    Raises:
        DataError: it is damaged, or says of itself what does not fit. UsageError: a format that no engine here runs.
        UnavailableError: the engine is not installed.
    """
    form = str(read_object(folder / MARK, "export the model again").get("format"))
    if form not in ENGINES:
        raise UsageError(
            f"{folder} holds {form}, which other programs open: here {' and '.join(ENGINES)} run; export it as one."
        )
    if not (folder / FILES[form]).is_file():
        raise DataError(f"{folder / FILES[form]} is missing: export the model again.")
    return _within(LONGEST, lambda: _opened(folder, open_backend(ENGINES[form], folder / FILES[form], threads)), folder)


def _within(seconds: float, work: Callable[[], Exported], folder: Path) -> Exported:
    """What `work` gives, or its error, if that comes in time; engines let Python go on while they compute.

    Raises:
        DataError: it does not. The thread goes on, and ends with the process.
    """
    done: Future[Exported] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=run, name="open-export", daemon=True).start()
    if not wait([done], seconds).done:
        raise DataError(f"{folder} has not answered one picture within {seconds:g} s: export the model again.")
    return done.result()


def _opened(folder: Path, backend: Backend) -> Exported:
    """What the graph's own file says, checked against one answer."""
    try:
        said = {name: json.loads(backend.metadata[name]) for name in ("classes", "descriptions", "multi_label")}
        preprocessing = from_json(json.loads(backend.metadata["preprocessing"]))
        temperature = float(backend.metadata["temperature"])
        names, descriptions = said["classes"], said["descriptions"]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("its classes must be a list of names")
        if len(set(names)) != len(names):
            raise ValueError("two of its classes have the same name")
        if type(said["multi_label"]) is not bool or not isinstance(descriptions, dict):
            raise ValueError("multi_label or descriptions are of another kind")
        if not all(isinstance(words, str) for words in descriptions.values()):
            raise ValueError("its descriptions must be words")
        black = np.zeros((1, *preprocessing.crop, 3), dtype=np.uint8)
        scores = backend.outputs(black)["logits"]
        if scores.shape != (1, len(names)):
            raise ValueError(f"it gives {scores.shape[-1]} scores for {len(names)} class names")
    except Exception as error:  # engines raise whatever they like where a graph wants other pixels
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(f"{folder} is not as it was exported ({reason}): export the model again.") from error
    return Exported(
        GraphNetwork(GraphShape(preprocessing.crop, len(names))),
        backend,
        preprocessing,
        names,
        descriptions,
        said["multi_label"],
        {"calibration": {"temperature": temperature}},
    )
