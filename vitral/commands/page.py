"""The page that `evaluate --report` writes."""

from __future__ import annotations

import argparse
import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitral.commands.measuring import Labelled
from vitral.console import Screen
from vitral.version import VERSION

if TYPE_CHECKING:
    from vitral.evaluators.classification import Evaluation
    from vitral.serving.predictor import Model


def write_page(
    path: Path,
    arguments: argparse.Namespace,
    model: Model,
    chosen: Labelled,
    result: Evaluation,
    document: dict[str, Any],
    screen: Screen,
) -> None:
    """Write the page of an evaluation, with its pictures.

    Args:
        document: what `evaluate --json` prints.

    Raises:
        StorageError: it could not be written; an older one is untouched.
    """
    from vitral.gallery import gallery
    from vitral.reports import evaluated
    from vitral.reports.frame import save
    from vitral.reports.record import Record

    dataset = chosen.dataset
    record = Record(
        name=f"{_name(arguments.model)} on {dataset.name}",
        config={"data": {"path": chosen.config.path, "multi_label": model.multi_label}},
        environment=_environment(arguments, model, chosen),
        training=[],
        evaluations=[],
        speeds=[],
        measured={chosen.name: document, "calibration": model.metrics.get("calibration", {})},
        gaps={},
        examples=gallery(model, chosen.split, result, chosen.name, dataset.root, chosen.config.max_pixels),
        unreadable=document["unreadable_pictures"],
        descriptions=model.descriptions,
    )
    save(evaluated.render(record), path)
    screen.result(f"report: {path}")


def _name(model: str) -> str:
    """What the model is called; every run calls its model folder "model", so there it is the run's name."""
    path = Path(model).resolve() if Path(model).exists() else Path(model)
    in_run = path.name == "model" and (path.parent / "config.json").is_file()
    return path.parent.name if in_run else path.name


def _environment(arguments: argparse.Namespace, model: Model, chosen: Labelled) -> dict[str, Any]:
    import torch

    from vitral.datasets.fingerprint import fingerprint
    from vitral.models import family_of

    height, width = model.network.config.image_size
    return {
        "vitral": VERSION,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": str(model.device),
        "cores": os.cpu_count(),
        "command": list(arguments.command),
        "decisions": list(chosen.dataset.notes),
        "warnings": list(chosen.dataset.warnings),
        "classes": len(model.classes),
        "kind": f"{family_of(model.network.config)} network, input {height}x{width}",
        "pictures": fingerprint(chosen.split, chosen.dataset.root),
        "weights": _checksum(arguments.model),
    }


def _checksum(model: str) -> str | None:
    """The checksum that a model folder of vitral's has of its weights."""
    from vitral.weights.folder import is_ours
    from vitral.weights.json_files import read_object

    config = Path(model) / "config.json"
    found = read_object(config) if config.is_file() else {}
    return str(found["checksum"]) if is_ours(found) and found.get("checksum") else None
