"""SUN397 as its authors publish it (https://vision.princeton.edu/projects/2010/SUN/): one SUN397.tar.gz with a folder
for each class. VTAB's split is a random one, which TensorFlow Datasets ships as three lists of names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vitral.datasets.collection import Collection, first_there, open_collection
from vitral.datasets.published.located import Located
from vitral.datasets.records import Example, Records
from vitral.errors import DataError, MissingInputError

LISTS = {"train": "sun397_tfds_tr.txt", "validation": "sun397_tfds_va.txt", "test": "sun397_tfds_te.txt"}
"""Lines like "/a/abbey/sun_aaalbzqrimafwbiv.jpg": names below the folder SUN397, and keys of the records."""


def sun397(folder: Path) -> Located | None:
    """SUN397: SUN397.tar.gz or the folder SUN397, with the three lists beside it."""
    path = first_there(folder, ("SUN397.tar.gz", "SUN397"))
    if path is None:
        return None
    names: dict[str, list[str]] = {}
    for split, file in LISTS.items():
        try:
            names[split] = [line.strip() for line in (folder / file).read_text().splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError):
            raise MissingInputError(
                f"{str(folder / file)!r} cannot be read, but {path.name} is there: fetch it."
            ) from None
    classes = sorted({_class(name) for listed in names.values() for name in listed})
    inside = open_collection(path)
    prefix = "" if path.is_dir() else "SUN397"
    splits = {split: _records(inside, prefix, listed, classes) for split, listed in names.items()}
    doubt = (
        f"pictures of {path.name} are as large as their authors made them: those of TensorFlow Datasets, which "
        "published numbers are of, have at most 120,000 pixels and were encoded anew"
    )
    return Located(str(path), splits, tuple(classes), (doubt,))


def _class(name: str) -> str:
    return name.rpartition("/")[0]


def _records(inside: Collection, prefix: str, names: Sequence[str], classes: Sequence[str]) -> Records:
    index = {name: k for k, name in enumerate(classes)}
    parts = [inside.parts.get((prefix + name).removeprefix("/")) for name in names]
    missing = [name for name, part in zip(names, parts, strict=True) if part is None]
    if missing:
        raise DataError(f"{str(inside.path)!r} lacks {len(missing):,} pictures, like {missing[0]!r}: fetch it again.")

    def read(positions: Sequence[int]) -> list[Example]:
        return [Example(parts[i], {"label": index[_class(names[i])]}) for i in positions]

    return Records(len(names), read, names)
