"""Weights in a safetensors file."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from vitral.errors import DataError


class SafetensorsFile:
    """An opened safetensors file; see `vitral.weights.stored.Stored`."""

    kind = "safetensors"
    notes: tuple[str, ...] = ()

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with safe_open(path, framework="pt", device="cpu") as opened:
                self.shapes = {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, ValueError) as error:
            raise self._damaged(error) from error

    def tensor(self, name: str) -> Tensor:
        """The numbers of one tensor, in memory of their own: aligned, and no tie to a file that may change."""
        try:
            with safe_open(self.path, framework="pt", device="cpu") as opened:
                found: Tensor = opened.get_tensor(name).clone()
                return found
        except (SafetensorError, OSError, ValueError) as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> DataError:
        return DataError(f"{self.path} cannot be read as safetensors ({error}): copy or download it again.")
