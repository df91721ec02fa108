"""OpenVINO: runs its own .xml and .bin, or an .onnx file, on the processor.

OpenVINO and NNCF would report each import and each call to Google Analytics through the package openvino-telemetry.
They go without where that package is not there, so it is hidden from them before the first import.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from vitral.errors import DataError, UnavailableError

TELEMETRY = "openvino_telemetry"
"""The package through which OpenVINO and NNCF report."""


class OpenVino:
    """An opened graph, compiled for this processor."""

    name = "openvino"

    def __init__(self, compiled: Any, metadata: dict[str, str]) -> None:
        self._compiled = compiled
        self._requests = threading.local()  # a request serves one thread at a time
        self.names = [output.get_any_name() for output in compiled.outputs]
        self.metadata = metadata

    def outputs(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """Every output by its name, of pixels [n, height, width, 3] uint8."""
        if not hasattr(self._requests, "own"):
            self._requests.own = self._compiled.create_infer_request()
        found = self._requests.own.infer([np.ascontiguousarray(pixels)], share_inputs=True)
        return {name: np.array(found[i]) for i, name in enumerate(self.names)}


def imported() -> ModuleType:
    """OpenVINO, which reports nothing to anybody.

    Raises:
        UnavailableError: it is not installed.
    """
    if TELEMETRY not in sys.modules:
        sys.modules[TELEMETRY] = None  # type: ignore[assignment]  # Python's own way to say: not there
    try:
        import openvino
    except ImportError:
        raise UnavailableError("OpenVINO is not installed: pip install 'vitral[openvino]'.") from None
    module: ModuleType = openvino
    return module


def open_graph(file: Path, threads: int | None = None) -> OpenVino:
    """Open an .xml or .onnx file.

    Raises:
        UnavailableError: OpenVINO is not installed. DataError: it cannot read the file.
    """
    openvino = imported()
    # Where it could, OpenVINO would compute in bfloat16 of its own accord.
    # And it would round what weights of int8 are multiplied with to int8, too, which nobody asked for.
    settings: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
    }  # fmt: skip
    if threads:
        settings["INFERENCE_NUM_THREADS"] = threads
    try:
        graph = openvino.Core().read_model(str(file))
        return OpenVino(openvino.compile_model(graph, "CPU", settings), _metadata(graph))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise DataError(f"OpenVINO cannot open {file} ({reason}): export the model again.") from error


def _metadata(graph: Any) -> dict[str, str]:
    """What the exporter wrote: into rt_info of a graph of OpenVINO's, into metadata_props of an ONNX file."""
    for place in (["vitral"], ["framework"]):
        if graph.has_rt_info(place):
            found = graph.get_rt_info(place).astype(dict)
            return {name: value.astype(str) for name, value in found.items()}
    return {}
