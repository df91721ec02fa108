"""List the training recipes with their sources, or show one: what it sets otherwise than the defaults."""

from __future__ import annotations

import argparse
from dataclasses import replace
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
    return known | {"cost": recipe.cost, "pictures": recipe.pictures, "grid": _grid(recipe.grid)}


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
    from vitral.overrides import said, values

    screen.result(name)
    screen.say(f"source    {recipe.source}\nexpected  {recipe.expected}")
    for sentence in _costs(recipe):
        screen.say(f"cost      {sentence}")
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
    rows = [(key, said(value), said(defaults[key])) for key, value in set_here.items()]
    screen.table(("setting", "value", "default"), rows)
    screen.say("Every other setting has its default; --json shows them all, --SETTING VALUE changes one.")


def _costs(recipe: Recipe) -> list[str]:
    """What the authors say that it took, and what its passes compute."""
    made = [f"{recipe.cost}, as the authors say"] if recipe.cost else []
    compute = computation(recipe)
    if compute is not None:
        operations, pictures = compute
        made.append(
            f"{operations / 1e18:.3g} exaFLOPs: 6 for each multiplication of the network, forward and back, for "
            f"{pictures:,.0f} pictures"
        )
    return made


def computation(recipe: Recipe) -> tuple[float, float] | None:
    """Operations of a whole run, and the pictures that it shows; `None` where the network or the data is left open.

    A multiplication with its addition are two operations, and the backward pass twice the forward (the rule that
    Table 6 of arXiv 2010.11929 follows).
    """
    from vitral.models.counting import parts_of
    from vitral.planning import model_config

    config = recipe.config
    if config is None or recipe.pictures is None or config.model.name is None:
        return None
    duration = config.schedule.duration
    shown = duration.amount * (recipe.pictures if duration.unit == "epochs" else config.training.batch_size)
    sized = replace(config, model=replace(config.model, image_size=config.preprocessing.crop))
    macs = sum(part.macs for part in parts_of(model_config(sized, 1000)))
    return 6 * macs * shown, shown
