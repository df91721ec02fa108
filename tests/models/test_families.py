"""What every family must hold: one line in `TINY`, and all of these cover it."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from tests import peers
from vitral.config import Preprocessing
from vitral.data.preprocessing import normalise
from vitral.exporters.graph import traced
from vitral.models import FAMILIES, VARIANTS, build_network, empty_network, family_of
from vitral.models.adapter import AdapterConfig
from vitral.models.beit import BEiTConfig
from vitral.models.bit import BiTConfig
from vitral.models.botnet import BoTNetConfig
from vitral.models.compact import CompactConfig
from vitral.models.deit import DistilledConfig
from vitral.models.efficientnet import EfficientNetConfig
from vitral.models.hybrid import HybridConfig
from vitral.models.layerscale import LayerScaleConfig
from vitral.models.mae import MaeConfig
from vitral.models.mixer import MixerConfig
from vitral.models.network import Network
from vitral.models.positioned import PositionedConfig
from vitral.models.resnet import ResNetConfig
from vitral.models.swin import SwinConfig
from vitral.models.vit import ViTConfig
from vitral.serving.predictor import Model
from vitral.weights import build, read

TINY: dict[str, Any] = {
    # a network of each family that takes milliseconds, with 5 classes
    "vit": ViTConfig(4, 32, 2, 64, 2, (16, 16), 5),
    "positioned": PositionedConfig(4, 32, 2, 64, 2, (16, 16), 5, positions="relative"),
    "deit": DistilledConfig(4, 32, 2, 64, 2, (16, 16), 5),
    "layerscale": LayerScaleConfig(4, 32, 2, 64, 2, (16, 16), 5, "token_mean", registers=2, mlp="swiglu"),
    "mae": MaeConfig(4, 32, 2, 64, 2, (16, 16), 5),
    "resnet": ResNetConfig((1, 1, 2, 1), "bottleneck", 8, (16, 16), 5),
    "efficientnet": EfficientNetConfig(0.2, 0.4, (32, 32), 5),
    "botnet": BoTNetConfig((1, 1, 1, 2), 2, 2, 8, (48, 32), 5),
    "beit": BEiTConfig(4, 32, 2, 64, 2, (16, 16), 5),
    "swin": SwinConfig(16, (1, 2), (2, 4), window_size=2, patch_size=2, image_size=(16, 16), num_classes=5),
    "hybrid": HybridConfig(1, 32, 2, 64, 2, (16, 16), 5, blocks=(1, 1)),
    "compact": CompactConfig(32, 2, 64, 2, (16, 16), 5, 8, stages=(8,)),
    "bit": BiTConfig((1, 1), 1, (16, 16), 5),
    "mixer": MixerConfig(4, 32, 2, 8, 64, (16, 16), 5),
    "adapter": AdapterConfig("timm", "test_resnet", (32, 32), 5),
}

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _libraries(request: pytest.FixtureRequest) -> None:
    """A family that is another library's is tested where that library is."""
    if getattr(request.node, "callspec", None) and request.node.callspec.params.get("family") == "adapter":
        peers.or_skip(peers.timm)


families = pytest.mark.parametrize("family", FAMILIES)


def made(family: str, **changes: Any) -> Network:
    torch.manual_seed(0)
    network = build_network(dataclasses.replace(TINY[family], **changes)).eval()
    for layer in network.HEADS:
        torch.nn.init.normal_(network.get_parameter(f"{layer}.weight"), std=0.1)
    return network


def pictures(family: str, count: int = 2) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(count, 3, *TINY[family].image_size)


def test_every_family_has_a_tiny_network() -> None:
    assert TINY.keys() == FAMILIES.keys()
    assert all(family_of(config) == name for name, config in TINY.items())


def test_no_variant_stands_in_two_families() -> None:
    assert len(VARIANTS) == sum(len(family.variants) for family in FAMILIES.values())


@families
def test_scores_are_the_heads_of_the_features(family: str) -> None:
    network, images = made(family), pictures(family)
    with torch.no_grad():
        scores = network(images)
        assert scores.shape == (2, 5)
        torch.testing.assert_close(network.classify(network.encode(images)), scores)
        assert network.features(images).shape == (2, network.get_parameter(f"{network.HEADS[0]}.weight").shape[1])


@families
def test_a_fresh_network_starts_at_the_logarithm_of_the_class_count(family: str) -> None:
    torch.manual_seed(0)
    network = build_network(TINY[family])
    loss = F.cross_entropy(network(pictures(family, 5)), torch.arange(5))
    assert float(loss.detach()) == pytest.approx(math.log(5), abs=1e-5)


@families
def test_every_parameter_gets_a_gradient(family: str) -> None:
    network = made(family).train()
    for parameter in network.parameters():
        if not parameter.any():  # a branch that starts at zero passes nothing on to what stands before it
            torch.nn.init.normal_(parameter, std=0.1)
    network(pictures(family, 8)).square().sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


CHECKPOINTED = [family for family, config in TINY.items() if hasattr(config, "checkpoint_blocks")]


@pytest.mark.parametrize("family", CHECKPOINTED)
def test_checkpointed_blocks_are_made_again_and_change_no_gradient(family: str) -> None:
    known = {field.name for field in dataclasses.fields(TINY[family])}
    rates = {name: rate for name, rate in {"dropout": 0.1, "stochastic_depth": 0.2}.items() if name in known}
    gradients, calls = [], []
    for flag in (False, True):
        network = made(family, checkpoint_blocks=flag, **rates).train()
        called: list[str] = []
        for name, module in network.named_modules():
            module.register_forward_pre_hook(lambda *_, called=called, name=name: called.append(name))
        network(pictures(family)).square().sum().backward()
        gradients.append([p.grad for p in network.parameters()])
        calls.append(len(called))
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
    assert calls[1] > calls[0]


@families
def test_layers_are_counted_from_the_stem_to_the_head(family: str) -> None:
    network = made(family)
    layers = [network.layer_index(name) for name, _ in network.named_parameters()]
    assert set(layers) == set(range(network.num_layers))
    assert {network.layer_index(f"{layer}.weight") for layer in network.HEADS} == {network.num_layers - 1}


@families
def test_exports_with_a_dynamic_batch(family: str) -> None:
    size = TINY[family].image_size
    metrics = {"calibration": {"temperature": 0.5}}
    model = Model(made(family), Preprocessing(size, size), [f"c{k}" for k in range(5)], metrics=metrics)
    exported = traced(model, "float32", features=True).module()
    pixels = torch.randint(0, 256, (7, *size, 3), dtype=torch.uint8)
    with torch.no_grad():
        found = exported(pixels)
        alone = exported(pixels[:1])
    scores = model.network(normalise(pixels, model.preprocessing.mean, model.preprocessing.std))
    torch.testing.assert_close(found["logits"], scores, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found["probabilities"], (scores / 0.5).softmax(dim=1), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found["features"], model.representations(pixels.numpy()), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(alone["probabilities"], found["probabilities"][:1], atol=1e-5, rtol=1e-5)


@families
def test_a_model_folder_gives_back_the_same_bits(family: str, tmp_path: Path) -> None:
    network = made(family)
    height, width = network.config.image_size
    model = Model(network, Preprocessing((height, width), (height, width)), [f"c{k}" for k in range(5)])
    pretrained = read(model.save(tmp_path / "m"))
    assert pretrained.config == network.config
    loaded, report = build(pretrained)
    assert report.reinitialised == report.dropped == report.resized == []
    images = pictures(family)
    with torch.no_grad():
        assert torch.equal(loaded(images), network(images))


@families
def test_other_classes_get_a_zero_head(family: str, tmp_path: Path) -> None:
    network = made(family)
    height, width = network.config.image_size
    model = Model(network, Preprocessing((height, width), (height, width)), [f"c{k}" for k in range(5)])
    fresh, report = build(read(model.save(tmp_path / "m")), ["x", "y"])
    assert fresh(pictures(family)).shape == (2, 2)
    for layer in fresh.HEADS:
        assert not fresh.get_parameter(f"{layer}.weight").any()
        assert f"{layer}.weight" in report.reinitialised


@families
def test_a_configuration_is_plain_json(family: str) -> None:
    plain = dataclasses.asdict(TINY[family])
    assert dataclasses.asdict(TINY[family]) == {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in json.loads(json.dumps(plain)).items()
    }


@families
def test_an_empty_network_has_the_shapes_and_no_numbers(family: str) -> None:
    full, empty = made(family).state_dict(), empty_network(TINY[family]).state_dict()
    assert {name: (value.shape, value.dtype) for name, value in empty.items()} == {
        name: (value.shape, value.dtype) for name, value in full.items()
    }
    assert all(value.is_meta for value in empty.values())


@pytest.mark.slow
def test_empty_networks_need_none_of_the_compiler() -> None:
    """Drawing numbers for tensors without any would import it, which takes longer than loading a model."""
    tests = "from vitral.models import *; from tests.models.test_families import TINY; import torch, sys; "
    program = tests + (
        "before = set(sys.modules); [empty_network(config) for name, config in TINY.items() if name != 'adapter']; "
        "print([name for name in set(sys.modules) - before if name.startswith(('sympy', 'torch._dynamo'))])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
