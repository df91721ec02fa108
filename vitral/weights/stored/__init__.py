"""Files of weights, opened: names and shapes first, numbers only when they are asked for.

A file is recognised by its content, not by its ending. Nothing is ever unpickled in this process.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from torch import Tensor

from vitral.weights.stored.safetensors import SafetensorsFile

Shape = tuple[int, ...]


class Stored(Protocol):
    """An opened file of weights."""

    @property
    def path(self) -> Path:
        """Where it is."""

    @property
    def kind(self) -> str:
        """Its format: "safetensors", "npz"."""

    @property
    def shapes(self) -> Mapping[str, Shape]:
        """Shape of every tensor by name, in the order of the file."""

    def tensor(self, name: str) -> Tensor:
        """The numbers, in the type in which they are stored, in memory of their own.

        Raises:
            DataError: they cannot be read.
        """


def open_stored(path: Path) -> Stored:
    """Open a file of weights.

    Raises:
        DataError: it is of no known format, damaged, or its header claims what the file cannot hold.
    """
    return SafetensorsFile(path)
