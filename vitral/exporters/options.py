"""What an export can be asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

STORED = {"float32": "float32", "float16": "float16", "bfloat16": "bfloat16", "int8-weights": "int8"}
"""Kinds in which only the weights are in fewer bits, and how they stand."""

KINDS = (*STORED, "int8-dynamic", "int8-static")
"""Of precision. int8-dynamic and int8-static multiply in int8 too: the one finds the range of what comes while it
runs, the other has it measured ahead on pictures."""


@dataclass(frozen=True)
class Options:
    """How a model is exported.

    Attributes:
        kind: one of `KINDS`.
        features: give what the head sees, too.
        calibration: pixels [n, height, width, 3] uint8 on which int8-static measures ranges.
        plain: the model's ONNX graph in float32 with the same outputs, where it has been written before.
    """

    kind: str = "float32"
    features: bool = False
    calibration: np.ndarray | None = field(default=None, repr=False)
    plain: Path | None = None

    @property
    def stored(self) -> str:
        """How the weights stand in the traced graph."""
        return STORED.get(self.kind, "float32")
