"""CLEVR (https://cs.stanford.edu/people/jcjohns/clevr/) and KITTI's object detection set
(https://www.cvlibs.net/datasets/kitti/): pictures with objects in them, each with a position in space."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vitral.datasets.collection import Collection, first_there, open_collection
from vitral.datasets.published.located import Located
from vitral.datasets.records import Example, Records
from vitral.errors import DataError, MissingInputError

CLEVR_SPLITS = {"train": "train", "validation": "val"}
KITTI_TYPES = ("Car", "Van", "Truck", "Pedestrian", "Person_sitting", "Cyclist", "Tram", "Misc")
"""The classes of objects in the order of TensorFlow Datasets; "DontCare" is left out."""

KITTI_SEED = 123
"""Of numpy's legacy generator, with which TensorFlow Datasets draws a tenth of the videos for test, then validation."""


def clevr(folder: Path) -> Located | None:
    """CLEVR: CLEVR_v1.0.zip, or its folder. The test split has no scenes and is not read."""
    path = first_there(folder, ("CLEVR_v1.0.zip", "CLEVR_v1.0"))
    if path is None:
        return None
    inside = open_collection(path)
    return Located(str(path), {split: _clevr(inside, name) for split, name in CLEVR_SPLITS.items()})


def _clevr(inside: Collection, split: str) -> Records:
    try:
        scenes = json.loads(inside.read(f"CLEVR_{split}_scenes.json"))["scenes"]
        found = {
            str(scene["image_filename"]): np.array([thing["pixel_coords"] for thing in scene["objects"]], np.float32)
            for scene in scenes
        }
    except (ValueError, KeyError, TypeError, RecursionError):
        raise DataError(f"the scenes of {split} in {str(inside.path)!r} are not CLEVR's: fetch it again.") from None
    pictures = {name.split("/")[-1]: part for name, part in inside.parts.items() if f"images/{split}/" in name}
    missing = [name for name in found if name not in pictures]
    if missing:
        raise DataError(f"{str(inside.path)!r} lacks {len(missing):,} pictures, like {missing[0]!r}: fetch it again.")
    names = sorted(found)

    def read(positions: Sequence[int]) -> list[Example]:
        chosen = [names[i] for i in positions]
        return [Example(pictures[name], {"objects/pixel_coords": found[name].ravel()}) for name in chosen]

    return Records(len(names), read, names)


def kitti(folder: Path) -> Located | None:
    """KITTI: data_object_image_2.zip, data_object_label_2.zip and devkit_object.zip."""
    path = first_there(folder, ("data_object_image_2.zip",))
    if path is None:
        return None
    for name in ("data_object_label_2.zip", "devkit_object.zip"):
        if not (folder / name).is_file():
            raise MissingInputError(f"{str(folder / name)!r} is not there, but {path.name} is: fetch it as well.")
    inside, labels = open_collection(path), open_collection(folder / "data_object_label_2.zip")
    splits = _videos(open_collection(folder / "devkit_object.zip"))
    return Located(str(path), {name: _kitti(inside, labels, numbers) for name, numbers in splits.items()})


def _videos(devkit: Collection) -> dict[str, list[int]]:
    """Numbers of pictures by split: pictures of one video are in one split."""
    try:
        rows = [int(word) - 1 for word in ",".join(devkit.text("mapping/train_rand.txt")).split(",") if word.strip()]
        lines = devkit.text("mapping/train_mapping.txt")
        videos: dict[str, list[int]] = defaultdict(list)
        for picture, row in enumerate(rows):
            videos[lines[row].split(" ")[1]].append(picture)
    except (ValueError, IndexError):
        raise DataError(f"the mapping in {str(devkit.path)!r} is not KITTI's: fetch it again.") from None
    rng = np.random.RandomState(KITTI_SEED)
    tenth = max(1, 10 * len(videos) // 100)
    test = set(rng.choice(sorted(videos), tenth, replace=False).tolist())
    validation = set(rng.choice(sorted(set(videos) - test), tenth, replace=False).tolist())
    splits: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
    for name, pictures in videos.items():
        splits["test" if name in test else "validation" if name in validation else "train"] += pictures
    return splits


def _kitti(inside: Collection, labels: Collection, numbers: list[int]) -> Records:
    names = [f"{number:06d}" for number in sorted(numbers)]

    def read(positions: Sequence[int]) -> list[Example]:
        return [
            Example(inside.ending(f"training/image_2/{names[i]}.png"), _objects(labels, names[i])) for i in positions
        ]

    return Records(len(names), read, [f"{name}.png" for name in names])


def _objects(labels: Collection, name: str) -> dict[str, Any]:
    """Types [n] and positions [3 n] in metres, seen from the camera, of the objects in a picture."""
    types, places = [], []
    for line in labels.text(f"training/label_2/{name}.txt"):
        words = line.split(" ")
        if words[0] == "DontCare":
            continue
        try:
            types.append(KITTI_TYPES.index(words[0]))
            places.append([float(word) for word in words[11:14]])
        except ValueError:
            raise DataError(f"{line!r} in {name}.txt of {str(labels.path)!r} is no object: fetch it again.") from None
    return {"objects/type": np.array(types), "objects/location": np.array(places, np.float32).ravel()}
