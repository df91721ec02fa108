"""Pictures from above in a folder for each class: EuroSAT (RGB) and RESISC45."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vitral.datasets.collection import Collection, first_there, open_collection
from vitral.datasets.published.located import Located
from vitral.datasets.records import Example, Records


def eurosat(folder: Path) -> Located | None:
    """EuroSAT: the zip of the RGB pictures, or its folder (https://zenodo.org/records/7711810)."""
    path = first_there(folder, ("EuroSAT_RGB.zip", "EuroSAT.zip", "EuroSAT_RGB", "2750"))
    return None if path is None else _classes(open_collection(path))


def resisc45(folder: Path) -> Located | None:
    """RESISC45: the folder NWPU-RESISC45. (It is published as a .rar, which must be unpacked by hand.)"""
    path = first_there(folder, ("NWPU-RESISC45", "NWPU-RESISC45.zip"))
    return None if path is None else _classes(open_collection(path))


def _classes(inside: Collection) -> Located:
    """All pictures as one split, train; TensorFlow Datasets' keys are class and name with "_" between."""
    pictures = []
    for name, part in sorted(inside.parts.items()):
        pieces = name.split("/")
        if len(pieces) >= 2 and pieces[-1].lower().endswith((".jpg", ".jpeg")):
            pictures.append((pieces[-2], pieces[-1], part))
    names = sorted({label for label, _, _ in pictures})
    index = {name: k for k, name in enumerate(names)}

    def read(positions: Sequence[int]) -> list[Example]:
        return [Example(pictures[i][2], {"label": index[pictures[i][0]]}) for i in positions]

    keys = [f"{label}_{name}" for label, name, _ in pictures]
    return Located(str(inside.path), {"train": Records(len(keys), read, keys)}, tuple(names))
