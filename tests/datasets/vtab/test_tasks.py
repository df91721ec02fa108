"""VTAB-1k's tasks: sizes by the paper, splits by position, classes by the definitions written out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.datasets.formats import png, write_prepared
from vitral.data.decode import decode
from vitral.datasets.dataset import TEST, TRAIN, VALIDATION
from vitral.datasets.published import PUBLISHED, Located, where_from
from vitral.datasets.records import Example, Records
from vitral.datasets.stored import Row
from vitral.datasets.vtab import GROUPS, TASKS, Brightened, dataset_of, read_task
from vitral.datasets.vtab.labels import closest_object, closest_vehicle, count_objects
from vitral.errors import DataError, UnreadableImageError

FIELDS = {
    "clevr": {"objects/pixel_coords": np.array([9, 9, 8.2] * 4, np.float32)},
    "dsprites": {"label_x_position": 31, "label_orientation": 39},
    "kitti": {"objects/type": np.array([0]), "objects/location": np.array([1, 2, 25], np.float32)},
    "smallnorb": {"label_azimuth": 17, "label_elevation": 8},
}


def counted(name: str) -> Located:
    """A set of the published sizes, whose picture at position p is the number p."""

    def records(split: str, size: int) -> Records:
        return Records(
            size, lambda positions: [Example(f"{split} {p}", FIELDS.get(name, {"label": 1})) for p in positions]
        )

    return Located("here", {split: records(split, size) for split, size in PUBLISHED[name].sizes.items()})


def test_there_are_seven_natural_four_specialized_and_eight_structured_tasks() -> None:
    assert [sum(task.group == group for task in TASKS.values()) for group in GROUPS] == [7, 4, 8]
    assert (
        sum(task.classes for task in TASKS.values())
        == 102 + 100 + 47 + 102 + 37 + 397 + 10 + 2 + 10 + 45 + 5 + 8 + 6 + 6 + 16 + 16 + 4 + 18 + 9
    )


FIRST, ALL = ("validation 0", "validation 199"), "test 0"
ENDS = {
    # first and last of the 200, first and last of the test split, as the authors' code slices them; a class
    "caltech101": (("train 2754", "train 2953"), (ALL, "test 6083"), 1),
    "cifar100": (("train 45000", "train 45199"), (ALL, "test 9999"), 1),
    "dtd": (FIRST, (ALL, "test 1879"), 1),
    "flowers102": (FIRST, (ALL, "test 6148"), 1),
    "pets": (("train 2944", "train 3143"), (ALL, "test 3668"), 1),
    "sun397": (FIRST, (ALL, "test 21749"), 1),
    "svhn": (("train 65931", "train 66130"), (ALL, "test 26031"), 1),
    "patch_camelyon": (FIRST, (ALL, "test 32767"), 1),
    "eurosat": (("train 16200", "train 16399"), ("train 21600", "train 26999"), 1),
    "resisc45": (("train 18900", "train 19099"), ("train 25200", "train 31499"), 1),
    "retinopathy": (FIRST, (ALL, "test 42669"), 1),
    "clevr_count": (("train 63000", "train 63199"), ("validation 0", "validation 14999"), 1),
    "clevr_distance": (("train 63000", "train 63199"), ("validation 0", "validation 14999"), 1),
    "dmlab": (FIRST, (ALL, "test 22734"), 1),
    "dsprites_location": (("train 589824", "train 590023"), ("train 663552", "train 737279"), 15),
    "dsprites_orientation": (("train 589824", "train 590023"), ("train 663552", "train 737279"), 15),
    "kitti_distance": (FIRST, (ALL, "test 710"), 2),
    "smallnorb_azimuth": (("test 0", "test 199"), ("test 12150", "test 24299"), 17),
    "smallnorb_elevation": (("test 0", "test 199"), ("test 12150", "test 24299"), 8),
}


@pytest.mark.parametrize("name", TASKS)
def test_every_task_has_its_published_slices_sizes_and_classes(name: str, tmp_path: Path) -> None:
    task = TASKS[name]
    made = dataset_of(task, counted(task.dataset), tmp_path)
    assert [len(made.splits[split]) for split in (TRAIN, VALIDATION, TEST)] == [800, 200, task.size]
    ends = {split: (str(part.sources[0]), str(part.sources[-1])) for split, part in made.splits.items()}
    validation, test, label = ENDS[name]
    assert ends == {TRAIN: ("train 0", "train 799"), VALIDATION: validation, TEST: test}
    assert made.splits[TRAIN].labels[0] == (label,)
    assert len(made.classes) == task.classes
    assert len(where_from(PUBLISHED[task.dataset])) > 20


@pytest.mark.parametrize("depth", [0.5, 8.0, 8.01, 8.5, 9.2, 9.5, 10.0, 10.1, 50.0])
def test_distances_are_binned_by_the_largest_threshold_below(depth: float) -> None:
    """The authors write it max(where(thresholds - d < 0))."""
    things = {"objects/pixel_coords": np.array([0, 0, 60.0, 3, 3, depth], np.float32)}
    thresholds = np.array([0.0, 8.0, 8.5, 9.0, 9.5, 10.0, 100.0], np.float32)
    assert closest_object(things) == max(np.flatnonzero(thresholds - np.float32(depth) < 0))
    cars = {"objects/type": np.array([3, 2]), "objects/location": np.array([0, 0, 1, 0, 0, depth], np.float32)}
    thresholds = np.array([-100.0, 8.0, 20.0, 999.0], np.float32)
    assert closest_vehicle(cars) == max(np.flatnonzero(thresholds - np.float32(depth) < 0))


def test_without_a_vehicle_there_is_a_class_of_its_own() -> None:
    assert closest_vehicle({"objects/type": np.array([7]), "objects/location": np.zeros(3)}) == 3
    assert closest_vehicle({}) == 3


@pytest.mark.parametrize("objects", [3, 6, 10])
def test_objects_are_counted_from_three(objects: int) -> None:
    assert count_objects({"objects/pixel_coords": np.zeros(3 * objects)}) == objects - 3


def test_orientations_and_places_are_joined_as_by_floor_division() -> None:
    orientation, place = TASKS["dsprites_orientation"].label, TASKS["dsprites_location"].label
    assert [orientation({"label_orientation": k}) for k in range(40)] == [int(np.floor(k / 2.5)) for k in range(40)]
    assert [place({"label_x_position": k}) for k in range(32)] == [k // 2 for k in range(32)]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"label": 47}, r"class 47, but dtd has 47 classes"),
        ({"label": -1}, r"class -1"),
        ({}, r"does not fit task dtd: there is no number 'label'"),
    ],
)
def test_a_class_that_cannot_be_is_one_sentence(fields: dict[str, int], said: str, tmp_path: Path) -> None:
    found = Located(
        "here", {s: Records(1880, lambda p: [Example("x", fields)] * len(p)) for s in ("train", "validation", "test")}
    )
    with pytest.raises(DataError, match=said):
        dataset_of(TASKS["dtd"], found, tmp_path)


def test_sprites_become_as_bright_as_other_pictures() -> None:
    pixels = np.array([[0, 1], [1, 0]], np.uint8)
    assert decode(Brightened(Row(pixels[None], 0, "x"), 255))[..., 1].tolist() == [[0, 255], [255, 0]]
    assert decode(Brightened(png(1, mode="L"), 255)).max() == 255
    with pytest.raises(UnreadableImageError, match="pixels above 1"):
        decode(Brightened(png(2, mode="L"), 255))
    with pytest.raises(UnreadableImageError, match="damaged"):
        decode(Brightened(b"no picture", 255))


def test_a_task_is_read_from_its_prepared_set(tmp_path: Path) -> None:
    rows = [{"image": png(k), "label": k % 47, "file_name": b"x"} for k in range(1880)]
    write_prepared(tmp_path / "dtd", "dtd", {"train": rows, "validation": rows[::-1], "test": rows})
    task = TASKS["dtd"]
    made = read_task(task, tmp_path)
    assert made is not None
    assert [label for (label,) in made.splits[TRAIN].labels] == [k % 47 for k in range(800)]
    assert [label for (label,) in made.splits[VALIDATION].labels] == [(1879 - k) % 47 for k in range(200)]
    assert made.splits[VALIDATION].sources[5].read() == png(1874)
    assert read_task(TASKS["svhn"], tmp_path) is None
