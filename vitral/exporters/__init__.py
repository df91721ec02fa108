"""A model out of vitral, as one graph that other programs run: one file per format, one line in `EXPORTERS`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from vitral.backends import Backend, open_backend
from vitral.exporters import onnx, openvino, torch_export
from vitral.exporters.options import Options
from vitral.serving.predictor import Model


class Exporter(NamedTuple):
    """A format: how it is written, how it is opened again, and the kinds of precision that it can have."""

    write: Callable[[Model, Path, Options], Path]
    open: Callable[[Path], Backend]
    kinds: tuple[str, ...]


EXPORTERS = {
    "onnx": Exporter(
        onnx.write,
        lambda file: open_backend("onnxruntime", file),
        ("float32", "float16", "bfloat16", "int8-weights", "int8-dynamic"),
    ),
    "openvino": Exporter(
        openvino.write,
        lambda file: open_backend("openvino", file),
        ("float32", "float16", "bfloat16", "int8-weights", "int8-static"),
    ),
    "torch-export": Exporter(
        torch_export.write, torch_export.Program, ("float32", "float16", "bfloat16", "int8-weights")
    ),
}
"""Every format by the word for it."""
