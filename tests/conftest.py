"""Shapes in signatures are checked while testing, and nowhere else."""

from __future__ import annotations

import os

from jaxtyping import install_import_hook

CHECKED = (
    "vitral.models.vit",
    "vitral.models.beit",
    "vitral.models.masked_image_model",
    "vitral.models.swin",
    "vitral.models.relative_positions",
)
CHECKED += ("vitral.training.losses", "vitral.data.mixing", "vitral.data.preprocessing")

os.environ["HF_HUB_OFFLINE"] = "1"  # no test asks the network; those of downloads have a server of their own

install_import_hook(CHECKED, "beartype.beartype")
