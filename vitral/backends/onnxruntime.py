"""ONNX Runtime: runs an .onnx file on the processor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from vitral.errors import DataError, UnavailableError


class OnnxRuntime:
    """An opened .onnx file."""

    name = "onnxruntime"

    def __init__(self, session: Any) -> None:
        self._session = session
        self.names = [output.name for output in session.get_outputs()]
        (self._input,) = (given.name for given in session.get_inputs())
        self.metadata: dict[str, str] = dict(session.get_modelmeta().custom_metadata_map)

    def outputs(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """Every output by its name, of pixels [n, height, width, 3] uint8."""
        found = self._session.run(self.names, {self._input: np.ascontiguousarray(pixels)})
        return dict(zip(self.names, found, strict=True))


def open_graph(file: Path, threads: int | None = None) -> OnnxRuntime:
    """Open an .onnx file.

    Raises:
        UnavailableError: ONNX Runtime is not installed. DataError: it cannot read the file.
    """
    try:
        import onnxruntime
    except ImportError:
        raise UnavailableError(
            "running an ONNX graph needs ONNX Runtime, which is not installed: pip install 'vitral[onnx]'."
        ) from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; what is worse than it could be is no business of the user's
    options.intra_op_num_threads = threads or 0
    try:
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        return OnnxRuntime(session)
    except Exception as error:  # its exceptions have no common base
        reason = str(error).splitlines()[0]
        raise DataError(f"ONNX Runtime cannot open {file} ({reason}): export the model again.") from error
