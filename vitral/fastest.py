"""The engine that classifies fastest on this machine, among those that agree with the torch network.

A graph is exported once and kept in the cache folder, under a name made of the weights themselves. What `vitral export
--int8 auto` chose goes first where it stands in the model's own folder, under the name int8: whoever put it there has
seen what it loses.
"""

from __future__ import annotations

import hashlib
import json
import statistics
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from vitral.backends import AUTO, BACKENDS, TORCH, Backend, open_backend
from vitral.errors import UnavailableError, UsageError, VitralError
from vitral.exporters import onnx
from vitral.exporters.identity import identity, parts_of
from vitral.exporters.options import Options
from vitral.exporters.parity import compare, require, synthetic
from vitral.serving.exported import MARK, GraphNetwork, is_export, open_export
from vitral.serving.predictor import BATCH_SIZE, Model
from vitral.version import VERSION
from vitral.weights.aside import written_aside
from vitral.weights.json_files import read_object
from vitral.weights.sources.cache import cache_folder

WORTH_IT = 200
"""Pictures below which "auto" takes torch without trying: starting an engine takes as long as they do."""

ROUNDS = 3
"""Timed batches per engine, one after the other in turn."""

AHEAD = 1.05
"""How much faster than torch an engine must be to take its place."""

KEPT = 16
"""Graphs in the cache, the last used ones."""

INT8 = "int8"
"""The folder within a model's, or a run's, in which "auto" looks for an export that its owner chose."""


def with_backend(
    model: Model, name: str, count: int | None = None, path: str | Path | None = None, features: bool = False
) -> tuple[Model, str]:
    """The model with the engine of that name, or the fastest, and a sentence that says which and why.

    Args:
        name: "torch", a key of `BACKENDS`, or "auto".
        count: pictures to come, where that is known; "auto" tries nothing for a few.
        path: where the model was loaded from, in which "auto" looks for `INT8`.
        features: representations will be asked for.

    Raises:
        UsageError: no such engine, or none can take this model. UnavailableError: it is not installed.
        DataError: it does not agree. StorageError: the graph cannot be kept.
    """
    if isinstance(model.network, GraphNetwork):
        return _as_exported(model, name, path)
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
    chosen, said = _chosen(model, path, features)
    if chosen is not None:
        return chosen, said
    found, sentence = _fastest(model)
    return found, f"{sentence}; {said}" if said else sentence


def _as_exported(model: Model, name: str, path: str | Path | None) -> tuple[Model, str]:
    """An export, by the engine that it is for.

    Raises:
        UsageError: it is asked of another.
    """
    if name not in (AUTO, model.backend_name):
        raise UsageError(f"an export has its engine already, {model.backend_name}: leave --backend out.")
    return model, f"{model.backend_name} answers{'' if path is None else _lost(Path(path))}"


def _chosen(model: Model, path: str | Path | None, features: bool) -> tuple[Model | None, str]:
    """The model by the export in its own folder, or why it is left out; nothing is said where there is none."""
    places = [] if path is None else [Path(path) / INT8, Path(path) / "model" / INT8]
    place = next((place for place in places if is_export(place)), None)
    if place is None:
        return None, ""
    try:
        if read_object(place / MARK, "export the model again").get("model") != identity(model):
            return None, f"{place} was made of other weights, classes or temperature, so it is left out: export again"
        backend = open_export(place, torch.get_num_threads()).backend
    except VitralError as error:
        return None, f"{place} is left out: {error}"
    if features and "features" not in backend.names:
        return None, f"{place} gives no features, so it is left out: export it again with --features"
    return model.with_backend(backend), f"{backend.name} answers, from {place}{_lost(place)}"


def _lost(place: Path) -> str:
    """What an export has lost, as was measured when it was chosen."""
    record = read_object(place / MARK, "export the model again")
    kind, comparison = record.get("precision"), record.get("comparison")
    try:
        name = f"{record['format']} {kind}"
        row = next(row for row in comparison["table"] if row["name"] == name)  # type: ignore[index]
        return (
            f" in {kind}: it lost {float(row['drop']):.2f} points of top-1 on {int(comparison['pictures']):,} pictures "  # type: ignore[index]
            f"when it was chosen (at most {float(row['at_most']):.2f} by the 95% interval)"
        )
    except (KeyError, TypeError, ValueError, StopIteration):
        return f" in {kind}" if isinstance(kind, str) and kind.isascii() and len(kind) < 20 else ""


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
    parts = {"vitral": VERSION, "torch": torch.__version__, **parts_of(model)}
    if model.precision != "float32":  # other answers than the network's
        black = np.zeros((1, *_crop(model), 3), dtype=np.uint8)
        parts["graph"] = [model.precision, hashlib.sha256(model.logits(black).numpy().tobytes()).hexdigest()]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
