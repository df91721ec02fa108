"""timm's layouts, family by family: timm's own models as the oracle, both ways."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests import peers
from vitral.config import Preprocessing
from vitral.errors import DataError, UsageError
from vitral.models import bit, build_network, configuration, hybrid
from vitral.weights import build, read, timm
from vitral.weights.layout import Described

MODELS: dict[str, tuple[dict[str, Any], tuple[int, int]]] = {
    # timm's name: arguments of its constructor, input size
    "vit_tiny_patch16_224": ({"img_size": (32, 48), "global_pool": "avg", "class_token": False, "fc_norm": False}, (32, 48)),
    "vit_tiny_patch16_384": ({"img_size": 64, "global_pool": "map", "class_token": False}, (64, 64)),
    "vit_tiny_r_s16_p8_224": ({"img_size": (64, 96)}, (64, 96)),
    "vit_small_r26_s32_224": ({"img_size": (50, 64), "depth": 1}, (50, 64)),
    "resnetv2_50x1_bit": ({}, (40, 65)),
    "mixer_s32_224": ({"img_size": (64, 96)}, (64, 96)),
}  # fmt: skip
models = pytest.mark.parametrize("name", MODELS)


@pytest.fixture(scope="module")
def library() -> ModuleType:
    try:
        return peers.timm()
    except peers.PeerUnavailable as error:
        pytest.skip(str(error))


@pytest.fixture(autouse=True)
def shallow(library: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer residual units and blocks, in timm's models and in ours."""
    small = {"blocks": (1, 2), "depth": 1}
    monkeypatch.setitem(hybrid.VARIANTS, "R26+ViT-S/32", replace(hybrid.VARIANTS["R26+ViT-S/32"], **small))
    monkeypatch.setitem(bit.VARIANTS, "BiT-R50x1", replace(bit.VARIANTS["BiT-R50x1"], blocks=(1, 2)))
    hybrids, resnets = library.models.vision_transformer_hybrid, library.models.resnetv2
    resnet, resnetv2_bit = hybrids._resnetv2, resnets._create_resnetv2_bit
    monkeypatch.setattr(hybrids, "_resnetv2", lambda layers, **more: resnet((1, 2) if layers else (), **more))
    monkeypatch.setattr(
        resnets, "_create_resnetv2_bit", lambda name, **more: resnetv2_bit(name, **{**more, "layers": [1, 2]})
    )


def constructed(library: ModuleType, name: str, **arguments: Any) -> torch.nn.Module:
    """timm's model without its slow initial values: random ones, nothing at zero or one.

    Filters are so small that what is added to their deviations shows.
    """
    with torch.device("meta"):
        model = library.create_model(name, num_classes=3, **arguments)
    model.to_empty(device="cpu").eval()
    generator = torch.Generator().manual_seed(0)
    for key, parameter in model.named_parameters():
        filters = parameter.ndim == 4 and "patch_embed.proj" not in key and "head" not in key and "stem.proj" not in key
        std = 1e-3 if filters else parameter[0].numel() ** -0.5 if parameter.ndim == 2 else 0.3
        parameter.data.normal_(1.0 if "norm" in key and "weight" in key else 0.0, std, generator=generator)
    return model


def published(library: ModuleType, name: str, place: Path) -> torch.nn.Module:
    """timm's model with three classes, and its folder as timm writes it."""
    arguments, size = MODELS[name]
    model = constructed(library, name, **arguments)
    config = {"architecture": name, "num_classes": 3, "pretrained_cfg": {"input_size": [3, *size], "crop_pct": 1.0}}
    config["global_pool"] = arguments.get("global_pool", model.global_pool if hasattr(model, "global_pool") else "avg")
    config["model_args"] = {key: value for key, value in arguments.items() if key != "img_size"}
    place.mkdir()
    save_file(model.state_dict(), place / "model.safetensors")
    (place / "config.json").write_text(json.dumps(config))
    return model


@models
def test_timms_model_and_ours_agree_both_ways(library: ModuleType, tmp_path: Path, name: str) -> None:
    theirs = published(library, name, tmp_path / "theirs")
    pretrained = read(tmp_path / "theirs")
    network, report = build(pretrained)
    assert report.dropped == report.reinitialised == report.resized == []
    images = torch.randn(2, 3, *MODELS[name][1], generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = theirs(images)
        assert float(expected.std()) > 0.01
        torch.testing.assert_close(network(images), expected, atol=1e-5, rtol=1e-5)

    written = tmp_path / "ours"
    written.mkdir()
    timm.write(written, pretrained.described, network.state_dict())
    before, after = (load_file(place / "model.safetensors") for place in (tmp_path / "theirs", written))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert read(written).described == pretrained.described
    with torch.device("meta"):
        depth = {key: value for key, value in MODELS[name][0].items() if key == "depth"}
        back = library.create_model(f"local-dir:{written}", pretrained=False, **depth).state_dict()
    assert {key: value.shape for key, value in back.items()} == {key: value.shape for key, value in after.items()}


def test_what_the_name_does_not_say_is_told_to_timm(library: ModuleType, tmp_path: Path) -> None:
    """Patch size, GELU and pooling are arguments; timm would take its own without a word."""
    config = configuration("ViT-Ti/8", image_size=(16, 24), num_classes=3, pool="map", gelu="tanh")
    with torch.device("meta"):
        network = build_network(config)
    network.to_empty(device="cpu").eval()
    for parameter in network.parameters():
        parameter.data.normal_(0.0, 0.2)
    described = Described(config, Preprocessing((16, 24)), ("a", "b", "c"))
    timm.write(tmp_path, described, network.state_dict())
    assert read(tmp_path).config == config
    theirs, images = library.create_model(f"local-dir:{tmp_path}", pretrained=True).eval(), torch.randn(2, 3, 16, 24)
    with torch.no_grad():
        torch.testing.assert_close(theirs(images), network(images), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("pool", "extra", "said"),
    [
        ("avg", {"cls_token": torch.zeros(1, 1, 192)}, "beside a class token"),
        ("avg", {"fc_norm.weight": torch.zeros(192)}, "fc_norm"),
        ("max", {}, "token, avg, map are read"),
    ],
)
def test_other_ways_of_pooling_are_refused(
    pool: str, extra: dict[str, torch.Tensor], said: str, tmp_path: Path
) -> None:
    config = {"architecture": "vit_tiny_patch16_224", "global_pool": pool, "pretrained_cfg": {}}
    save_file({"norm.weight": torch.zeros(192), **extra}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match=said):
        read(tmp_path)


@pytest.mark.parametrize("name", ["BiT-R200x3", "BiT-R50x2"])
def test_timm_has_no_name_for_some(name: str, tmp_path: Path) -> None:
    described = Described(configuration(name), Preprocessing())
    with pytest.raises(UsageError, match="timm has no model of this shape"):
        timm.write(tmp_path, described, {})
