"""OpenVINO's own format: the fastest on Intel's and AMD's processors, and the one with measured int8."""

from __future__ import annotations

import contextlib
import logging
import sys
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from vitral.backends.openvino import imported
from vitral.errors import UnavailableError, UsageError
from vitral.exporters import onnx
from vitral.exporters.graph import explained, quiet
from vitral.exporters.metadata import metadata
from vitral.exporters.options import Options
from vitral.models import family_of
from vitral.serving.predictor import Model

FILE = "model.xml"

CONVOLUTIONAL = ("resnet", "efficientnet", "bit")
"""Families without attention; all others are quantised as transformers, with finer ranges where they need them."""


def write(model: Model, folder: Path, options: Options) -> Path:
    """Write model.xml and model.bin into a folder.

    Raises:
        UnavailableError: OpenVINO, NNCF or onnx is not installed. UsageError: the network cannot be traced, or there
            are no pictures to measure ranges on.
    """
    openvino = imported()
    with tempfile.TemporaryDirectory(prefix="vitral-") as temporary:
        stored = "float32" if options.kind == "int8-static" else options.kind
        plain = stored == "float32" and options.plain
        plain = plain or onnx.write(model, Path(temporary), Options(stored, options.features))
        graph = openvino.Core().read_model(str(plain))
        if options.kind == "int8-static":
            graph = _static(graph, options.calibration, family_of(model.network.config) not in CONVOLUTIONAL)
        for name, words in metadata(model, options.kind).items():
            graph.set_rt_info(words, ["vitral", name])
        openvino.save_model(graph, str(folder / FILE), compress_to_fp16=False)
    return folder / FILE


def _static(graph: Any, pixels: np.ndarray | None, transformer: bool) -> Any:
    if pixels is None or not len(pixels):
        raise UsageError("int8 with measured ranges needs pictures to measure them on: name some with --pictures.")
    try:
        with quiet(), _aside():
            nncf = import_module("nncf")
    except ImportError:
        raise UnavailableError("int8 by OpenVINO needs NNCF: pip install 'vitral[openvino]'.") from None
    logging.getLogger("nncf").setLevel(logging.ERROR)
    dataset = nncf.Dataset([picture[None] for picture in pixels])
    with quiet(), _aside():
        return explained(
            "NNCF",
            lambda: nncf.quantize(
                graph,
                dataset,
                preset=nncf.QuantizationPreset.MIXED,
                subset_size=len(pixels),
                model_type=nncf.ModelType.TRANSFORMER if transformer else None,
            ),
        )


@contextlib.contextmanager
def _aside() -> Iterator[None]:
    """Keeps standard output for ours: NNCF draws its progress there."""
    with contextlib.redirect_stdout(sys.stderr):
        yield
