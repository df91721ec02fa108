"""Networks that only another library can build, exported and served: that library's own scores as the oracle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from tests import peers
from tests.exporters.made import softmax
from tests.models.test_adapter import NAMES, perturbed, transformers_model
from tests.serving.running import InProcess, Running, encoded
from vitral.cli import main
from vitral.config import Preprocessing
from vitral.data.decode import decode
from vitral.models import build_network, configuration
from vitral.serving.predictor import Model
from vitral.weights import build, read
from vitral.weights.timm import adapter as timm_adapter


def of_timm(place: Path) -> tuple[Any, int]:
    """A network of timm's, and its model folder at `place`."""
    whole = perturbed(peers.or_skip(peers.timm).create_model("test_resnet", num_classes=3))
    network = build_network(configuration("timm:test_resnet", num_classes=3, image_size=32)).eval()
    state = whole.state_dict()
    entries = timm_adapter.entries(network.config, None)
    network.load_state_dict({entry.ours: entry.form.read([state[name] for name in entry.theirs]) for entry in entries})
    Model(network, Preprocessing((32, 32), None), list(NAMES.values())).save(place)
    return whole, 32


def of_transformers(place: Path) -> tuple[Any, int]:
    """Likewise of Transformers."""
    whole = perturbed(transformers_model(peers.or_skip(peers.transformers_library), "convnextv2"))
    whole.save_pretrained(place.with_name("theirs"))
    (place.with_name("theirs") / "preprocessor_config.json").write_text('{"image_processor_type": "ViTImageProcessor"}')
    pretrained = read(place.with_name("theirs"))
    Model(build(pretrained)[0], Preprocessing((64, 64), None), list(NAMES.values())).save(place)
    return lambda images: whole(images).logits, 64


@pytest.mark.parametrize("made", [of_timm, pytest.param(of_transformers, marks=pytest.mark.slow)])
def test_it_is_exported_and_served_like_any_other(made: Any, tmp_path: Path) -> None:
    whole, size = made(tmp_path / "model")
    pictures = [encoded(seed, size=(size, size)) for seed in range(3)]
    pixels = np.stack([decode(picture) for picture in pictures])
    with torch.no_grad():
        expected = whole(torch.from_numpy(pixels).permute(0, 3, 1, 2) / 127.5 - 1).numpy()
    assert main(["export", str(tmp_path / "model"), "--out", str(tmp_path / "onnx"), "--quiet"]) == 0
    session = onnxruntime.InferenceSession(tmp_path / "onnx" / "model.onnx", providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"pixels": pixels})
    np.testing.assert_allclose(logits, expected, atol=1e-4, rtol=1e-4)
    with Running({"m": str(tmp_path / "model")}, start=InProcess) as server:
        for picture, scores in zip(pictures, softmax(expected), strict=True):
            found = server.classify(picture).json["results"][0]["predictions"]
            told = {one["label"]: one["probability"] for one in found}
            assert told == pytest.approx(dict(zip(NAMES.values(), scores.tolist(), strict=True)), abs=1e-4)
