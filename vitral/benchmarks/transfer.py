"""The data sets of Tables 2 and 5 of arXiv 2010.11929: ImageNet (and its ReaL labels), CIFAR-10, CIFAR-100, Oxford-IIIT
Pets and Oxford Flowers-102, each with its full training split."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from vitral.benchmarks.benchmark import Benchmark, Entry
from vitral.datasets.collection import first_there
from vitral.datasets.dataset import TEST, TRAIN, Dataset
from vitral.datasets.named import NAMED, read_named
from vitral.datasets.published import PUBLISHED, where_from

ROWS = ("imagenet", "real", "cifar10", "cifar100", "pets", "flowers102")

TABLE_2 = {
    "H/14 JFT, Table 2": (88.55, 90.72, 99.50, 94.55, 97.56, 99.68),
    "L/16 JFT, Table 2": (87.76, 90.54, 99.42, 93.90, 97.32, 99.74),
    "L/16 i21k, Table 2": (85.30, 88.62, 99.15, 93.25, 94.67, 99.61),
    "BiT-L R152x4": (87.54, 90.54, 99.37, 93.51, 96.62, 99.63),
}
"""Top-1 in percent, mean of three fine-tunings, in the order of `ROWS`."""

TABLE_5 = {
    "B/16 ImageNet": (77.91, 83.57, 98.13, 87.13, 93.81, 89.49),
    "B/32 ImageNet": (73.38, 79.56, 97.77, 86.31, 92.04, 85.43),
    "L/16 ImageNet": (76.53, 82.19, 97.86, 86.35, 93.64, 89.66),
    "L/32 ImageNet": (71.16, 77.83, 97.94, 87.07, 91.35, 86.36),
    "B/16 i21k": (83.97, 88.35, 98.95, 91.67, 94.43, 99.38),
    "B/32 i21k": (81.28, 86.63, 98.79, 91.97, 93.02, 99.11),
    "L/16 i21k": (85.15, 88.40, 99.16, 93.44, 94.73, 99.61),
    "L/32 i21k": (80.99, 85.65, 99.13, 93.04, 93.09, 99.19),
    "H/14 i21k": (85.13, 88.70, 99.27, 93.82, 94.82, 99.51),
    "B/16 JFT": (84.15, 88.85, 99.00, 91.87, 95.80, 99.56),
    "B/32 JFT": (80.73, 86.27, 98.61, 90.49, 93.40, 99.27),
    "L/16 JFT": (87.12, 89.99, 99.38, 94.04, 97.11, 99.56),
    "L/32 JFT": (84.37, 88.28, 99.19, 92.52, 95.83, 99.45),
    "H/14 JFT": (88.04, 90.33, 99.50, 94.55, 97.56, 99.68),
}
"""Top-1 in percent, fine-tuned at 384 pixels, in the order of `ROWS`."""

MOST_PROBED = 50
"""Training pictures of a class that probes use at most (our choice, so that they take minutes)."""

CIFAR_RATES = (0.001, 0.003, 0.01, 0.03)
IMAGENET_RATES = (0.003, 0.01, 0.03, 0.06)


def _read(name: str, folder: Path) -> Dataset | None:
    """Train and test; of Flowers-102 the 1,020 of train alone, as big_vision's configs/transfer.py has it."""
    found = read_named(name, folder)
    if found is None:
        return None
    return replace(found, splits={split: found.splits[split] for split in (TRAIN, TEST) if split in found.splits})


def _real(folder: Path) -> Path | None:
    """real.json, beside the archives or a folder up (https://github.com/google-research/reassessed-imagenet)."""
    return first_there(folder, ("real.json", "imagenet2012/real.json"))


def _entry(name: str, recipe: str, rates: tuple[float, ...], held_out: float) -> Entry:
    return Entry(
        name=name,
        group="",
        read=partial(_read, name),
        where=where_from(PUBLISHED[NAMED[name].dataset]),
        recipe=recipe,
        rates=rates,
        held_out=held_out,
        probed=MOST_PROBED,
        known=name == "imagenet",
        real=_real if name == "imagenet" else lambda _: None,
    )


TRANSFER = Benchmark(
    name="transfer",
    source="arXiv 2010.11929, Tables 2 and 5",
    entries=(
        _entry("imagenet", "table4-imagenet", IMAGENET_RATES, 0.01),
        _entry("cifar10", "table4-cifar", CIFAR_RATES, 0.02),
        _entry("cifar100", "table4-cifar", CIFAR_RATES, 0.02),
        _entry("pets", "table4-pets-flowers", CIFAR_RATES, 0.1),
        _entry("flowers102", "table4-pets-flowers", CIFAR_RATES, 0.1),
    ),
    published={column: dict(zip(ROWS, values, strict=True)) for column, values in (TABLE_5 | TABLE_2).items()},
    shown=("B/16 i21k", "L/16 i21k", "H/14 JFT, Table 2"),
)
