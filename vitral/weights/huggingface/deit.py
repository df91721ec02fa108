"""Transformers' distilled DeiTs: `DeiTForImageClassificationWithTeacher`, and `DeiTForImageClassification`, whose
distillation token has no head. (A DeiT without the token is of model type "vit".)"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitral.models.deit import DistilledConfig
from vitral.weights.huggingface.blocks import ATTENTION, LAYERS, MLP, block, is_in_memory, prefix_of, renamed
from vitral.weights.huggingface.published import class_count, require_fixed
from vitral.weights.huggingface.vit import encoder, sizes
from vitral.weights.mapping import Entry, same
from vitral.weights.stored import Stored

MODEL_TYPES = ("deit",)


def configuration(published: Mapping[str, Any], stored: Stored) -> tuple[DistilledConfig, dict[str, str]]:
    """The network, and tensors left out with the reasons."""
    require_fixed(published)
    teacher = "distillation_classifier.weight" in stored.shapes
    count = class_count(published, stored, "cls_classifier.weight" if teacher else "classifier.weight")
    reason = "the classifiers look past it"
    left_out = {name: reason for name in stored.shapes if name.removeprefix("deit.").startswith("pooler.")}
    return DistilledConfig(**encoder(published), num_classes=count, teacher=teacher), left_out


def entries(config: DistilledConfig, stored: Stored | None) -> list[Entry]:
    """Transformers' name for each parameter."""
    prefix = prefix_of(stored, "deit.")
    found = [Entry("class_token", (f"{prefix}embeddings.cls_token",))]
    found += [Entry("distillation_token", (f"{prefix}embeddings.distillation_token",))]
    found += [Entry("position_embedding", (f"{prefix}embeddings.position_embeddings",))]
    found += same("patch_embedding", f"{prefix}embeddings.patch_embeddings.projection")
    for i in range(config.depth):
        found += block(f"blocks.{i}", f"{prefix}encoder.layer.{i}")
    found += same("norm", f"{prefix}layernorm")
    if config.teacher:
        found += same("head", "cls_classifier") + same("distillation_head", "distillation_classifier")
    else:
        found += same("head", "classifier")
    return renamed(found, (*LAYERS, *ATTENTION, *MLP)) if is_in_memory(stored) else found


def written(config: DistilledConfig, _: bool) -> dict[str, Any]:
    """The part of config.json that describes the network."""
    name = "DeiTForImageClassification" + ("WithTeacher" if config.teacher else "")
    return {"architectures": [name], "model_type": "deit", **sizes(config)}
