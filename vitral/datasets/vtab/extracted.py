"""VTAB-1k as one archive of pictures that others took out of the 19 sets: vtab-1k.zip, or the folder vtab-1k.

vtab-1k/TASK/train800.txt, val200.txt, test.txt   lines "images/train/00000.jpg 5": a picture and its class

The layout is that of NOAH (github.com/ZhangYuanhan-AI/NOAH), which later papers on adapters share. Classes are numbers
in it, by the definitions of VTAB.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from vitral.datasets.collection import Collection, first_there, open_collection
from vitral.datasets.dataset import TEST, TRAIN, VALIDATION, Split
from vitral.datasets.stored import Part
from vitral.errors import DataError, UnreadableImageError

FOLDERS = {
    "caltech101": "caltech101",
    "cifar100": "cifar",
    "dtd": "dtd",
    "flowers102": "oxford_flowers102",
    "pets": "oxford_iiit_pet",
    "sun397": "sun397",
    "svhn": "svhn",
    "patch_camelyon": "patch_camelyon",
    "eurosat": "eurosat",
    "resisc45": "resisc45",
    "retinopathy": "diabetic_retinopathy",
    "clevr_count": "clevr_count",
    "clevr_distance": "clevr_dist",
    "dmlab": "dmlab",
    "dsprites_location": "dsprites_loc",
    "dsprites_orientation": "dsprites_ori",
    "kitti_distance": "kitti",
    "smallnorb_azimuth": "smallnorb_azi",
    "smallnorb_elevation": "smallnorb_ele",
}
"""What the archive calls each task."""

LISTS = {TRAIN: "train800.txt", VALIDATION: "val200.txt", TEST: "test.txt"}

WHERE = "vtab-1k.zip (4.7 GB) from https://huggingface.co/datasets/XiN0919/VTAB-1k"


def read_extracted(name: str, classes: int, test_size: int, folder: Path) -> tuple[Path, dict[str, Split]] | None:
    """Where a task was found, and its splits; `None` if the archive is not in `folder`, or lacks it.

    Raises:
        DataError: a list or a picture is not what it should be. MissingInputError: it cannot be read.
    """
    path = first_there(folder, ("vtab-1k.zip", f"vtab-1k/{FOLDERS[name]}", f"{FOLDERS[name]}/{LISTS[TRAIN]}"))
    if path is None:
        return None
    if path.name == LISTS[TRAIN]:
        path = path.parent
    inside = _zipped(path, path.stat().st_mtime_ns) if path.is_file() else open_collection(path)
    above = _above(inside, FOLDERS[name] if path.is_file() else "")
    if above is None:
        return None
    splits = {split: _split(inside, above, file, classes) for split, file in LISTS.items()}
    for split, count in {TRAIN: 800, VALIDATION: 200, TEST: test_size}.items():
        if len(splits[split]) != count:
            raise DataError(
                f"{LISTS[split]!r} of {name} in {str(path)!r} names {len(splits[split]):,} pictures, but the task has "
                f"{count:,}: fetch it again."
            )
    return path, splits


@lru_cache(maxsize=1)
def _zipped(path: Path, _changed: int) -> Collection:
    """Its table of contents, of 430,000 pictures, is read once for all tasks."""
    return open_collection(path)


def _above(inside: Collection, task: str) -> str | None:
    """What stands before the names of a task's files, with a "/" behind it where it is not empty."""
    tail = f"{task}/{LISTS[TRAIN]}" if task else LISTS[TRAIN]
    found = [name for name in inside.parts if name == tail or name.endswith(f"/{tail}")]
    return min(found, key=len).removesuffix(LISTS[TRAIN]) if found else None


def _split(inside: Collection, above: str, file: str, classes: int) -> Split:
    part = inside.parts.get(f"{above}{file}")
    if part is None:
        raise DataError(f"{str(inside.path)!r} lacks {f'{above}{file}'!r}: fetch it again.")
    try:
        lines = [line for line in part.read().decode().splitlines() if line.strip()]
    except (UnreadableImageError, UnicodeDecodeError) as error:
        raise DataError(f"{part} is damaged or no text ({error}): fetch it again.") from None
    pictures: list[Part] = []
    labels: list[tuple[int, ...]] = []
    for line in lines:
        name, _, word = line.strip().rpartition(" ")
        picture = inside.parts.get(f"{above}{name.strip()}")
        if picture is None:
            raise DataError(f"{part} names {name!r}, which is not there: fetch it again.")
        if not word.isdecimal() or int(word) >= classes:
            raise DataError(f"{part} gives {name!r} class {word!r}, but there are {classes} classes: fetch it again.")
        pictures.append(picture)
        labels.append((int(word),))
    return Split(pictures, labels)
