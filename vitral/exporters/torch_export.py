"""torch.export: the graph in PyTorch's own format, opened with `torch.export.load`, without any code of vitral's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from vitral.exporters.graph import quiet, traced
from vitral.exporters.metadata import metadata
from vitral.exporters.options import Options
from vitral.serving.predictor import Model

FILE = "model.pt2"

EXTRA = "vitral.json"
"""Name under which the metadata stand in `extra_files`."""


def write(model: Model, folder: Path, options: Options) -> Path:
    """Write model.pt2 into a folder.

    Raises:
        UsageError: the network cannot be traced.
    """
    program = traced(model, options.stored, options.features)
    with quiet():
        torch.export.save(
            program, folder / FILE, extra_files={EXTRA: json.dumps(metadata(model, options.kind), ensure_ascii=False)}
        )
    return folder / FILE


class Program:
    """What `write` has just written, opened again to be compared. Files of other people's are not for this: torch's
    own format can hold pickles."""

    name = "torch.export"

    def __init__(self, file: Path) -> None:
        extra = {EXTRA: ""}
        with quiet():
            program = torch.export.load(file, extra_files=extra)
            self._module = program.module()
        self.names: list[str] = list(program.call_spec.out_spec.context)
        self.metadata: dict[str, str] = json.loads(extra[EXTRA])

    @torch.no_grad()
    def outputs(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """Every output by its name, of pixels [n, height, width, 3] uint8."""
        with quiet():
            found = self._module(torch.from_numpy(np.ascontiguousarray(pixels)))
        return {name: value.numpy() for name, value in found.items()}
