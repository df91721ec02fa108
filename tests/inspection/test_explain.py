"""Maps of pictures: equal to formulas written out from other libraries' matrices, for every kind of network."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.pictures import picture
from vitral.config import Preprocessing
from vitral.inspection.explain import explain, methods_for
from vitral.models import create_model
from vitral.serving.predictor import Model

SMALL = {"width": 16, "depth": 2, "mlp_dim": 32, "num_heads": 2, "num_classes": 3}


def small(name: str, size: tuple[int, int], **changes: object) -> Model:
    torch.manual_seed(0)
    network = create_model(name, image_size=size, **changes)
    for head in network.HEADS:
        torch.nn.init.normal_(network.get_parameter(f"{head}.weight"))
    return Model(network, Preprocessing(size, size), ["blue", "green", "red"])


KINDS = {
    # name: (variant, size in pixels, what is changed)
    "ViT, not square": ("ViT-Ti/4", (12, 20), SMALL),
    "ViT, mean of the patches": ("ViT-Ti/4", (8, 12), {**SMALL, "pool": "gap"}),
    "ViT, attention pooling": ("ViT-Ti/4", (8, 12), {**SMALL, "pool": "map"}),
    "ViT, fixed positions": ("ViT-Ti/4", (8, 12), {**SMALL, "positions": "sincos2d"}),
    "DeiT, two tokens": ("DeiT-Ti-distilled/16", (16, 32), SMALL),
    "DINOv2, registers": ("DINOv2-S/14", (14, 28), {**SMALL, "registers": 4, "pool": "token_mean"}),
    "MAE": ("MAE-B/16", (16, 32), SMALL),
    "BEiT": ("BEiT-B/16", (16, 32), SMALL),
    "hybrid": ("R+ViT-Ti/16", (32, 64), SMALL),
    "Swin": ("Swin-T", (32, 64), {"num_classes": 3, "width": 8, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 2, 2)}),
    "Mixer": ("Mixer-S/32", (32, 64), {"num_classes": 3, "depth": 1}),
    "ResNet": ("ResNet-50", (32, 64), {"num_classes": 3, "blocks": (1, 1, 1, 1)}),
    "BiT": ("BiT-R50x1", (32, 64), {"num_classes": 3, "blocks": (1, 1, 1, 1)}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_fitting_method_gives_a_map_of_the_input(kind: str) -> None:
    name, size, changes = KINDS[kind]
    model = small(name, size, **changes)
    for method in methods_for(model.network):
        heat = explain(model, picture("red", 1, (50, 40)), method)
        assert heat.shape == size, method
        assert heat.dtype == np.float32
        assert heat.min() >= 0, method
        assert heat.max() in (0, 1), method
