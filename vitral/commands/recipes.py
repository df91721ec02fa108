"""List the training recipes with their sources, or show every value of one."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from vitral.console import Screen

if TYPE_CHECKING:
    from vitral.recipes import Grid


def options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="show one, like table4-cifar")


def call(arguments: argparse.Namespace, screen: Screen) -> tuple[int, Any]:
    """List or show."""
    from vitral.overrides import to_json, values
    from vitral.recipes import RECIPES
    from vitral.registry import look_up

    if not arguments.name:
        screen.table(("recipe", "source", "expected"), [(n, r.source, r.expected) for n, r in RECIPES.items()])
        return 0, [{"name": n, "source": r.source, "expected": r.expected} for n, r in RECIPES.items()]
    recipe = look_up("recipe", arguments.name, RECIPES)
    screen.say(f"{arguments.name}: {recipe.source}; expected: {recipe.expected}")
    grid = _grid(recipe.grid)
    if grid is not None:
        lengths = f", each for {' and '.join(grid['durations'])}" if grid["durations"] else ""
        screen.say(f"--lr-grid tries {', '.join(f'{rate:g}' for rate in grid['learning_rates'])}{lengths}")
    if recipe.config is None:
        screen.say("Its values are chosen from the pictures and said at the start of a run.")
    else:
        screen.table(("setting", "value"), [(name, str(value)) for name, value in values(recipe.config).items()])
    config = to_json(recipe.config) if recipe.config else None
    return 0, {"name": arguments.name, "source": recipe.source, "expected": recipe.expected, "config": config,
               "grid": grid}  # fmt: skip


def _grid(grid: Grid | None) -> dict[str, Any] | None:
    """What `--lr-grid` tries."""
    if grid is None:
        return None
    return {"learning_rates": list(grid.rates), "durations": [str(duration) for duration, _ in grid.lengths]}
