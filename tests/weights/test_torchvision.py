"""torchvision's files: its own models on random weights as the oracle, there and back."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.convolutional import assert_close, torchvision_models, unlike_new
from vitral.config import Preprocessing
from vitral.errors import DataError, UsageError
from vitral.models import VARIANTS, build_network, configuration, family_of
from vitral.models.resnet import ResNetConfig
from vitral.weights import build, read, torchvision
from vitral.weights.layout import Described
from vitral.weights.mapping import written
from vitral.weights.torchvision import vit
from vitral.weights.torchvision.names import name_of

TI = {"image_size": 64, "patch_size": 16, "num_layers": 12, "num_heads": 3, "hidden_dim": 192, "mlp_dim": 768}
"""ViT-Ti, of which torchvision has no builder: the smallest whose number of heads is known."""

SIDES = {"resnet18": (64, 40), "resnet50": (64, 40), "efficientnet_b0": (64, 75), "vit_ti_16": (64,)}
"""Models by their builders, and sides of the pictures that they are compared on."""


def empty(name: str) -> nn.Module:
    models = torchvision_models()
    if name == "vit_ti_16":
        return models.VisionTransformer(**TI, num_classes=7, representation_size=24)
    return getattr(models, name)(num_classes=7)


def made(name: str) -> nn.Module:
    torch.manual_seed(0)
    network = empty(name)
    if name.startswith("vit"):
        nn.init.normal_(network.encoder.pos_embedding, std=0.5)
    return unlike_new(network)


def saved(network: nn.Module, file: Path) -> Path:
    save_file(dict(network.state_dict()), file)
    return file


@pytest.mark.parametrize("name", SIDES)
def test_logits_are_torchvisions_and_the_bits_come_back(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(vit.NAMES, "Ti/16", "vit_ti_16")
    theirs = made(name)
    pretrained = read(saved(theirs, tmp_path / f"{name}.safetensors"))
    assert pretrained.layout == "torchvision"
    network, report = build(pretrained)
    for side in SIDES[name]:
        images = torch.randn(3, 3, side, side)
        with torch.no_grad():
            assert_close(network(images), theirs(images))
    assert_close(network(images), theirs(images))  # with gradients, by the other way through the network
    assert report.read == len(theirs.state_dict())
    assert report.dropped == report.reinitialised == report.resized == []

    torchvision.write(tmp_path, pretrained.described, network.state_dict())
    back = torch.load(tmp_path / f"{name}.pth", weights_only=True)
    assert {k: v.dtype for k, v in back.items()} == {k: v.dtype for k, v in theirs.state_dict().items()}
    assert all(torch.equal(back[key], value) for key, value in theirs.state_dict().items())
    empty(name).load_state_dict(back)  # strict


def test_names_from_before_version_0_13_are_read(tmp_path: Path) -> None:
    theirs = made("vit_ti_16")
    old = {
        name.replace(".mlp.0.", ".mlp.linear_1.").replace(".mlp.3.", ".mlp.linear_2."): value
        for name, value in theirs.state_dict().items()
    }
    save_file(old, tmp_path / "old.safetensors")
    network, _ = build(read(tmp_path / "old.safetensors"))
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert_close(network(images), theirs(images))


def test_positions_are_resized_as_torchvision_does(tmp_path: Path) -> None:
    theirs = made("vit_ti_16")
    network, report = build(read(saved(theirs, tmp_path / "m.safetensors")), image_size=96)
    interpolate = torchvision_models().vision_transformer.interpolate_embeddings
    expected = interpolate(96, 16, theirs.state_dict())["encoder.pos_embedding"]
    torch.testing.assert_close(network.position_embedding, expected, atol=1e-5, rtol=1e-5, check_stride=False)
    assert report.resized == [("position_embedding", (1, 17, 192), (1, 37, 192))]


def test_what_stands_beside_the_weights_comes_along(tmp_path: Path) -> None:
    network = build_network(configuration("ResNet-18", num_classes=2, image_size=(64, 48)))
    preprocessing = Preprocessing((64, 48), (70, 50), "bicubic", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    described = Described(network.config, preprocessing, ("cat", "dög"), {"cat": "Felis"}, multi_label=True)
    torchvision.write(tmp_path, described, network.state_dict())
    pretrained = read(tmp_path)  # the .pth itself, by the reader of such files
    assert pretrained.described == described
    loaded = build(pretrained)[0].state_dict()
    assert all(torch.equal(value, loaded[key]) for key, value in network.state_dict().items())
    (tmp_path / "resnet18.json").unlink()
    alone = torchvision.describe(pretrained.stored, {}, tmp_path)
    assert (alone.classes, alone.multi_label, alone.preprocessing.resize) == ((), False, 256)


@pytest.mark.parametrize(
    ("beside", "said"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "must hold a JSON object"),
        ('{"classes": ["one"]}', "1 class names stand beside a head of 2"),
        ('{"preprocessing": {"crp": 3}}', "did you mean crop"),
    ],
)
def test_a_damaged_file_beside_is_refused(tmp_path: Path, beside: str, said: str) -> None:
    network = build_network(configuration("ResNet-18", num_classes=2))
    save_file(written(torchvision.entries(network.config, None), network.state_dict()), tmp_path / "m.safetensors")
    (tmp_path / "m.json").write_text(beside)
    with pytest.raises(DataError, match=said):
        read(tmp_path / "m.safetensors")


def test_where_shapes_leave_a_choice_it_is_asked_for(tmp_path: Path) -> None:
    theirs = torchvision_models().VisionTransformer(16, 8, 1, 3, 24, 24, num_classes=2)
    place = saved(theirs, tmp_path / "small.safetensors")
    with pytest.raises(DataError, match=r"how many attention heads.*small.json"):
        read(place)
    (tmp_path / "small.json").write_text('{"num_heads": 3}')
    network, _ = build(read(place))
    assert network.config.num_heads == 3


@pytest.mark.parametrize(
    ("builder", "said"),
    [("resnext50_32x4d", "only plain ResNets"), ("wide_resnet50_2", "only plain ResNets")],
)
def test_relatives_are_refused_by_name(builder: str, said: str, tmp_path: Path) -> None:
    with torch.device("meta"):
        network = getattr(torchvision_models(), builder)()
    with pytest.raises(DataError, match=said):
        torchvision.describe(Shapes(tmp_path / "m.pth", network), {}, tmp_path)


@pytest.mark.parametrize(
    "builder", ["efficientnet_v2_s", "mobilenet_v3_small", "convnext_tiny", "swin_t", "densenet121"]
)
def test_files_of_other_networks_are_not_taken_for_these(builder: str, tmp_path: Path) -> None:
    with torch.device("meta"):
        network = getattr(torchvision_models(), builder)()
    assert not torchvision.recognises(Shapes(tmp_path / "m.pth", network), {})


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (
            replace(VARIANTS["ViT-Ti/16"], gelu="exact"),
            "of its vit_b_16, vit_b_32, vit_l_16, vit_l_32, vit_h_14, the nearest is vit_b_16, and this has width 192 "
            "where it has 768, mlp_dim 768 where it has 3072, num_heads 3 where it has 12",
        ),
        (VARIANTS["ViT-B/32"], "the nearest is vit_b_32, and this has gelu tanh where it has exact"),
        (
            replace(VARIANTS["ViT-L/32"], gelu="exact", pool="gap", image_size=(64, 96)),
            "this has pool gap where it has token, image_size (64, 96) where it has (64, 64)",
        ),
        (ResNetConfig((2, 2, 2, 3), "basic"), "resnet18, and this has blocks (2, 2, 2, 3) where it has (2, 2, 2, 2)"),
        (VARIANTS["EfficientNet-B0"], "efficientnet_b0, and this has padding same where it has symmetric, norm_eps"),
        (VARIANTS["Mixer-B/16"], "no model of this family"),
    ],
)  # fmt: skip
def test_what_torchvision_has_not_is_not_written_and_its_refusal_says_what_differs(
    config: object, said: str, tmp_path: Path
) -> None:
    with torch.device("meta"):
        network = build_network(config)
    with pytest.raises(UsageError, match=re.escape(said)):
        torchvision.write(tmp_path, Described(config, Preprocessing(), ()), network.state_dict())


class Shapes:
    """A file of which only the shapes exist."""

    kind = "none"
    notes = ()

    def __init__(self, path: Path, network: nn.Module) -> None:
        self.path = path
        self.shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}


NAMES = [
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    *(f"efficientnet_b{i}" for i in range(8)),
    *("vit_b_16", "vit_b_32", "vit_l_16", "vit_l_32", "vit_h_14"),
]


@pytest.mark.parametrize("name", NAMES)
def test_preprocessing_is_what_torchvision_documents_for_each_of_its_weights(name: str, tmp_path: Path) -> None:
    models = torchvision_models()
    for weights in models.get_model_weights(name):
        transforms = weights.transforms()
        size = transforms.crop_size[0]
        with torch.device("meta"):
            network = getattr(models, name)(**({"image_size": size} if name.startswith("vit") else {}))
        stored = Shapes(tmp_path / Path(weights.url).name, network)
        assert torchvision.recognises(stored, {})
        described = torchvision.describe(stored, {}, tmp_path)
        assert described.preprocessing == Preprocessing(
            crop=(size, size),
            resize=transforms.resize_size[0],
            interpolation=transforms.interpolation.value,
            mean=tuple(transforms.mean),
            std=tuple(transforms.std),
        ), weights
        named = {name for entry in torchvision.entries(described.config, stored) for name in entry.theirs}
        assert named == set(stored.shapes)
        family = torchvision.FAMILIES[family_of(described.config)]
        assert name_of(described.config, family.builders(described.config)) == name
        norms = {(m.eps, m.momentum) for m in network.modules() if isinstance(m, nn.BatchNorm2d)}
        if norms:
            assert norms == {(described.config.norm_eps, described.config.norm_momentum)}
