"""`vitral export --int8 auto`: every export that is installed, measured side by side; the fastest right one stays."""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitral.commands.measuring import labelled
from vitral.commands.shared_options import section
from vitral.console import Screen
from vitral.errors import DataError, UnavailableError, VitralError

if TYPE_CHECKING:
    import numpy as np

    from vitral.exporters.choice import Row
    from vitral.exporters.folder import Report
    from vitral.serving.predictor import Model

TRIED = (
    ("openvino", "int8-static", ("onnx", "onnxscript", "openvino", "nncf")),
    ("openvino", "float32", ("onnx", "onnxscript", "openvino")),
    ("onnx", "int8-dynamic", ("onnx", "onnxscript", "onnxruntime")),
    ("onnx", "float32", ("onnx", "onnxscript", "onnxruntime")),
)
"""Format, precision, and the packages that it needs."""

CALIBRATION = 300
"""Pictures on which int8 measures ranges, at most: NNCF's own default."""

CALIBRATED_SHARE = 4
"""One picture in so many measures ranges, up to `CALIBRATION`; accuracy is measured on all others."""

LEAST = 8
"""Pictures below which nothing can be measured."""

FEW = 500
"""Measured pictures below which half a point is hardly more than chance, which is said."""

TORCH = "torch float32"


def quantise(model: Model, arguments: argparse.Namespace, folder: Path, screen: Screen) -> Report:
    """Export in all ways into a temporary folder, measure, print the table, and keep one in `folder`.

    Raises:
        DataError: too few labelled pictures. UnavailableError: nothing to export with is installed.
    """
    from vitral.config import RuntimeConfig
    from vitral.evaluation import right_of, threads
    from vitral.exporters.choice import fastest, race, table
    from vitral.exporters.folder import adopt
    from vitral.overrides import override
    from vitral.serving.loading import load

    workers = threads(override(RuntimeConfig(), section(arguments, "runtime.")).workers)
    arguments.split = None  # test, else validation, else all
    data, _, shown, split, _ = labelled(model, arguments, screen)
    ranges, measured = _parts(len(split))
    screen.decide(f"{shown}: ranges from {len(ranges)} pictures, accuracy from the other {len(measured):,}")
    if len(measured) < FEW:
        screen.warn(
            f"{len(measured)} pictures measure {arguments.allowed_drop:g} points badly: {FEW} or more say more."
        )
    calibration = _pixels(model, [split.sources[i] for i in ranges], workers, data.max_pixels)
    with tempfile.TemporaryDirectory(prefix="vitral-") as temporary:
        made = _all(model, arguments, calibration, Path(temporary), screen)
        models = {TORCH: model} | {name: load(report.folder) for name, report in made.items()}
        sizes = {TORCH: _megabytes_of(model)} | {name: _megabytes(report) for name, report in made.items()}
        sources, labels = [split.sources[i] for i in measured], [split.labels[i] for i in measured]
        batches = model.batches(sources, _reader(model, data.max_pixels), workers)
        screen.progress(f"measuring {len(models)} of them on {len(measured):,} pictures", force=True)
        scores, speeds = race(models, batches, len(measured))
        screen.end_progress()
        right = {name: right_of(model, found, labels) for name, found in scores.items()}
        rows = table(right, speeds, sizes, arguments.allowed_drop)
        best = fastest(rows)
        _show(rows, best, len(measured), screen)
        if not best.allowed:
            screen.warn(f"none is within {arguments.allowed_drop:g} points: {best.name}, which loses least, is kept.")
        record = {
            "allowed_drop": arguments.allowed_drop,
            "pictures": len(measured),
            "of": str(arguments.pictures),
            "table": [dataclasses.asdict(row) for row in rows],
        }
        return adopt(made[best.name], folder, {"comparison": record})


def _parts(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the pictures that measure ranges, and of those that measure accuracy: never the same."""
    import numpy as np

    if count < LEAST:
        raise DataError(f"{count} labelled pictures are too few to measure anything: give {LEAST} or more.")
    order = np.random.default_rng(0).permutation(count)
    first = min(CALIBRATION, count // CALIBRATED_SHARE)
    return np.sort(order[:first]), np.sort(order[first:])


def _reader(model: Model, max_pixels: int) -> Callable[[Any], np.ndarray]:
    from vitral.data.decode import decode
    from vitral.data.preprocessing import prepare

    return lambda source: prepare(decode(source, max_pixels), model.preprocessing)


def _pixels(model: Model, sources: list[Any], workers: int, max_pixels: int) -> np.ndarray:
    import numpy as np

    found = [batch.images for batch in model.batches(sources, _reader(model, max_pixels), workers)]
    pixels = np.concatenate(found)
    if not len(pixels):
        raise DataError("not one of the pictures to measure ranges on can be read: give JPEG, PNG or WebP files.")
    return pixels


def _all(
    model: Model, arguments: argparse.Namespace, calibration: np.ndarray, place: Path, screen: Screen
) -> dict[str, Report]:
    """Every export that can be made; why others cannot is said."""
    from vitral.exporters import onnx
    from vitral.exporters.folder import export
    from vitral.exporters.options import Options

    made: dict[str, Report] = {}
    plain: Path | None = None
    for name, kind, packages in TRIED:
        missing = [package for package in packages if find_spec(package) is None]
        if missing:
            screen.decide(f"{name} {kind} is left out: {' and '.join(missing)} not installed")
            continue
        screen.progress(f"exporting {name} {kind}", force=True)
        try:
            (place / "plain").mkdir(exist_ok=True)
            plain = plain or onnx.write(model, place / "plain", Options("float32", arguments.features))
            options = Options(kind, arguments.features, calibration, plain)
            report = export(model, name, options, place / f"{name}-{kind}", Path(arguments.model), calibration[-32:])
        except VitralError as error:
            screen.decide(f"{name} {kind} is left out: {error}")
            continue
        made[f"{name} {kind}"] = report
    screen.end_progress()
    if not made:
        raise UnavailableError("there is nothing to export with: pip install 'vitral[openvino]' or 'vitral[onnx]'.")
    return made


def _megabytes(report: Report) -> float:
    return sum(size for _, size in report.files) / 1e6


def _megabytes_of(model: Model) -> float:
    return sum(value.numel() * value.element_size() for value in model.network.state_dict().values()) / 1e6


def _show(rows: list[Row], best: Row, count: int, screen: Screen) -> None:
    cells = [
        (
            row.name,
            f"{row.pictures_per_second:,.1f}",
            f"{row.pictures_per_second / rows[0].pictures_per_second:.2f}x",
            f"{row.top1:.2%}",
            f"{row.drop:+.2f}" if row is not rows[0] else "",
            f"{row.at_most:+.2f}" if row is not rows[0] else "",
            f"{row.megabytes:,.1f}",
            "chosen" if row is best else "" if row.allowed else "too lossy",
        )
        for row in rows
    ]
    columns = ("export", "pictures/s", "speed", "top-1", "lost", "at most", "MB", "")
    screen.say(
        f"on {count:,} held-out pictures, in batches of 32; points of top-1 lost, and at most by the 95% interval:"
    )
    screen.table(columns, cells, right=(1, 2, 3, 4, 5, 6))
