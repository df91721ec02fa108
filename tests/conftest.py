"""Shapes in signatures are checked while testing, and nowhere else."""

from __future__ import annotations

import os

from jaxtyping import install_import_hook

CHECKED = (
    *(f"vitral.models.{name}" for name in ("vit", "deit", "layerscale", "mae", "masked_autoencoder", "beit", "swin")),
    *(f"vitral.models.{name}" for name in ("relative_positions", "hybrid", "bit", "mixer")),
    "vitral.training.losses", "vitral.training.distillation", "vitral.data.mixing", "vitral.data.preprocessing",
)  # fmt: skip

os.environ["HF_HUB_OFFLINE"] = "1"  # no test asks the network; those of downloads have a server of their own
os.environ["HF_HUB_CACHE"] = "/nowhere"  # nor what this machine has fetched before

install_import_hook(CHECKED, "beartype.beartype")
