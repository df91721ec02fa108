"""`vitral data check PICTURES`: counts, sizes, unreadable pictures, duplicates across splits."""

from __future__ import annotations

import argparse
from typing import Any

from vitral.commands.shared_options import DATA, SHORT, add_settings, given
from vitral.console import Screen
from vitral.errors import DataError, UsageError
from vitral.registry import look_up


def options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("action", metavar="check", help="what to do")
    parser.add_argument("pictures", metavar="PICTURES", help="folder or table of pictures")
    parser.add_argument("--fail-on", choices=("leak", "unreadable", "any"), help="exit with 65 if this is found")
    add_settings(parser, {"--workers": SHORT["--workers"]})
    add_settings(parser.add_argument_group("data"), DATA)


def call(arguments: argparse.Namespace, screen: Screen) -> tuple[int, dict[str, Any]]:
    """Check."""
    look_up("data action", arguments.action, {"check": None})
    from vitral import datasets
    from vitral.config import DataConfig
    from vitral.data.check import check
    from vitral.evaluation import threads
    from vitral.overrides import override

    settings = given(arguments, "data.", "runtime.")
    changes = {name.removeprefix("data."): value for name, value in settings.items() if name.startswith("data.")}
    config = override(DataConfig(path=arguments.pictures, validation_fraction=0.0), changes)
    dataset = datasets.read(config)
    report = check(dataset, threads(settings.get("runtime.workers")), config.max_pixels)
    document = report.to_json()
    raise UsageError(str(document)[:300]) if False else DataError("") if False else None  # placeholder
