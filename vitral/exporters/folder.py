"""The folder of an export: whole and compared with the model, or not there.

model.onnx, model.xml + model.bin or model.pt2   the graph, with all that follows inside it too
preprocessing.json    from decoded pixels to the graph's input (mean and std are in the graph already)
classes.json          class names in the order of the scores
export.json           which file and format, precision, where it comes from, how it compared
example.py            how to use it without vitral
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vitral.data.preprocessing import to_json
from vitral.errors import UsageError
from vitral.exporters import EXPORTERS
from vitral.exporters.identity import identity
from vitral.exporters.options import Options
from vitral.exporters.parity import Parity, as_record, compare, require
from vitral.serving.exported import MARK
from vitral.serving.predictor import Model
from vitral.version import VERSION
from vitral.weights.aside import require_own, written_aside


@dataclass(frozen=True)
class Report:
    """What was written: the folder, its files with their bytes, and how the graph compared with the model."""

    folder: Path
    files: list[tuple[str, int]]
    parity: Parity
    record: dict[str, Any] = field(repr=False)


def supported(name: str, kind: str) -> None:
    """Refuse a precision that a format cannot have.

    Raises:
        UsageError: it cannot.
    """
    if kind not in EXPORTERS[name].kinds:
        able = [other for other, exporter in EXPORTERS.items() if kind in exporter.kinds]
        raise UsageError(
            f"{name} has no precision {kind} here (it has {', '.join(EXPORTERS[name].kinds)}): {kind} is for "
            f"{' and '.join(able)}."
        )


def export(
    model: Model,
    name: str,
    options: Options,
    folder: Path,
    source: Path,
    pixels: np.ndarray,
    limit: float | None = None,
    more: dict[str, Any] | None = None,
) -> Report:
    """Write a model as one graph.

    Args:
        name: a key of `EXPORTERS`.
        folder: to be made, or to be replaced if an earlier export of the same model made it.
        source: where the model comes from.
        pixels: [n, height, width, 3] uint8 on which the graph is compared with the model.
        limit: how far probabilities may be apart, in the place of the kind's own tolerance.
        more: further entries of export.json.

    Raises:
        UsageError: the format cannot have the precision or take the network, or something else stands at `folder`.
        DataError: the graph is another function. UnavailableError: a package is not installed.
        StorageError: it could not be written; what was there before is untouched.
    """
    supported(name, options.kind)
    require_own(folder, source, MARK, "export")
    exporter = EXPORTERS[name]
    with written_aside(folder) as aside:
        file = exporter.write(model, aside, options)
        parity = compare(model, exporter.open(file), pixels, options.kind, limit)
        require(parity, f"the {name} graph in {options.kind}")
        _write(aside / "preprocessing.json", to_json(model.preprocessing))
        classes = {"names": model.classes, "descriptions": model.descriptions, "multi_label": model.multi_label}
        _write(aside / "classes.json", classes)
        (aside / "example.py").write_text(Path(__file__).with_name("example.py").read_text(encoding="utf-8"), "utf-8")
        record = {
            "library": "vitral",
            "version": VERSION,
            "source": str(source),
            "model": identity(model),
            "format": name,
            "file": file.name,
            "precision": options.kind,
            "features": options.features,
            "parity": as_record(parity),
            **(more or {}),
            "files": sorted([MARK, *(path.name for path in aside.iterdir())]),
        }
        _write(aside / MARK, record)
        files = sorted((path.name, path.stat().st_size) for path in aside.iterdir())
    return Report(folder, files, parity, record)


def adopt(made: Report, folder: Path, more: dict[str, Any]) -> Report:
    """The very files of an export that was made elsewhere, with further entries in export.json.

    Raises:
        UsageError: something else stands at `folder`. StorageError: it could not be written.
    """
    require_own(folder, Path(made.record["source"]), MARK, "export")
    record = made.record | more
    with written_aside(folder) as aside:
        shutil.copytree(made.folder, aside, dirs_exist_ok=True)
        _write(aside / MARK, record)
        files = sorted((path.name, path.stat().st_size) for path in aside.iterdir())
    return Report(folder, files, made.parity, record)


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
