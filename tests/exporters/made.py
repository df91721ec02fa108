"""A small model with everything that can go wrong in an export: not square, a temperature, odd names, a shift of
colours; and its folder."""

from __future__ import annotations

import numpy as np
import torch

from vitral.config import Preprocessing
from vitral.models.vit import VisionTransformer, ViTConfig
from vitral.serving.predictor import Model

NAMES = ["=sum(1)", "größe", "c"]


def small_model(seed: int = 0, **changes: object) -> Model:
    torch.manual_seed(seed)
    network = VisionTransformer(ViTConfig(4, 32, 1, 64, 2, (16, 8), 3, **changes))  # type: ignore[arg-type]
    torch.nn.init.normal_(network.head.weight)
    torch.nn.init.normal_(network.position_embedding)
    colours = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    preprocessing = Preprocessing((16, 8), 20, "bicubic", **colours)
    return Model(network, preprocessing, NAMES, metrics={"calibration": {"temperature": 1.7}})


def pixels(count: int, size: tuple[int, int] = (16, 8)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *size, 3)).astype(np.uint8)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Written out: exp(l) / sum exp(l), in double precision."""
    e = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)
