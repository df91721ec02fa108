"""VTAB-1k (arXiv 1910.04867) beside Table 9 of arXiv 2010.11929."""

from __future__ import annotations

from functools import partial

from vitral.benchmarks.benchmark import Benchmark, Entry
from vitral.datasets.published import PUBLISHED, where_from
from vitral.datasets.vtab import GROUPS, TASKS, Task, read_task
from vitral.datasets.vtab.extracted import WHERE

TABLE_9 = {
    "H/14 JFT": (95.3, 85.5, 75.2, 99.7, 97.2, 65.0, 88.9, 83.3, 96.7, 91.4, 76.6,
                 91.7, 63.8, 53.1, 79.4, 63.3, 84.5, 33.2, 51.2),
    "L/16 JFT": (95.4, 81.9, 74.3, 99.7, 96.7, 63.5, 87.4, 83.6, 96.5, 89.7, 77.1,
                 86.4, 63.1, 49.7, 74.5, 60.5, 82.2, 36.2, 51.1),
    "L/16 i21k": (90.8, 84.1, 74.1, 99.3, 92.7, 61.0, 80.9, 82.5, 95.6, 85.2, 75.3,
                  70.3, 56.1, 41.9, 74.7, 64.9, 79.9, 30.5, 41.7),
}  # fmt: skip
"""Top-1 in percent, in the order of `TASKS`."""

ENLARGED = (448, 448)
"""What a random cut of 384 x 384 is taken from."""


def _entry(task: Task) -> Entry:
    crop = {"augmentation.crop": "resize-random", "augmentation.resize": ENLARGED}
    return Entry(
        name=task.name,
        group=task.group,
        read=partial(read_task, task),
        where=where_from(PUBLISHED[task.dataset]),
        augmentation={**(crop if task.crop else {"augmentation.crop": "none"}), "augmentation.flip": task.flip},
    )


VTAB = Benchmark(
    name="vtab",
    source="arXiv 2010.11929, Table 9",
    entries=tuple(_entry(task) for task in TASKS.values()),
    published={column: dict(zip(TASKS, values, strict=True)) for column, values in TABLE_9.items()},
    shown=tuple(TABLE_9),
    groups=GROUPS,
    at_once=f"{WHERE}, whose pictures others took out of the 19 sets",
)
