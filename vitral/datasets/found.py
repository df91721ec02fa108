"""Published data sets as what the other readers return."""

from __future__ import annotations

from pathlib import Path

from vitral.config import DataConfig
from vitral.datasets.named import require_named
from vitral.datasets.splits import Found, Listing
from vitral.errors import UsageError


def read_published(config: DataConfig, name: str, folder: str) -> Found:
    """The splits of the data set "NAME:FOLDER", by class name.

    Raises:
        UsageError: options for tables are set. And as `vitral.datasets.named.require_named`.
    """
    for setting in ("path_column", "label_column", "image_folder"):
        if getattr(config, setting) is not None:
            raise UsageError(f"--{setting.replace('_', '-')} is for tables, but {config.path!r} is a data set.")
    if config.multi_label:
        raise UsageError(f"{config.path!r} gives each picture one label: leave --multi-label out.")
    dataset = require_named(name, folder)
    words = [(name,) for name in dataset.classes]
    splits = {
        split: Listing(folder, pictures.sources, [words[labels[0]] for labels in pictures.labels])
        for split, pictures in dataset.splits.items()
    }
    found = Found(Path(folder), splits, list(dataset.notes), list(dataset.warnings))
    found.name, found.classes = name.replace("/", "-"), dataset.classes
    found.descriptions = dataset.descriptions
    return found
