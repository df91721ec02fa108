"""Training recipes as values: the papers' tables, each with its source and the score to expect, one file per paper;
and presets that look at the data first.

A recipe is the starting point of a `RunConfig`; every value can be overridden by its option.
"""

from __future__ import annotations

from vitral.presets import finetune, scratch_small
from vitral.recipes import augreg, bit, deit, deit3, frozen, mae, plain, vit
from vitral.recipes.recipe import Grid, Recipe

__all__ = ["RECIPES", "Grid", "Recipe"]

RECIPES: dict[str, Recipe] = {
    "finetune": Recipe(
        "AdamW with layer-wise decay, after arXiv 2106.08254 and 2111.06377", "depends on the pictures", choose=finetune
    ),
    "scratch-small": Recipe("after arXiv 2112.13492 and 2205.01580", "depends on the pictures", choose=scratch_small),
    **frozen.RECIPES,
    **vit.RECIPES,
    **augreg.RECIPES,
    **plain.RECIPES,
    **bit.RECIPES,
    **deit.RECIPES,
    **deit3.RECIPES,
    **mae.RECIPES,
}
