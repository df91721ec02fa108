"""The engine that classifies fastest on this machine, among those that agree with the torch network.

A graph is exported once and kept in the cache folder, under a name made of the weights themselves.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import statistics
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from vitral.backends import BACKENDS, TORCH, Backend, open_backend
from vitral.data.preprocessing import to_json
from vitral.errors import UnavailableError, UsageError, VitralError
from vitral.exporters import onnx
from vitral.exporters.options import Options
from vitral.exporters.parity import compare, require, synthetic
from vitral.models import family_of
from vitral.models.digest import weights_digest
from vitral.serving.exported import GraphNetwork
from vitral.serving.predictor import BATCH_SIZE, Model
from vitral.version import VERSION
from vitral.weights.aside import written_aside
from vitral.weights.sources.cache import cache_folder

AUTO = "auto"

WORTH_IT = 200
"""Pictures below which "auto" takes torch without trying: starting an engine takes as long as they do."""

ROUNDS = 3
"""Timed batches per engine, one after the other in turn."""

AHEAD = 1.05
"""How much faster than torch an engine must be to take its place."""

KEPT = 16
"""Graphs in the cache, the last used ones."""


def with_backend(model: Model, name: str, count: int | None = None) -> tuple[Model, str]:
    """The model with the engine of that name, or the fastest, and a sentence that says which and why.

    Args:
        name: "torch", a key of `BACKENDS`, or "auto".
        count: pictures to come, where that is known; "auto" tries nothing for a few.

    Raises:
        UsageError: no such engine, or none can take this model. UnavailableError: it is not installed.
        DataError: it does not agree. StorageError: the graph cannot be kept.
    """
    if isinstance(model.network, GraphNetwork):
        raise UsageError("an export has its engine already: leave --backend out.")
    if name == TORCH:
        return model.with_backend(None), "torch answers"
    if model.device.type != "cpu":
        if name == AUTO:
            return model, f"torch answers: on {model.device} there is no other engine here"
        raise UsageError(f"{name} runs on the processor here: leave --device {model.device} out, or --backend.")
    if name != AUTO:
        return model.with_backend(_checked(model, name)), f"{name} answers; it agrees with torch to 1e-5"
    if count is not None and count < WORTH_IT:
        return model, f"torch answers: {count} pictures are too few to start another engine for"
    return _fastest(model)


def _fastest(model: Model) -> tuple[Model, str]:
    tried, out = {TORCH: model.with_backend(None)}, []
    for name in BACKENDS:
        if find_spec(name) is None:
            out.append(f"{name} is not installed")
            continue
        try:
            tried[name] = model.with_backend(_checked(model, name))
        except VitralError as error:
            out.append(f"{name}: {error}")
    speeds = _speeds(tried)
    best = max(speeds, key=lambda name: speeds[name])
    if speeds[best] < AHEAD * speeds[TORCH]:
        best = TORCH
    said = ", ".join(f"{name} {speed:,.1f}" for name, speed in speeds.items())
    reasons = "".join(f"; {reason}" for reason in out)
    return tried[best], f"{best} answers, the fastest of those that agree to 1e-5 (pictures a second: {said}){reasons}"


def _speeds(models: dict[str, Model]) -> dict[str, float]:
    """Pictures a second of each, the median of rounds in which all take their turn."""
    pixels = np.resize(
        synthetic(_crop(next(iter(models.values())))), (BATCH_SIZE, *_crop(next(iter(models.values()))), 3)
    )
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for i in range(ROUNDS + 1):
        for name, model in models.items():
            started = time.perf_counter()
            model.logits(pixels)
            if i:  # the first is still being set up
                seconds[name].append(time.perf_counter() - started)
    return {name: len(pixels) / statistics.median(found) for name, found in seconds.items()}


def _crop(model: Model) -> tuple[int, int]:
    return model.preprocessing.crop


def _checked(model: Model, name: str) -> Backend:
    """An engine with the model's graph, once it agrees.

    Raises:
        DataError: it does not.
    """
    for needed in ("onnx", "onnxscript", name):
        if find_spec(needed) is None:
            extra = "openvino" if name == "openvino" else "onnx"
            raise UnavailableError(f"{name} needs {needed}, which is not installed: pip install 'vitral[{extra}]'.")
    backend = open_backend(name, graph_of(model), torch.get_num_threads())
    require(compare(model, backend, synthetic(_crop(model), 4), "float32"), f"the graph in {name}")
    return backend


def graph_of(model: Model) -> Path:
    """The model's ONNX graph with features, from the cache, or made now.

    Raises:
        UsageError: the network cannot be traced. UnavailableError: onnx is not installed. StorageError: no room.
    """
    graphs = cache_folder().parent / "graphs"
    folder = graphs / fingerprint(model)
    if (folder / onnx.FILE).is_file():
        folder.touch()
        return folder / onnx.FILE
    with written_aside(folder) as aside:
        onnx.write(model, aside, Options("float32", features=True))
    _forget_old(graphs)
    return folder / onnx.FILE


def _forget_old(graphs: Path) -> None:
    import shutil

    kept = sorted((path for path in graphs.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime)
    for path in kept[:-KEPT]:
        shutil.rmtree(path, ignore_errors=True)


def fingerprint(model: Model) -> str:
    """64 hexadecimal digits of all that decides a model's answers: SHA-256."""
    if isinstance(model.network, GraphNetwork):
        assert model.backend is not None, "a graph has an engine"
        said = json.dumps(model.backend.metadata, sort_keys=True)
        black = np.zeros((1, *_crop(model), 3), dtype=np.uint8)
        return hashlib.sha256(said.encode() + model.logits(black).numpy().tobytes()).hexdigest()
    config = model.network.config
    parts = {
        "vitral": VERSION,
        "torch": torch.__version__,
        "family": family_of(config),
        "config": dataclasses.asdict(config),
        "preprocessing": to_json(model.preprocessing),
        "classes": model.classes,
        "multi_label": model.multi_label,
        "temperature": model.temperature,
        "weights": weights_digest(model.network),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
