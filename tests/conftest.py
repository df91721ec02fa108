"""Shapes in signatures are checked while testing, and nowhere else."""

from __future__ import annotations

from jaxtyping import install_import_hook

CHECKED = ("vitral.models.vit", "vitral.training.losses", "vitral.data.mixing", "vitral.data.preprocessing")

install_import_hook(CHECKED, "beartype.beartype")
