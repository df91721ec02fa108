"""Write a model in another library's layout: its weights, class names and preprocessing, checked bit for bit."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vitral.commands.shared_options import MODEL
from vitral.console import Screen

LAYOUTS = ("vitral", "timm", "huggingface", "google", "torchvision", "deit", "mae", "dinov2", "microsoft")
"""Keys of `vitral.weights.LAYOUTS`, for the help, which imports no torch."""

OTHER_WORDS = ("hf", "transformers", "npz", "google-npz")
"""Keys of `vitral.weights.conversion.ALIASES`, likewise."""

ALIASES = "hf and transformers mean huggingface, npz and google-npz mean google"
"""Of `vitral.weights.conversion`, likewise."""


def options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("model", metavar="MODEL", help=MODEL)
    parser.add_argument("--to", required=True, metavar="LAYOUT", help=f"one of {', '.join(LAYOUTS)}; {ALIASES}")
    parser.add_argument("--out", metavar="FOLDER", help="folder to write (default: MODEL-LAYOUT or RUN-LAYOUT, here)")
    parser.add_argument("--dry-run", action="store_true", help="do it all in a temporary folder, and only report")


def call(arguments: argparse.Namespace, screen: Screen) -> tuple[int, dict[str, Any]]:
    """Convert; the document holds the reports of what was read and of what was written."""
    import dataclasses

    from vitral.weights import read
    from vitral.weights.conversion import convert, layout_named

    layout = layout_named(arguments.to)
    pretrained = read(arguments.model)
    folder = Path(arguments.out or f"{name_beside(arguments.model)}-{layout}")
    loaded, written = convert(
        pretrained,
        layout,
        None if arguments.dry_run else folder,
        lambda to, said: _card(pretrained, folder.name, to, said),
    )
    for line in loaded.lines():
        screen.decide(line)
    for line in written.lines():
        screen.decide(line)
    for line in written.losses():
        screen.warn(line)
    screen.result(f"{folder} would be written" if arguments.dry_run else f"{layout} folder  {folder}")
    return 0, {
        "folder": str(folder),
        "written": not arguments.dry_run,
        "read": dataclasses.asdict(loaded),
        "write": dataclasses.asdict(written),
    }


def name_beside(model: str) -> str:
    """A name for what is written beside a model: of the folder, or of the file without its ending, or of the model.

    Every run calls its model folder "model", so there it is the run's name.
    """
    path = Path(model).resolve() if Path(model).exists() else Path(model.replace("/", "_"))
    if path.is_dir() and path.name == "model" and (path.parent / "config.json").is_file():
        path = path.parent
    return (path.name if path.is_dir() or not path.exists() else path.stem) or "model"


def _card(pretrained: Any, name: str, layout: str, said: Sequence[str]) -> str:
    from vitral.models import family_of
    from vitral.reports.card import model_card

    config = pretrained.config
    height, width = config.image_size
    source = f"{Path(pretrained.source).name} ({pretrained.layout} layout)"
    return model_card(
        name=name,
        classes=pretrained.classes or tuple(str(k) for k in range(config.num_classes)),
        metrics=pretrained.metrics,
        preprocessing=pretrained.preprocessing,
        model_description=f"A {family_of(config)} network, input {height}x{width}, converted from {source}",
        data_name="",
        recipe="",
        opens_in=layout,
        caveats=said,
        origin=_origin(Path(pretrained.source)) or f"That is said where {source} comes from.",
    )


def _origin(source: Path) -> str | None:
    """What the card of the original says of its training."""
    try:
        text = (source / "README.md").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
    found = re.search(r"^## What it was trained on\n+(.+?)\n+(?:## |\Z)", text, re.DOTALL | re.MULTILINE)
    return found[1] if found else None
