"""The card of a model folder that pre-training without labels left: README.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitral.config import Preprocessing, PretrainingConfig
from vitral.reports.card import learned_from, preparation
from vitral.reports.record import section
from vitral.reports.wording import counted, for_markdown, number, percent

OBJECTIVES = {
    "mae": (
        "masked autoencoding ([arXiv 2111.06377](https://arxiv.org/abs/2111.06377)): the encoder sees the patches that "
        "are not hidden, a small decoder makes the others' pixels"
    ),
    "masked-patch": (
        "masked patch prediction ([arXiv 2010.11929](https://arxiv.org/abs/2010.11929), section B.1.2): patches are "
        "corrupted, and the mean colour of each is to be named, one of 512"
    ),
}
"""In words, by their names in `PretrainingConfig`."""

_USE = """```bash
vitral finetune PICTURES --model path/to/this/folder
vitral probe path/to/this/folder PICTURES
```"""


def pretraining_card(
    name: str,
    model_description: str,
    metrics: Mapping[str, Any],
    preprocessing: Preprocessing,
    pretraining: PretrainingConfig,
    recipe: str,
) -> str:
    """The card as Markdown.

    Args:
        name: of the pictures.
        metrics: {"validation": {"loss", "count", perhaps "patch_accuracy"}}; may be empty.
    """
    words = OBJECTIVES[pretraining.objective]
    parts = [
        "---\nlibrary_name: vitral\npipeline_tag: image-feature-extraction\ntags:\n- vision-transformer\n- vitral\n---",
        f"# {for_markdown(name)}",
        f"{for_markdown(model_description)}, pre-trained without labels. It tells no classes apart: it is there to be "
        f"fine-tuned.",
        "## How it was pre-trained",
        f"By {words}. {percent(pretraining.mask_ratio, 0)} of the patches of each picture.",
        learned_from(name, recipe, metrics),
        "## Numbers",
        _numbers(section(metrics, "validation")),
        "## Preprocessing",
        preparation(preprocessing),
        "## How to use it",
        _USE,
        "## Limits",
        "- The numbers tell of hidden patches, not of classes; what the weights are good for is known once they are "
        "fine-tuned or probed.",
    ]
    return "\n\n".join(parts) + "\n"


def _numbers(found: Mapping[str, Any]) -> str:
    loss = number(found, "loss")
    if loss is None:
        return "Nothing was measured."
    pictures = counted(int(number(found, "count") or 0), "validation picture")
    right = number(found, "patch_accuracy")
    named = f"; {percent(right)} of the corrupted patches' colours are named rightly" if right is not None else ""
    return f"Loss {loss:.4f} on {pictures}{named}."
