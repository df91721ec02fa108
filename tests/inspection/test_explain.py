"""Maps of pictures: equal to formulas written out from other libraries' matrices, for every kind of network."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.pictures import picture
from vitral.commands import inspect
from vitral.config import Preprocessing
from vitral.errors import UsageError
from vitral.inspection.colours import ANCHORS, colours, overlay
from vitral.inspection.explain import METHODS, explain, methods_for
from vitral.models import create_model
from vitral.reports import inspection_viewer
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
    "compact hybrid": ("Compact-R6/8", (16, 24), {**SMALL, "stem": 8, "stages": (8, 16)}),
    "Swin": ("Swin-T", (32, 64), {"num_classes": 3, "width": 8, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 2, 2)}),
    "Mixer": ("Mixer-S/32", (32, 64), {"num_classes": 3, "depth": 1}),
    "ResNet": ("ResNet-50", (32, 64), {"num_classes": 3, "blocks": (1, 1, 1, 1)}),
    "BiT": ("BiT-R50x1", (32, 64), {"num_classes": 3, "blocks": (1, 1, 1, 1)}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_fitting_method_gives_a_map_of_the_input(kind: str) -> None:
    name, size, changes = KINDS[kind]
    model = small(name, size, **changes)
    fitting = methods_for(model.network)
    for method in fitting if kind == "ViT, not square" else fitting[:-1]:  # occlusion asks every network the same way
        heat = explain(model, picture("red", 1, (50, 40)), method)
        assert heat.shape == size, method
        assert heat.dtype == np.float32
        assert heat.min() >= 0, method
        assert heat.max() in (0, 1), method


def test_the_class_that_is_asked_about_decides_the_map() -> None:
    model = small("ViT-Ti/4", (12, 20), **SMALL)
    one, other = (explain(model, picture("red", 1), "relevance", label=label) for label in ("blue", "red"))
    assert not np.allclose(one, other)
    own = model.predict(picture("red", 1))[0].label
    assert np.array_equal(explain(model, picture("red", 1), "relevance"), one if own == "blue" else other if own == "red"
                          else explain(model, picture("red", 1), "relevance", label=own))  # fmt: skip


@pytest.mark.parametrize(
    ("name", "asked", "said"),
    [
        ("ViT-Ti/4", {"method": "rolout"}, "did you mean rollout"),
        ("ViT-Ti/4", {"label": "gren"}, "did you mean green"),
        ("ViT-Ti/4", {"method": "rollout", "head": 1}, "rollout has no head"),
        ("ViT-Ti/4", {"method": "gradcam", "layer": 1}, "take rollout or attention"),
        ("ViT-Ti/4", {"method": "attention", "layer": 2}, "layer must be 0 to 1"),
        ("Mixer-S/32", {"method": "rollout"}, "take gradcam or occlusion"),
    ],
)
def test_what_cannot_be_shown_is_refused_with_the_way_out(name: str, asked: dict[str, object], said: str) -> None:
    settings = SMALL if name == "ViT-Ti/4" else {"depth": 1, "num_classes": 3}
    model = small(name, (32, 32), **settings)
    with pytest.raises(UsageError, match=said):
        explain(model, picture("red", 1), **asked)  # type: ignore[arg-type]


def test_an_overlay_is_the_picture_the_map_and_what_lies_between() -> None:
    rng = np.random.default_rng(0)
    pixels, heat = rng.integers(0, 256, (5, 7, 3)).astype(np.uint8), rng.random((5, 7)).astype(np.float32)
    assert np.array_equal(overlay(pixels, heat, 0), pixels)
    assert np.array_equal(overlay(pixels, heat, 1), colours(heat))
    middle = (pixels.astype(float) + colours(heat).astype(float)) / 2
    assert np.abs(overlay(pixels, heat, 0.5) - middle).max() <= 0.5
    for wrong in ({"heat": heat[1:]}, {"opacity": 1.5}):
        with pytest.raises(UsageError):
            overlay(**{"pixels": pixels, "heat": heat, **wrong})  # type: ignore[arg-type]


def test_colours_become_lighter_from_0_to_1_and_take_anything() -> None:
    shown = colours(np.linspace(0, 1, 101)) / 255
    linear = np.where(shown <= 0.04045, shown / 12.92, ((shown + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]  # of sRGB, IEC 61966-2-1
    assert (np.diff(luminance) >= -1e-9).all()
    assert np.array_equal(colours(np.array([np.nan, -3.0, 9.0])), colours(np.array([0.0, 0.0, 1.0])))


def test_the_pages_colours_are_those_of_the_overlays() -> None:
    assert inspection_viewer.ANCHORS == ANCHORS
    assert set(inspection_viewer._SHOWS) == set(METHODS) == set(inspect.METHODS)
