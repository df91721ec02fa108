"""Train a model from scratch on a folder or table of pictures."""

from __future__ import annotations

import argparse
from typing import Any

from vitral.commands import training
from vitral.console import Screen


def options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    training.options(parser, recipe="scratch-small")


def call(arguments: argparse.Namespace, screen: Screen) -> tuple[int, dict[str, Any]]:
    """Train."""
    return training.call(arguments, screen, "train")
