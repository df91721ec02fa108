"""Weights in a safetensors file: eight bytes of length, a header in JSON, then the numbers.

The header is believed only after every claim in it was held against the file: known types, shapes that make the
sizes, and offsets that cover the numbers without gap or overlap. Then each tensor is read into memory of its own.

No part of the file stays mapped, though that would spare the copy, which is most of the time of a load. Written to
in place, a mapped file changes the model that was made of it; cut off, it ends the process (SIGBUS), with a private
mapping too, of which the kernel takes away even the pages that were copied. A server should survive both.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vitral.errors import DataError
from vitral.weights.checksum import require_checksum
from vitral.weights.stored.memory import fresh, no_truth_values, size_of, unlikely

DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
"""By the format's words for them."""

LONGEST_HEADER = 10_000_000
"""Bytes. The format allows ten times as many, which as Python's objects would take gigabytes; thousands of tensors
need one million."""

SLICE = 1 << 20
"""Bytes read at a time, which is a little faster than all at once."""

METADATA = "__metadata__"
"""The one name in a header that is no tensor's."""


@dataclass(frozen=True)
class Place:
    """Where a tensor's bytes begin in the file, and what they are."""

    start: int
    shape: tuple[int, ...]
    dtype: torch.dtype


class SafetensorsFile:
    """An opened safetensors file; see `vitral.weights.stored.Stored`. Names are in the order of their numbers."""

    notes: tuple[str, ...] = ()

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb", buffering=0) as file:
                self._state = _state(file.fileno())
                size = self._state[0]
                length = int.from_bytes(file.read(8), "little")
                if size < 8 or length > size - 8:
                    raise ValueError(f"it has {size} bytes and claims a header of {length}")
                if length > LONGEST_HEADER:
                    raise ValueError(f"its header has {length} bytes, more than {LONGEST_HEADER}")
                self._places = _places(_entries(file.read(length)), 8 + length, size)
        except (OSError, ValueError, RecursionError) as error:
            raise self._damaged(error) from error
        self.shapes = {name: place.shape for name, place in self._places.items()}

    def tensor(self, name: str) -> Tensor:
        """The numbers of one tensor, in memory of their own: aligned, and no tie to a file that may change."""
        place = self._places[name]
        tensor, view = fresh(place.shape, place.dtype)
        try:
            self._fill(place.start, view)
            _require_truth_values(name, tensor)
        except (OSError, ValueError) as error:
            raise self._damaged(error) from error
        return tensor

    def compared(self, expected: str) -> GivenOnce:
        """All tensors, read while the file is compared with its checksum: what is compared is what is used.

        Raises:
            DataError: the checksum is another.
        """
        made = {name: fresh(place.shape, place.dtype) for name, place in self._places.items()}
        require_checksum(self.path, expected, [(self._places[name].start, view) for name, (_, view) in made.items()])
        try:
            with self.path.open("rb", buffering=0) as file:
                self._require_unchanged(file)  # or its header is not the one that was believed
            for name, (tensor, _) in made.items():
                _require_truth_values(name, tensor)
        except (OSError, ValueError) as error:
            raise self._damaged(error) from error
        return GivenOnce(self.path, {name: tensor for name, (tensor, _) in made.items()})

    def _fill(self, start: int, view: memoryview) -> None:
        """Read the file's bytes from `start` on into `view`."""
        with self.path.open("rb", buffering=0) as file:
            self._require_unchanged(file)
            file.seek(start)
            done = 0
            while done < len(view):
                count = file.readinto(view[done : done + SLICE])
                if not count:
                    raise ValueError("it ends too early")
                done += count

    def _require_unchanged(self, file: FileIO) -> None:
        if _state(file.fileno()) != self._state:
            raise ValueError("it changed while it was read")

    def _damaged(self, error: Exception) -> DataError:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
        return DataError(
            f"{self.path} cannot be read as safetensors ({reason}): it is damaged, or of another kind; copy or "
            f"download it again."
        )


class GivenOnce:
    """Tensors that were read already, each to be asked for once; see `vitral.weights.stored.Stored`."""

    notes: tuple[str, ...] = ()

    def __init__(self, path: Path, tensors: dict[str, Tensor]) -> None:
        self.path = path
        self.shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        self._tensors = tensors

    def tensor(self, name: str) -> Tensor:
        """The numbers of one tensor, which are not kept here any longer."""
        return self._tensors.pop(name)


def _require_truth_values(name: str, tensor: Tensor) -> None:
    if no_truth_values(tensor):
        raise ValueError(f"{name} is of truth values and has others")


def _state(descriptor: int) -> tuple[int, ...]:
    """What changes when a file does: size first."""
    found = os.fstat(descriptor)
    return found.st_size, found.st_mtime_ns, found.st_ino, found.st_dev


def _entries(header: bytes) -> dict[str, Any]:
    if header[:1] != b"{":
        raise ValueError("it does not begin with a header")
    found = json.loads(header.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_number)
    assert isinstance(found, dict), "what begins with a brace is an object"
    metadata = found.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError(f"{METADATA} is not words by name")
    return found


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("its header has a name twice")
    return found


def _no_number(word: str) -> None:
    raise ValueError(f"its header says {word}")


def _places(entries: dict[str, Any], start: int, size: int) -> dict[str, Place]:
    """Where each tensor stands, in the order of the file, all claims checked."""
    ends: dict[str, int] = {}
    places: dict[str, Place] = {}
    for name, entry in entries.items():
        if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
            raise ValueError(f"{name!r:.80} has not just dtype, shape and data_offsets")
        shape, offsets = entry["shape"], entry["data_offsets"]
        if not isinstance(entry["dtype"], str) or entry["dtype"] not in DTYPES:
            raise ValueError(f"{name!r:.80} is of type {entry['dtype']!r:.20}, and only {', '.join(DTYPES)} are read")
        if not (_are_counts(shape) and _are_counts(offsets) and len(offsets) == 2) or unlikely(shape):
            raise ValueError(f"{name!r:.80} has shape {shape!r:.100} at {offsets!r:.100}")
        dtype = DTYPES[entry["dtype"]]
        if offsets[1] - offsets[0] != size_of(shape, dtype):
            raise ValueError(f"{name!r:.80} has shape {shape!r:.100}, which is not {offsets[1] - offsets[0]} bytes")
        places[name] = Place(start + offsets[0], tuple(shape), dtype)
        ends[name] = start + offsets[1]
    reached = start
    ordered = sorted(places, key=lambda name: (places[name].start, ends[name]))
    for name in ordered:
        if places[name].start != reached:
            raise ValueError(f"{name!r:.80} does not begin where the tensor before it ends")
        reached = ends[name]
    if reached != size:
        raise ValueError(f"its tensors end at byte {reached} of {size}")
    return {name: places[name] for name in ordered}


def _are_counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(number) is int and number >= 0 for number in value)
