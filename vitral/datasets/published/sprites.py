"""dSprites: dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz (https://github.com/deepmind/dsprites-dataset).

Only its plain arrays are read, `imgs` in a stream and a bit for each pixel: whole they are 3 GB. Its `metadata` is a
pickle and is never opened.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from vitral.datasets.collection import first_there
from vitral.datasets.published.located import Located
from vitral.datasets.records import Example, Records
from vitral.datasets.stored import Stored
from vitral.errors import DataError, MissingInputError

FILE = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
LATENTS = ("color", "shape", "scale", "orientation", "x_position", "y_position")
CHUNK = 4096
"""Pictures read at once."""


@dataclass(frozen=True)
class Sprite(Stored):
    """A picture of zeros and ones, kept as bits."""

    bits: np.ndarray = field(repr=False)
    side: int
    place: str

    def __str__(self) -> str:
        return self.place

    def read(self) -> np.ndarray:
        """Pixels [side, side], 0 or 1."""
        return np.unpackbits(self.bits, count=self.side**2).reshape(self.side, self.side)


def dsprites(folder: Path) -> Located | None:
    """The set, if its file is there."""
    path = first_there(folder, (FILE,))
    if path is None:
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            with archive.open("latents_classes.npy") as file:
                count, width = _header(file, path, 2)[0]
                latents = _values(file, (count, width), np.dtype(np.int64), path)
            with archive.open("imgs.npy") as file:
                shape, kind = _header(file, path, 3)
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError) as error:
        raise DataError(f"{str(path)!r} is damaged ({error}): fetch it again.") from None
    except OSError as error:
        raise MissingInputError(f"cannot read {str(path)!r}: {error.strerror or error}.") from None
    if kind != np.uint8 or shape[0] != count or width != len(LATENTS) or shape[1] != shape[2]:
        raise DataError(f"{str(path)!r} holds pictures {shape} {kind} and classes {(count, width)}, which do not fit.")

    def read(positions: Sequence[int]) -> list[Example]:
        bits = _bits(path, set(positions))
        return [
            Example(
                Sprite(bits[i], shape[1], f"{path}: {i}"),
                {f"label_{name}": int(value) for name, value in zip(LATENTS, latents[i], strict=True)},
            )
            for i in positions
        ]

    return Located(str(path), {"train": Records(count, read, range(count))})


def _bits(path: Path, wanted: set[int]) -> dict[int, np.ndarray]:
    found: dict[int, np.ndarray] = {}
    try:
        with zipfile.ZipFile(path) as archive, archive.open("imgs.npy") as file:
            (count, *sides), kind = _header(file, path, 3)
            for start in range(0, count, CHUNK):
                chunk = _values(file, (min(CHUNK, count - start), *sides), kind, path)
                if (chunk > 1).any():
                    raise DataError(f"{str(path)!r} holds pictures with other values than 0 and 1: fetch it again.")
                for i in wanted.intersection(range(start, start + len(chunk))):
                    found[i] = np.packbits(chunk[i - start])
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DataError(f"{str(path)!r} is damaged ({error}): fetch it again.") from None
    return found


def _header(file: IO[bytes], path: Path, dimensions: int) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of an array, which must be a plain one in C order."""
    try:
        version = npy.read_magic(file)
        reader = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, kind = reader(file)
    except ValueError as error:
        raise DataError(f"{str(path)!r} holds something that is no array ({error}): fetch it again.") from None
    if kind.hasobject or fortran or len(shape) != dimensions:
        raise DataError(f"{str(path)!r} holds an array {shape} of {kind}, which is not dSprites': fetch it again.")
    return shape, kind


def _values(file: IO[bytes], shape: tuple[int, ...], kind: np.dtype, path: Path) -> np.ndarray:
    size = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
    data = file.read(size)
    if len(data) != size:
        raise DataError(f"{str(path)!r} is cut short: fetch it again.")
    return np.frombuffer(data, kind).reshape(shape)
