"""Training recipes as values: the papers' tables, each with its source and the score to expect, one file per paper;
and presets that look at the data first.

A recipe is the starting point of a `RunConfig`; every value can be overridden by its option.
"""

from __future__ import annotations

from vitral.presets import finetune, scratch_small
from vitral.recipes import augreg, bit, deit, deit3, frozen, mae, plain, pretraining, study, vit
from vitral.recipes.recipe import Grid, Recipe

__all__ = ["RECIPES", "Grid", "Recipe"]

RECIPES: dict[str, Recipe] = {
    "finetune": Recipe(
        "AdamW with layer-wise decay, after arXiv 2106.08254 and 2111.06377",
        "depends on the pictures",
        choose=finetune,
        tries_precision=True,
    ),
    "scratch-small": Recipe(
        "a small hybrid (arXiv 2010.11929, section 3.1) with early convolutions (arXiv 2106.14881)",
        "depends on the pictures",
        choose=scratch_small,
        tries_precision=True,
    ),
    **frozen.RECIPES,
    **vit.RECIPES,
    **augreg.RECIPES,
    **plain.RECIPES,
    **bit.RECIPES,
    **deit.RECIPES,
    **deit3.RECIPES,
    **mae.RECIPES,
    **pretraining.RECIPES,
    **study.RECIPES,
}
