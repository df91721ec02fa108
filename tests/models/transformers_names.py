"""The Transformers library's names of ViTs in memory, brought to vitral's: what tests of several families share."""

from __future__ import annotations

import re

import torch

BLOCK = {
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "attention.o_proj": "attention.out",
    "layer_scale1.lambda1": "scale1",
    "layer_scale2.lambda1": "scale2",
    "mlp.down_proj": "mlp.w3",
}
TOP = {
    r"embeddings\.cls_token": "class_token",
    r"embeddings\.distillation_token": "distillation_token",
    r"embeddings\.register_tokens": "registers",
    r"embeddings\.position_embeddings": "position_embedding",
    r"embeddings\.patch_embeddings\.projection": "patch_embedding",
    r"layernorm": "norm",
}


def perturbed(model: torch.nn.Module) -> torch.nn.Module:
    """The model with random numbers of about its own size in every parameter, in evaluation mode."""
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return model.eval()


def translated(state: dict[str, torch.Tensor], model: str, others: dict[str, str]) -> dict[str, torch.Tensor]:
    """Tensors under vitral's names.

    Args:
        model: what the names of tokens and blocks begin with.
        others: vitral's names by theirs, of layers that come after.
    """
    found: dict[str, torch.Tensor] = {}
    for name, value in state.items():
        if name.endswith("mask_token") and name.startswith(model):
            continue
        layer = re.fullmatch(re.escape(model) + r"\.(?:encoder\.)?layers?\.(\d+)\.(.+)", name)
        if layer:
            ours = layer[2]
            for theirs, replacement in BLOCK.items():
                ours = ours.replace(theirs, replacement)
            found[f"blocks.{layer[1]}.{ours}"] = value
            continue
        ours = name
        for theirs, replacement in TOP.items():
            ours = re.sub(rf"^{re.escape(model)}\.{theirs}", replacement, ours)
        for theirs, replacement in others.items():
            ours = re.sub(rf"^{theirs}", replacement, ours)
        found[ours] = value
    return joined(joined(found, r"attention\.([qkv])_proj", "attention.qkv"), r"mlp\.(gate|up)_proj", "mlp.w12")


def joined(state: dict[str, torch.Tensor], parts: str, whole: str) -> dict[str, torch.Tensor]:
    """Those whose names match `parts` stacked, in their order, under `whole`."""
    found: dict[str, list[torch.Tensor]] = {}
    for name, value in state.items():
        found.setdefault(re.sub(parts, whole, name), []).append(value)
    return {name: torch.cat(values) if len(values) > 1 else values[0] for name, values in found.items()}
