"""What a benchmark is: tasks, how each is fine-tuned, and the numbers that papers report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vitral.datasets.dataset import Dataset

OWN = "own"
"""The group of pictures of the user's own, which no mean includes."""


@dataclass(frozen=True)
class Entry:
    """One task.

    Attributes:
        read: its splits out of the folder of data; `None` if they are not there.
        where: what to put there, in words.
        recipe: key of `vitral.recipes.RECIPES` for the protocol "paper".
        rates: learning rates that it tries on `held_out` of train; of one there is nothing to try.
        probed: training pictures of a class that probes use at most; 0 is all.
        known: a model that names these very classes is measured as it is.
        augmentation: how a training picture may be varied; settings by their names.
        real: where ReaL labels of the test pictures are, if they are in the folder of data.
    """

    name: str
    group: str
    read: Callable[[Path], Dataset | None]
    where: str = ""
    recipe: str = "table4-vtab"
    rates: tuple[float, ...] = (0.01,)
    held_out: float = 0.0
    probed: int = 0
    known: bool = False
    augmentation: Mapping[str, Any] = field(default_factory=dict)
    real: Callable[[Path], Path | None] = lambda _: None


@dataclass(frozen=True)
class Benchmark:
    """Tasks that are reported together.

    Attributes:
        source: where the published numbers are from.
        published: accuracies in percent, by column and then by task; a task that is not there was not published.
        shown: the columns that the screen has room for.
        groups: whose means are reported; tasks of one group weigh the same.
        at_once: what to put into the folder of data to have all tasks, if there is such a thing.
    """

    name: str
    source: str
    entries: tuple[Entry, ...]
    published: Mapping[str, Mapping[str, float]]
    shown: tuple[str, ...]
    groups: tuple[str, ...] = ()
    at_once: str = ""


def means(found: Mapping[str, float], benchmark: Benchmark) -> dict[str, tuple[float, int, int]]:
    """By group, and of all as "mean": the mean of what is there, how many that are, and how many there should be."""
    members = {group: [e.name for e in benchmark.entries if e.group == group] for group in benchmark.groups}
    members["mean"] = [entry.name for entry in benchmark.entries]
    made = {}
    for name, tasks in members.items():
        values = [found[task] for task in tasks if task in found]
        if values:
            made[name] = (sum(values) / len(values), len(values), len(tasks))
    return made
