"""List the training recipes with their sources, or show one: what it sets otherwise than the defaults."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from vitral.console import Screen

if TYPE_CHECKING:
    from vitral.recipes import Grid, Recipe


def options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="show one, like table4-cifar")


def call(arguments: argparse.Namespace, screen: Screen) -> tuple[int, Any]:
    """List or show."""
    from vitral.overrides import to_json
    from vitral.recipes import RECIPES
    from vitral.registry import look_up

    if not arguments.name:
        _list(RECIPES, screen)
        return 0, [_row(name, recipe) for name, recipe in RECIPES.items()]
    recipe = look_up("recipe", arguments.name, RECIPES, "vitral recipes")
    _show_one(arguments.name, recipe, screen)
    return 0, _row(arguments.name, recipe) | {"config": to_json(recipe.config) if recipe.config else None}


def _row(name: str, recipe: Recipe) -> dict[str, Any]:
    known = {"name": name, "source": recipe.source, "expected": recipe.expected, "note": recipe.note}
    return known | {"grid": _grid(recipe.grid)}


def _grid(grid: Grid | None) -> dict[str, Any] | None:
    """What `--lr-grid` tries."""
    if grid is None:
        return None
    return {"learning_rates": list(grid.rates), "durations": [str(duration) for duration, _ in grid.lengths]}


def _list(recipes: dict[str, Recipe], screen: Screen) -> None:
    """One table per source."""
    for source in dict.fromkeys(recipe.source for recipe in recipes.values()):
        screen.result(f"\n{source}")
        rows = [(name, _what(recipe), recipe.expected) for name, recipe in recipes.items() if recipe.source == source]
        screen.table(("recipe", "model, length", "expected"), rows)
    screen.say("\n`vitral recipes NAME` shows one; `vitral train PICTURES --recipe NAME` trains by it.")


def _what(recipe: Recipe) -> str:
    """Which model it trains, and for how long."""
    if recipe.config is None:
        return "chosen from the pictures"
    return f"{recipe.config.model.name or 'any'}, {recipe.config.schedule.duration}"


def _show_one(name: str, recipe: Recipe, screen: Screen) -> None:
    from vitral.config import RunConfig
    from vitral.overrides import values

    screen.result(name)
    screen.say(f"source    {recipe.source}\nexpected  {recipe.expected}")
    if recipe.note:
        screen.say(recipe.note)
    grid = _grid(recipe.grid)
    if grid is not None:
        lengths = f", each for {' and '.join(grid['durations'])}" if grid["durations"] else ""
        screen.say(f"--lr-grid tries {', '.join(f'{rate:g}' for rate in grid['learning_rates'])}{lengths}")
    if recipe.config is None:
        screen.say("Its values are chosen from the pictures and said at the start of a run.")
        return
    defaults = values(RunConfig())
    set_here = {key: value for key, value in values(recipe.config).items() if value != defaults[key]}
    rows = [(key, _said(value), _said(defaults[key])) for key, value in set_here.items()]
    screen.table(("setting", "value", "default"), rows)
    screen.say("Every other setting has its default; --json shows them all, --SETTING VALUE changes one.")


def _said(value: Any) -> str:
    """A value as the command line takes it."""
    if value is None or value == ():
        return "–"
    return "x".join(map(str, value)) if isinstance(value, tuple) and isinstance(value[0], int) else str(value)
