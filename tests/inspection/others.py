"""Models of the Transformers library on random weights, read by vitral: the oracle of what attention does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests import peers
from vitral.serving.loading import load
from vitral.serving.predictor import Model

SMALL = {
    "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64, "image_size": 16,
    "patch_size": 4, "id2label": {0: "ant", 1: "bee", 2: "cow"}, "attn_implementation": "eager",
}  # fmt: skip
DINO = {name: value for name, value in SMALL.items() if name != "intermediate_size"} | {"mlp_ratio": 2}

KINDS: dict[str, Any] = {
    "vit": lambda t: t.ViTForImageClassification(t.ViTConfig(**SMALL)),
    "not square": lambda t: t.ViTForImageClassification(t.ViTConfig(**{**SMALL, "image_size": [12, 20]})),
    "two tokens": lambda t: t.DeiTForImageClassificationWithTeacher(t.DeiTConfig(**SMALL)),
    "registers": lambda t: t.Dinov2WithRegistersForImageClassification(
        t.Dinov2WithRegistersConfig(**DINO, num_register_tokens=3)
    ),
    "beit": lambda t: t.BeitForImageClassification(t.BeitConfig(**SMALL, use_relative_position_bias=True)),
}
"""Each kind of tokens, with the library's network."""


def read_row(kind: str, matrix: np.ndarray, patches: int) -> np.ndarray:
    """What of [t, t] the head reads: a row of the class token, of both tokens, or the patches' mean."""
    mean = matrix[-patches:].mean(axis=0)
    return {"two tokens": matrix[:2].mean(axis=0), "registers": (matrix[0] + mean) / 2, "beit": mean}.get(
        kind, matrix[0]
    )


def both(kind: str, folder: Path) -> tuple[Any, Model]:
    """The library's network and vitral's, with the same numbers, which are large enough to matter."""
    try:
        library = peers.transformers_library()
        torch.manual_seed(0)
        theirs = KINDS[kind](library).eval()
    except (peers.PeerUnavailable, ImportError) as error:
        pytest.skip(str(error))
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.15)
    theirs.save_pretrained(folder)
    height, width = (12, 20) if kind == "not square" else (16, 16)
    processor = {"image_processor_type": "ViTImageProcessor", "size": {"height": height, "width": width},
                 "resample": 3, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return theirs, load(folder)
