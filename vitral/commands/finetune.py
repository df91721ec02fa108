"""Adapt a pretrained model to a folder or table of pictures."""

from __future__ import annotations

import argparse
from typing import Any

from vitral.commands import training
from vitral.console import Screen


def options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    training.options(parser, recipe="finetune")
    parser.add_argument(
        "--lr-grid", nargs="?", const=(), metavar="RATES",
        help="try learning rates on held-out pictures (alone: the recipe's; or like .001,.003,.01), then train on all "
        "pictures with the best",
    )  # fmt: skip


def call(arguments: argparse.Namespace, screen: Screen) -> tuple[int, dict[str, Any]]:
    """Fine-tune."""
    return training.call(arguments, screen, "finetune")
