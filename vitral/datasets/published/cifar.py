"""CIFAR-10 and CIFAR-100 in their binary version (https://www.cs.toronto.edu/~kriz/cifar.html): a record is the label
(of CIFAR-100 the coarse, then the fine one), a byte each, and 3,072 bytes of pixels: 32 rows of red, of green, of blue.

The Python version of these sets is a pickle, which can run any program when it is opened, so it is not read.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vitral.datasets.collection import Collection, first_there, open_collection
from vitral.datasets.published.located import Located
from vitral.datasets.records import Example, Records
from vitral.datasets.stored import Row
from vitral.errors import DataError

SIDE = 32
PIXELS = 3 * SIDE * SIDE


def cifar10(folder: Path) -> Located | None:
    """The set, if its archive or its folder is there."""
    path = first_there(folder, ("cifar-10-binary.tar.gz", "cifar-10-batches-bin"))
    if path is None:
        return None
    inside = open_collection(path)
    train = tuple(f"data_batch_{k}.bin" for k in range(1, 6))
    splits = {"train": _split(inside, train, 1), "test": _split(inside, ("test_batch.bin",), 1)}
    return Located(str(path), splits, tuple(inside.text("batches.meta.txt")))


def cifar100(folder: Path) -> Located | None:
    """The set, if its archive or its folder is there; the label is the fine one."""
    path = first_there(folder, ("cifar-100-binary.tar.gz", "cifar-100-binary"))
    if path is None:
        return None
    inside = open_collection(path)
    splits = {name: _split(inside, (f"{name}.bin",), 2) for name in ("train", "test")}
    return Located(str(path), splits, tuple(inside.text("fine_label_names.txt")))


def _split(inside: Collection, names: tuple[str, ...], labels: int) -> Records:
    data = b"".join(_records(inside, name, labels) for name in names)
    rows = np.frombuffer(data, dtype=np.uint8).reshape(-1, labels + PIXELS)
    pixels = rows[:, labels:].reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)

    def read(positions: Sequence[int]) -> list[Example]:
        return [
            Example(Row(pixels, i, f"{inside.path}: {'+'.join(names)} {i}"), {"label": int(rows[i, labels - 1])})
            for i in positions
        ]

    return Records(len(rows), read, range(len(rows)))


def _records(inside: Collection, name: str, labels: int) -> bytes:
    data = inside.read(name)
    if not data or len(data) % (labels + PIXELS):
        raise DataError(
            f"{name!r} in {str(inside.path)!r} has {len(data):,} bytes, which are no records of {labels + PIXELS:,}: "
            "fetch it again."
        )
    return data
