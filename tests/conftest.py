"""Shapes in signatures are checked while testing, and nowhere else."""

from __future__ import annotations

import os

from jaxtyping import install_import_hook

CHECKED = (
    *(f"vitral.models.{name}" for name in ("vit", "deit", "layerscale", "mae", "masked_autoencoder", "beit", "swin")),
    *(f"vitral.models.{name}" for name in ("relative_positions", "hybrid", "compact", "bit", "mixer")),
    *(f"vitral.models.{name}" for name in ("positions", "positioned", "masked_patch")),
    "vitral.training.losses", "vitral.training.distillation", "vitral.data.mixing", "vitral.data.preprocessing",
    "vitral.data.batched",
)  # fmt: skip

if "PYTEST_XDIST_WORKER" in os.environ:  # a process per core; with more threads than cores each waits for the others
    os.environ.setdefault("OMP_NUM_THREADS", "1")

os.environ["HF_HUB_OFFLINE"] = "1"  # no test asks the network; those of downloads have a server of their own
os.environ["HF_HUB_CACHE"] = "/nowhere"  # nor what this machine has fetched before

install_import_hook(CHECKED, "beartype.beartype")
