"""Shapes in signatures are checked while testing, and nowhere else."""

from __future__ import annotations

import os

from jaxtyping import install_import_hook

CHECKED = (
    "vitral.models.vit", "vitral.models.hybrid", "vitral.models.bit", "vitral.models.mixer", "vitral.training.losses", "vitral.data.mixing", "vitral.data.preprocessing",
)  # fmt: skip

os.environ["HF_HUB_OFFLINE"] = "1"  # no test asks the network; those of downloads have a server of their own
os.environ["HF_HUB_CACHE"] = "/nowhere"  # nor what this machine has fetched before

install_import_hook(CHECKED, "beartype.beartype")
