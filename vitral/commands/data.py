"""Is a folder of pictures sound? `vitral data check PICTURES`: counts, sizes, unreadable, duplicates, leaks."""

from __future__ import annotations

import argparse
from typing import Any

from vitral.commands.shared_options import DATA, SHORT, add_settings, given
from vitral.console import Screen
from vitral.registry import look_up

FAIL_ON = {
    # what --fail-on names: the fields of the report that must then be empty
    "leak": ("leaks",),
    "unreadable": ("unreadable",),
    "conflict": ("conflicts",),
    "any": ("leaks", "unreadable", "conflicts"),
}


def options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("action", metavar="check", help="what to do")
    parser.add_argument("pictures", metavar="PICTURES", help="folder or table of pictures")
    parser.add_argument("--fail-on", metavar="|".join(FAIL_ON), help="exit with 65 if such a problem is found")
    add_settings(parser, {"--workers": SHORT["--workers"]})
    add_settings(parser.add_argument_group("data"), DATA)


def call(arguments: argparse.Namespace, screen: Screen) -> tuple[int, dict[str, Any]]:
    """Check; the document is the whole report."""
    look_up("data action", arguments.action, {"check": None})
    forbidden = look_up("problem", arguments.fail_on, FAIL_ON) if arguments.fail_on else ()
    from vitral.config import DataConfig, RuntimeConfig
    from vitral.checks import check
    from vitral.datasets import read
    from vitral.evaluation import threads
    from vitral.overrides import override

    settings = given(arguments, "data.", "runtime.")
    changes = {name.removeprefix("data."): value for name, value in settings.items() if name.startswith("data.")}
    config = override(DataConfig(path=arguments.pictures, validation_fraction=0.0), changes)
    dataset = read(config)
    screen.progress("looking at every picture")
    runtime = override(RuntimeConfig(), {n.removeprefix("runtime."): v for n, v in settings.items() if "runtime." in n})
    report = check(dataset, threads(runtime.workers), config.max_pixels)
    screen.end_progress()
    document = report.to_json()
    notes = [note for note in dataset.notes if not note.startswith("no validation split")]  # nothing is trained here
    for sentence in (*notes, *_census(document)):
        screen.decide(sentence)
    rows = [(name, f"{len(found):,}", f"{sum(found.values()):,}") for name, found in document["counts"].items()]
    screen.table(("split", "classes", "pictures"), rows, right=(1, 2))
    for sentence in (*dataset.warnings, *document["problems"]):
        screen.warn(sentence)
    if not dataset.warnings and not document["problems"]:
        screen.result("no problem found")
    return (65 if any(document[name] for name in forbidden) else 0), document


def _census(document: dict[str, Any]) -> list[str]:
    """Sizes, formats and colour modes in one sentence each."""
    said = []
    if document["width"] is not None:
        (low, middle, high), (shortest, median, tallest) = document["width"], document["height"]
        said.append(f"width {low} to {high} (median {middle}), height {shortest} to {tallest} (median {median}) pixels")
    for name in ("formats", "modes"):
        said.append(f"{name}: " + ", ".join(f"{count:,} {kind}" for kind, count in document[name].items()))
    return said
