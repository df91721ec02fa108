"""timm's ResNets and EfficientNets: its own models on random weights as the oracle, there and back."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from tests.convolutional import assert_close, timm, unlike_new
from vitral.catalogue import PUBLISHED, SOURCES
from vitral.models import VARIANTS, build_network
from vitral.models.efficientnet import EfficientNet
from vitral.models.resnet import ResNet
from vitral.weights import build, read
from vitral.weights import timm as layout

SIDES = {"resnet18": (64, 40), "resnet50": (64, 40), "efficientnet_b0": (64, 75), "tf_efficientnet_b0": (64, 75)}
"""Models by timm's names, and sides of the pictures that they are compared on: the second ones leave odd maps."""


def saved(name: str, place: Path) -> nn.Module:
    """timm's own model, as timm saves it."""
    torch.manual_seed(0)
    network = unlike_new(timm().create_model(name, num_classes=7))
    save_file(dict(network.state_dict()), place / "model.safetensors")
    published = {
        "input_size": [3, 64, 64],
        "interpolation": "bicubic",
        "crop_pct": 0.9,
        "mean": [0.5] * 3,
        "std": [0.25] * 3,
    }
    (place / "config.json").write_text(
        json.dumps({"architecture": name, "num_classes": 7, "pretrained_cfg": published})
    )
    return network


@pytest.mark.parametrize("name", SIDES)
def test_logits_are_timms_and_the_bits_come_back(name: str, tmp_path: Path) -> None:
    theirs = saved(name, tmp_path)
    pretrained = read(tmp_path)
    assert (pretrained.layout, pretrained.config.image_size) == ("timm", (64, 64))
    network, report = build(pretrained)
    assert report.read == len(theirs.state_dict())
    assert report.dropped == report.reinitialised == []
    for side in SIDES[name]:
        images = torch.randn(3, 3, side, side)
        with torch.no_grad():
            assert_close(network(images), theirs(images))
    assert_close(network(images), theirs(images))  # with gradients, by the other way through the network

    (tmp_path / "back").mkdir()
    layout.write(tmp_path / "back", pretrained.described, network.state_dict())
    before, after = (load_file(place / "model.safetensors") for place in (tmp_path, tmp_path / "back"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) and before[key].dtype == after[key].dtype for key in before)
    assert read(tmp_path / "back").described == pretrained.described


def test_what_is_written_opens_in_timm(tmp_path: Path) -> None:
    theirs = saved("tf_efficientnet_b0", tmp_path)
    pretrained = read(tmp_path)
    (tmp_path / "back").mkdir()
    layout.write(tmp_path / "back", pretrained.described, build(pretrained)[0].state_dict())
    opened = timm().create_model(f"local-dir:{tmp_path / 'back'}", pretrained=True).eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(opened(images), theirs(images))


NAMES = (
    [f"resnet{n}" for n in (34, 101, 152)]
    + [f"tf_efficientnet_{n}" for n in ("b1", "b4", "b7", "l2")]
    + ["efficientnet_b3"]
)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_and_shape_of_the_larger_ones_has_its_place(name: str) -> None:
    with torch.device("meta"):
        theirs = {key: tuple(value.shape) for key, value in timm().create_model(name).state_dict().items()}
        family = next(family for family in layout.FAMILIES.values() if family.configuration(name, {}, None))
        config, left_out = family.configuration(name, {}, None)
        ours = {key: tuple(value.shape) for key, value in build_network(config).state_dict().items()}
    assert left_out == {}
    assert {entry.theirs[0]: ours[entry.ours] for entry in family.entries(config, None)} == theirs
    assert {entry.ours for entry in family.entries(config, None)} == set(ours)
    assert family.name(config) == name


@pytest.mark.parametrize("name", ["tf_efficientnet_b0", "efficientnet_b0", "resnet50"])
def test_conventions_are_timms(name: str) -> None:
    with torch.device("meta"):
        theirs = timm().create_model(name)
        family = next(family for family in layout.FAMILIES.values() if family.configuration(name, {}, None))
        ours = build_network(family.configuration(name, {}, None)[0])
    assert isinstance(ours, ResNet | EfficientNet)

    def of(network: nn.Module) -> set[tuple[float, float]]:
        return {(m.eps, m.momentum) for m in network.modules() if isinstance(m, nn.BatchNorm2d)}

    assert of(ours) == of(theirs)


OF_TIMM = {
    name: words.removeprefix("timm/") for name, words in (PUBLISHED | SOURCES).items() if words.startswith("timm/")
}


@pytest.mark.parametrize("name", sorted(OF_TIMM))
def test_published_weights_are_timms_of_the_same_network(name: str) -> None:
    model = OF_TIMM[name]
    published = timm().get_pretrained_cfg(model).to_dict()
    assert published["hf_hub_id"] == f"timm/{model}"
    published["num_classes"] = published["num_classes"] or 1000  # DINOv2's end before a head
    stored = SimpleNamespace(shapes=dict.fromkeys(("cls_token", "pos_embed", "head.weight"), (1, 1, 8)))
    config = configured(model.split(".")[0], published, stored)
    wanted = VARIANTS[name]
    differ = {"gelu", "position_resize"}  # timm's way, where the authors' was another
    if name in SOURCES:
        differ |= {"image_size"}
    assert (
        dataclasses.replace(config, **{key: getattr(wanted, key) for key in differ if hasattr(wanted, key)}) == wanted
    )


def configured(architecture: str, published: dict[str, Any], stored: Any) -> Any:
    found = [family.configuration(architecture, published, stored) for family in layout.FAMILIES.values()]
    return next(pair for pair in found if pair is not None)[0]
