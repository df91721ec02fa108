"""Results draw themselves in a notebook, and networks of other libraries are looked into by what fits them."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.convolutional import timm
from tests.inspection.test_explain import SMALL, small
from tests.pictures import picture
from vitral import inspection
from vitral.config import Preprocessing
from vitral.errors import UsageError
from vitral.inspection.figures import draw_attention_examples, draw_methods
from vitral.inspection.methods import probability_of
from vitral.models import create_model
from vitral.serving.predictor import Model

VIEWS: dict[str, Any] = {
    "rollout": inspection.attention_rollout,
    "heads": inspection.attention_heads,
    "distance": inspection.attention_distance,
    "lengths": inspection.token_lengths,
    "layers": inspection.similarity_of_layers,
    "positions": lambda model, _: inspection.position_similarity(model.network),
}


@pytest.mark.parametrize("count", [1, 2, 3])
def test_no_word_of_a_figure_of_maps_is_cut_off(count: int) -> None:
    text = pytest.importorskip("matplotlib.text", reason="figures need matplotlib")
    pixels = np.zeros((count, 16, 16, 3), np.uint8)
    heats, names = np.ones((count, 16, 16)), ["bubbly"] * count
    methods = dict.fromkeys(("rollout", "attention", "relevance", "gradcam"), heats)
    for figure in (draw_attention_examples(pixels, heats, names), draw_methods(pixels, methods, names)):
        figure.canvas.draw()
        words = [t for t in figure.findobj(text.Text) if t.get_text() and t.get_visible()]
        assert len(words) > count
        boxes = np.array([word.get_window_extent().extents for word in words])
        assert (boxes[:, :2] > -1).all()
        assert (boxes[:, 2:] < np.array(figure.bbox.size) + 1).all()


@pytest.mark.parametrize("name", VIEWS)
def test_results_draw_themselves(name: str) -> None:
    if name != "rollout":
        pytest.importorskip("matplotlib", reason="figures need matplotlib")
    model = small("ViT-Ti/4", (12, 20), **SMALL)
    shown = VIEWS[name](model, [picture("red", 1), picture("blue", 2), picture("green", 3)])
    with Image.open(io.BytesIO(shown._repr_png_())) as drawn:
        assert np.asarray(drawn.convert("RGB")).std() > 0
        if name == "rollout":  # pairs of picture and map, two in a row
            assert drawn.size == (4 * 20, 2 * 12)


def test_a_view_of_several_pictures_is_that_of_each() -> None:
    model = small("ViT-Ti/4", (12, 20), **SMALL)
    pictures = [picture("red", 1), picture("blue", 2)]
    together = inspection.maps_of(model, pictures, "relevance", label="red")
    for i, one in enumerate(pictures):
        np.testing.assert_allclose(together.heat()[i], inspection.explain(model, one, "relevance", "red"), atol=1e-5)
    with pytest.raises(UsageError, match="at least one"):
        inspection.maps_of(model, [])


@pytest.mark.parametrize("name", ["timm:convnext_atto", "timm:swin_s3_tiny_224"])
def test_grad_cam_takes_the_features_of_timms_networks(name: str) -> None:
    timm()
    torch.manual_seed(0)
    network = create_model(name, num_classes=3)
    torch.nn.init.normal_(network.head.weight)
    height, width = network.config.image_size
    model = Model(network, Preprocessing((height, width), height), ["a", "b", "c"])
    heat = inspection.explain(model, picture("red", 1, (50, 40)))
    assert heat.shape == (height, width)
    assert heat.max() == 1
    assert heat.std() > 0


def test_a_model_of_several_labels_is_asked_by_sigmoid() -> None:
    model = small("ViT-Ti/4", (12, 20), **SMALL)
    images = torch.randn(2, 3, 12, 20)
    with torch.no_grad():
        scores = model.network(images).numpy()
    found = probability_of(model.network, 1, multi_label=True)(images)
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-scores[:, 1])), rtol=1e-5)
    powers = np.exp(scores)
    np.testing.assert_allclose(probability_of(model.network, 1)(images), powers[:, 1] / powers.sum(axis=1), rtol=1e-5)
