"""SVHN, cropped digits: train_32x32.mat and test_32x32.mat (http://ufldl.stanford.edu/housenumbers/)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vitral.datasets.published.located import Located
from vitral.datasets.published.matlab import matrices
from vitral.datasets.records import Example, Records
from vitral.datasets.stored import Row
from vitral.errors import DataError


def svhn(folder: Path) -> Located | None:
    """The set, if both files are there; the digit 0, which the files call 10, is class 0."""
    paths = {split: folder / f"{split}_32x32.mat" for split in ("train", "test")}
    if not all(path.is_file() for path in paths.values()):
        return None
    return Located(str(folder), {split: _split(path) for split, path in paths.items()}, tuple(map(str, range(10))))


def _split(path: Path) -> Records:
    found = matrices(path)
    pixels, labels = found.get("X"), found.get("y")
    if (
        not isinstance(pixels, np.ndarray)
        or not isinstance(labels, np.ndarray)
        or (pixels.dtype, pixels.ndim) != (np.uint8, 4)
        or pixels.shape[2:] != (3, labels.size)
    ):
        raise DataError(f"{str(path)!r} holds no pictures X and labels y that go together: fetch it again.")
    pictures, digits = pixels.transpose(3, 0, 1, 2), labels.ravel().astype(np.int64) % 10

    def read(positions: Sequence[int]) -> list[Example]:
        return [Example(Row(pictures, i, f"{path}: {i}"), {"label": int(digits[i])}) for i in positions]

    return Records(len(digits), read, range(len(digits)))
