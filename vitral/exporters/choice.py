"""Which export is fastest and still right? All are asked the same labelled pictures, batch by batch in turn."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vitral.data.loader import Batch
from vitral.errors import DataError
from vitral.evaluators.intervals import difference_interval
from vitral.serving.predictor import Model


@dataclass(frozen=True)
class Row:
    """One export.

    Attributes:
        name: format and precision, "openvino int8-static"; "torch float32" is the model itself.
        pictures_per_second: of its own part alone, without reading pictures; the median over batches.
        top1: share of the measured pictures that it answers rightly.
        drop: percentage points of top-1 that it loses against the model; negative where it gains.
        at_most: upper end of the 95 % interval of the drop: what other pictures of the kind may show.
        megabytes: of its files.
        allowed: whether the drop is within what may be given up.
    """

    name: str
    pictures_per_second: float
    top1: float
    drop: float
    at_most: float
    megabytes: float
    allowed: bool


def race(
    models: Mapping[str, Model], batches: Iterable[Batch], count: int
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Scores [count, classes] by each model, NaN where a picture could not be read, and pictures a second.

    The first batch is asked once more before, untimed, of each: engines set themselves up at their first.

    Raises:
        DataError: not one picture could be read.
    """
    scores = {name: np.full((count, len(model.classes)), np.nan, dtype=np.float32) for name, model in models.items()}
    speeds: dict[str, list[float]] = {name: [] for name in models}
    warm = False
    for batch in batches:
        if not len(batch):
            continue
        for name, model in models.items():
            if not warm:
                model.logits(batch.images)
            started = time.perf_counter()
            scores[name][batch.samples] = model.logits(batch.images).numpy()
            speeds[name].append(len(batch) / (time.perf_counter() - started))
        warm = True
    if not warm:
        raise DataError("not one of the pictures to measure accuracy on can be read: give JPEG, PNG or WebP files.")
    return scores, {name: float(np.median(found)) for name, found in speeds.items()}


def table(
    right: Mapping[str, np.ndarray], speeds: Mapping[str, float], megabytes: Mapping[str, float], allowed_drop: float
) -> list[Row]:
    """Rows in the order of `right`, whose first is the model that the others are measured against.

    Args:
        right: whether each picture is answered rightly, by each.
        allowed_drop: percentage points.
    """
    reference = next(iter(right.values()))
    rows = []
    for name, found in right.items():
        drop = round(100 * float(reference.mean() - found.mean()), 9)  # so that 1 point is 1 point
        at_most = -100 * difference_interval(reference, found)["low"]
        rows.append(Row(name, speeds[name], float(found.mean()), drop, at_most, megabytes[name], drop <= allowed_drop))
    return rows


def fastest(rows: Sequence[Row]) -> Row:
    """The fastest row that is allowed, the first (the model itself) aside; if none is, the one that loses least."""
    exports = rows[1:]
    allowed = [row for row in exports if row.allowed]
    if not allowed:
        return min(exports, key=lambda row: row.drop)
    return max(allowed, key=lambda row: row.pictures_per_second)
