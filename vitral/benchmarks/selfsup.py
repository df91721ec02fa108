"""Pre-training without labels against labels and nothing: section 4.6 of arXiv 2010.11929, and MAE."""

from __future__ import annotations

from typing import Any

from vitral.benchmarks.paper_points import PAPER, SELF_SUPERVISED
from vitral.benchmarks.scales import Scale
from vitral.benchmarks.study import TRANSFER, Member, Panel, Point, Published, Study
from vitral.recipes import RECIPES

GROUP = "selfsup"


def selfsup(scale: Scale) -> Study:
    """All are fine-tuned on the same few pictures in the same way, what is not pre-trained too; `none-longer` for as
    many examples as the others are pre-trained."""
    network = scale.unlabelled.settings
    return Study(
        name=GROUP,
        question="what is pre-training without labels worth?",
        members=(
            Member(GROUP, "none", GROUP, network, kind="none"),
            Member(GROUP, "none-longer", GROUP, {**network, **_longer(scale)}, kind="none"),
            Member(GROUP, "masked-patches", GROUP, {**network, **_masked_patches()}, kind="pictures"),
            Member(GROUP, "mae", GROUP, {**network, **_mae(scale)}, kind="pictures"),
            Member(GROUP, "supervised", GROUP, network),
        ),
        panels=(
            Panel(
                "pre-training", GROUP, "Fine-tuned on few pictures, by kind of pre-training", TRANSFER, base="none",
                published=Published(
                    {label: (Point(0, value),) for label, value in SELF_SUPERVISED.items()}, "", "ImageNet, ViT-B/16",
                    f"{PAPER}, section 4.6 and Table 5",
                ),
            ),
        ),
        fewshot=False,
        transfer=scale.longer,
    )  # fmt: skip


def _longer(scale: Scale) -> dict[str, Any]:
    config = RECIPES[scale.recipe].config
    assert config is not None
    return {"schedule.duration": config.schedule.duration, "schedule.warmup": config.schedule.warmup}


def _masked_patches() -> dict[str, Any]:
    """Section B.1.2: half of the patches corrupted, Adam."""
    own = {"pretraining.objective": "masked-patch", "pretraining.mask_ratio": 0.5}
    return {**own, "optimizer.name": "adam", "optimizer.weight_decay": 0.0}


def _mae(scale: Scale) -> dict[str, Any]:
    """Table 8 of arXiv 2111.06377: three quarters hidden, beta2 0.95, weight decay 0.05."""
    width, depth, heads = scale.decoder
    patch = scale.unlabelled.patch
    return {
        "model.name": f"MAE-mu/{patch}", "pretraining.objective": "mae", "pretraining.mask_ratio": 0.75,
        "pretraining.decoder_width": width, "pretraining.decoder_depth": depth, "pretraining.decoder_heads": heads,
        "optimizer.weight_decay": 0.05, "optimizer.beta2": 0.95,
    }  # fmt: skip
