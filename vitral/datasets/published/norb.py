"""smallNORB in the binary format of its authors (https://cs.nyu.edu/~ylclab/data/norb-v1.0-small/): of each split a
file of pictures, two of each object, one of categories and one of {instance, elevation, azimuth, lighting}.

A file is: a number that says the type of the values, the number of dimensions, their sizes (at least three are
written), all 32-bit and little endian, and then the values.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vitral.datasets.collection import first_there
from vitral.datasets.published.located import Located
from vitral.datasets.records import Example, Records
from vitral.datasets.stored import Row
from vitral.errors import DataError, MissingInputError

NAMES = {"train": "smallnorb-5x46789x9x18x6x2x96x96-training", "test": "smallnorb-5x01235x9x18x6x2x96x96-testing"}
TYPES: dict[int, np.dtype[Any]] = {0x1E3D4C55: np.dtype("u1"), 0x1E3D4C54: np.dtype("<i4")}


def smallnorb(folder: Path) -> Located | None:
    """The set, if its files (.mat, or .mat.gz as published) are there."""
    if first_there(folder, [f"{name}-dat.mat{end}" for name in NAMES.values() for end in ("", ".gz")]) is None:
        return None
    return Located(str(folder), {split: _split(folder, name) for split, name in NAMES.items()})


def _split(folder: Path, name: str) -> Records:
    arrays = {}
    for kind in ("dat", "info"):
        path = first_there(folder, (f"{name}-{kind}.mat.gz", f"{name}-{kind}.mat"))
        if path is None:
            raise MissingInputError(
                f"{name}-{kind}.mat.gz is not in {str(folder)!r}, but others are: fetch it as well."
            )
        arrays[kind] = read_matrix(path)
    pictures, info = arrays["dat"], arrays["info"]
    if pictures.ndim != 4 or info.ndim != 2 or len(pictures) != len(info) or info.shape[1] < 4:
        raise DataError(f"the files {name}-dat and -info in {str(folder)!r} do not go together: fetch them again.")
    left = np.ascontiguousarray(pictures[:, 0])  # the first of the two cameras, as in TensorFlow Datasets

    def read(positions: Sequence[int]) -> list[Example]:
        found = []
        for i in positions:
            # Azimuths are stored as 0, 2, ... 34, in units of 10 degrees.
            fields = {"label_elevation": int(info[i, 1]), "label_azimuth": int(info[i, 2]) // 2}
            found.append(Example(Row(left, i, f"{folder}: {name} {i}"), fields))
        return found

    return Records(len(left), read, range(len(left)))


def read_matrix(path: Path) -> np.ndarray:
    """The values of a file.

    Raises:
        DataError: it is of another format, cut short or damaged. MissingInputError: it cannot be read.
    """
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise DataError(f"{str(path)!r} is damaged ({error}): fetch it again.") from None
    except OSError as error:
        raise MissingInputError(f"cannot read {str(path)!r}: {error.strerror or error}.") from None
    kind = TYPES.get(int.from_bytes(data[:4], "little"))
    dimensions = int.from_bytes(data[4:8], "little")
    start = 8 + 4 * max(3, dimensions)
    if kind is None or dimensions > 8 or len(data) < start:
        raise DataError(f"{str(path)!r} is not in smallNORB's binary format: fetch it again.")
    shape = tuple(np.frombuffer(data, "<i4", dimensions, 8).tolist())
    values = np.frombuffer(data[start : len(data) - (len(data) - start) % kind.itemsize], kind)
    if any(size < 0 for size in shape) or int(np.prod(shape, dtype=np.int64)) != len(values):
        raise DataError(f"{str(path)!r} holds {len(values):,} values, not {shape}: fetch it again.")
    return values.reshape(shape)
