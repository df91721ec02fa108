"""VTAB-1k: 19 tasks of 1,000 training examples (arXiv 1910.04867), with the splits, labels and sizes of its authors'
code (google-research/task_adaptation at d7630d3, task_adaptation/data).

Splits count positions in the order in which TensorFlow Datasets stores a set; the authors' own archives are brought
into that order, so both give the same pictures (see `vitral.datasets.records`).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vitral.datasets.dataset import TEST, TRAIN, VALIDATION, Dataset, Source, Split
from vitral.datasets.published import PUBLISHED, Located, locate
from vitral.datasets.records import Example
from vitral.datasets.stored import Stored
from vitral.datasets.vtab import labels as of
from vitral.datasets.vtab.extracted import read_extracted
from vitral.errors import DataError, UnreadableImageError

NATURAL, SPECIALIZED, STRUCTURED = GROUPS = ("natural", "specialized", "structured")


@dataclass(frozen=True)
class Cut:
    """Examples `start` to `stop` of a published split, counted in its published order; all of it by default."""

    split: str
    start: int = 0
    stop: int | None = None


@dataclass(frozen=True)
class Task:
    """One of the 19.

    Attributes:
        name: as people write it on the command line.
        dataset: key of `PUBLISHED`.
        classes: how many.
        validation, test: the 200 and the test pictures; training pictures are always the first 800 of train.
        size: of the test split.
        label: from an example's fields to its class.
        brightest: value of a pixel that is white, where it is not 255.
        flip, crop: whether a training picture may be mirrored, and cut at a random place, without becoming another
            class (section 4 of arXiv 1912.11370 and its code: BiT's exceptions, which ViT's fine-tuning took over).
    """

    name: str
    group: str
    dataset: str
    classes: int
    validation: Cut
    test: Cut
    size: int
    label: of.Label = field(default=of.field("label"), repr=False)
    brightest: int = 255
    flip: bool = True
    crop: bool = True

    @property
    def train(self) -> Cut:
        """The 800."""
        return Cut("train", 0, 800)


def _next(start: int) -> Cut:
    return Cut("train", start, start + 200)


_FIRST = Cut("validation", 0, 200)
_TEST = Cut("test")
_SPRITES = {"validation": _next(589_824), "test": Cut("train", 663_552), "size": 73_728, "brightest": 1, "flip": False}
_NORB = {"validation": Cut("test", 0, 200), "test": Cut("test", 12_150), "size": 12_150}
_CLEVR = {"validation": _next(63_000), "test": Cut("validation"), "size": 15_000, "crop": False}

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("caltech101", NATURAL, "caltech101", 102, _next(2_754), _TEST, 6_084),
        Task("cifar100", NATURAL, "cifar100", 100, _next(45_000), _TEST, 10_000),
        Task("dtd", NATURAL, "dtd", 47, _FIRST, _TEST, 1_880),
        Task("flowers102", NATURAL, "oxford_flowers102", 102, _FIRST, _TEST, 6_149),
        Task("pets", NATURAL, "oxford_iiit_pet", 37, _next(2_944), _TEST, 3_669),
        Task("sun397", NATURAL, "sun397", 397, _FIRST, _TEST, 21_750),
        Task("svhn", NATURAL, "svhn_cropped", 10, _next(65_931), _TEST, 26_032),
        Task("patch_camelyon", SPECIALIZED, "patch_camelyon", 2, _FIRST, _TEST, 32_768),
        Task("eurosat", SPECIALIZED, "eurosat", 10, _next(16_200), Cut("train", 21_600), 5_400),
        Task("resisc45", SPECIALIZED, "resisc45", 45, _next(18_900), Cut("train", 25_200), 6_300),
        Task("retinopathy", SPECIALIZED, "diabetic_retinopathy_detection", 5, _FIRST, _TEST, 42_670),
        Task("clevr_count", STRUCTURED, "clevr", 8, label=of.count_objects, **_CLEVR),  # type: ignore[arg-type]
        Task("clevr_distance", STRUCTURED, "clevr", 6, label=of.closest_object, **_CLEVR),  # type: ignore[arg-type]
        Task("dmlab", STRUCTURED, "dmlab", 6, _FIRST, _TEST, 22_735, crop=False),
        # 32 places in pairs; 40 orientations in 16 bins
        Task("dsprites_location", STRUCTURED, "dsprites", 16, label=of.field("label_x_position", 2),
             crop=False, **_SPRITES),  # type: ignore[arg-type]
        Task("dsprites_orientation", STRUCTURED, "dsprites", 16, label=of.field("label_orientation", 2.5),
             **_SPRITES),  # type: ignore[arg-type]
        Task("kitti_distance", STRUCTURED, "kitti", 4, _FIRST, _TEST, 711, of.closest_vehicle, crop=False),
        Task("smallnorb_azimuth", STRUCTURED, "smallnorb", 18, label=of.field("label_azimuth"),
             flip=False, **_NORB),  # type: ignore[arg-type]
        Task("smallnorb_elevation", STRUCTURED, "smallnorb", 9, label=of.field("label_elevation"),
             **_NORB),  # type: ignore[arg-type]
    )
}  # fmt: skip
"""The 19 tasks by name, in the order of Table 9 of arXiv 2010.11929."""


@dataclass(frozen=True)
class Brightened(Stored):
    """A picture whose white is another value than 255, made as bright as others."""

    picture: Source
    factor: int

    def __str__(self) -> str:
        return str(self.picture)

    def read(self) -> np.ndarray:
        """Grey pixels [height, width]."""
        read = self.picture.read() if isinstance(self.picture, Stored) else self.picture
        if isinstance(read, bytes):
            from PIL.PngImagePlugin import PngImageFile  # whoever only lists pictures does not wait for it

            try:
                read = np.asarray(PngImageFile(io.BytesIO(read)).convert("L"))
            except Exception as error:  # arbitrary bytes raise nearly anything within Pillow
                raise UnreadableImageError(str(self), f"damaged ({error})") from None
        if read.max(initial=0) > 255 // self.factor:
            raise UnreadableImageError(str(self), f"it has pixels above {255 // self.factor}")
        return np.asarray(read * np.uint8(self.factor))


def read_task(task: Task, folder: Path) -> Dataset | None:
    """The 800, the 200 and the test pictures of a task; `None` if its data set is not in `folder`.

    Raises:
        DataError: what is there is damaged, or not the published data set.
        MissingInputError, UnavailableError: a part of it, or a package to read it with, is missing.
    """
    found = locate(PUBLISHED[task.dataset], folder)
    return _extracted(task, folder) if found is None else dataset_of(task, found, folder)


def _extracted(task: Task, folder: Path) -> Dataset | None:
    """From the archive that holds the pictures of all tasks."""
    found = read_extracted(task.name, task.classes, task.size, folder)
    if found is None:
        return None
    where, splits = found
    note = f"{task.name}: from {where}, whose pictures others took out of the set and may have encoded anew"
    classes = tuple(map(str, range(task.classes)))
    return Dataset(f"vtab/{task.name}", folder, classes, splits, notes=(note,), source=str(where))


def dataset_of(task: Task, found: Located, folder: Path) -> Dataset:
    """The splits of a task out of its located data set."""
    names = found.classes if found.classes and len(found.classes) == task.classes else None
    return Dataset(
        name=f"vtab/{task.name}",
        root=folder,
        classes=names or tuple(map(str, range(task.classes))),
        splits={
            name: _split(task, found, cut)
            for name, cut in ((TRAIN, task.train), (VALIDATION, task.validation), (TEST, task.test))
        },
        notes=(f"{task.name}: from {found.where}",),
        warnings=found.doubts,
        source=found.where,
    )


def _split(task: Task, found: Located, cut: Cut) -> Split:
    if cut.split not in found.splits:
        raise DataError(f"{found.where!r} has no split {cut.split!r}: fetch or prepare it again.")
    records = found.splits[cut.split]
    positions: Sequence[int] = records.in_published_order(cut.split)[cut.start : cut.stop]
    examples = records.read(positions)
    return Split([_picture(task, example) for example in examples], [(_label(task, example),) for example in examples])


def _picture(task: Task, example: Example) -> Source:
    return example.picture if task.brightest == 255 else Brightened(example.picture, 255 // task.brightest)


def _label(task: Task, example: Example) -> int:
    try:
        label = task.label(example.fields)
    except DataError as error:
        raise DataError(f"{example.picture} does not fit task {task.name}: {error}") from None
    if not 0 <= label < task.classes:
        raise DataError(f"{example.picture} has class {label}, but {task.name} has {task.classes} classes.")
    return label
