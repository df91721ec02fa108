"""timm's layouts, family by family: timm's own models as the oracle, both ways."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests import peers
from vitral.cli import main
from vitral.config import Preprocessing
from vitral.errors import DataError, UsageError
from vitral.models import bit, build_network, configuration, hybrid
from vitral.models.adapter import AdapterConfig
from vitral.weights import build, google, read, timm
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
    return peers.or_skip(peers.timm)


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
        ("avg", {"cls_token": torch.zeros(1, 1, 192)}, "without fc_norm"),
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


# What a configuration says beside the name ---------------------------------------------------------


def described_by(name: str, arguments: dict[str, Any], **published: Any) -> Described:
    """As timm's config.json says it, beside a file of no tensors."""
    config = {"architecture": name, "model_args": arguments, "pretrained_cfg": published}
    return timm.describe(SimpleNamespace(shapes={}), config, Path())


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("vit_tiny_patch16_224", {"act_layer": "quick_gelu"}),
        ("vit_tiny_patch16_224", {"qk_norm": True}),
        ("vit_small_patch14_dinov2", {"act_layer": "relu"}),
        ("vit_small_patch14_dinov2", {"pre_norm": True}),
        ("deit_tiny_distilled_patch16_224", {"act_layer": "silu"}),
        ("deit_tiny_distilled_patch16_224", {"reg_tokens": 4}),
        ("vit_small_r26_s32_224", {"padding_same": False}),
        ("resnetv2_50x1_bit", {"output_stride": 8}),
        ("mixer_s32_224", {"act_layer": "gelu_tanh"}),
        ("beit_base_patch16_224", {"act_layer": "gelu_tanh"}),
        ("swin_tiny_patch4_window7_224", {"ape": True}),
        ("resnet18", {"output_stride": 8}),
        ("resnet18", {"global_pool": "max"}),
        ("efficientnet_b0", {"act_layer": "relu"}),
    ],
)
def test_what_makes_another_network_is_refused_without_timm(
    name: str, arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vitral.models.adapter.imported", peers.missing)
    ((argument, value),) = arguments.items()
    with pytest.raises(DataError, match=rf"(another {argument}|the activation|pool by) .*{value}"):
        described_by(name, arguments)


def test_a_mae_with_another_activation_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitral.models.adapter.imported", peers.missing)
    config = {"architecture": "vit_base_patch16_224", "global_pool": "avg", "model_args": {"act_layer": "relu"}}
    stored = SimpleNamespace(shapes={"cls_token": (1, 1, 768), "fc_norm.weight": (768,)})
    with pytest.raises(DataError, match="activation 'relu'"):
        timm.describe(stored, config, Path())
    config["model_args"]["act_layer"] = "gelu_tanh"
    assert timm.describe(stored, config, Path()).config.gelu == "tanh"


@pytest.mark.parametrize(
    "name",
    ["vit_tiny_patch16_224", "deit3_small_patch16_224", "deit_tiny_distilled_patch16_224", "resnetv2_50x1_bit",
     "mixer_s32_224", "beit_base_patch16_224", "swin_tiny_patch4_window7_224", "resnet18", "efficientnet_b0",
     "vit_small_r26_s32_224"],
)  # fmt: skip
def test_sizes_are_the_constructors_before_the_published_ones(name: str) -> None:
    arguments = {"img_size": [64, 96], "in_chans": 1, "num_classes": 7, "drop_path_rate": 0.2}
    config = described_by(name, arguments, input_size=[3, 32, 32], num_classes=5).config
    assert (config.image_size, config.channels, config.num_classes) == ((64, 96), 1, 7)


@pytest.mark.parametrize("name", ["deit3_small_patch16_224", "deit_tiny_distilled_patch16_224", "vit_tiny_patch16_224"])
def test_the_tanh_gelu_is_read(name: str) -> None:
    assert described_by(name, {"act_layer": "gelu_tanh"}).config.gelu == "tanh"
    assert described_by(name, {}).config.gelu == described_by(name, {"act_layer": "gelu"}).config.gelu == "exact"


def test_timm_itself_takes_what_no_family_has(library: ModuleType, tmp_path: Path) -> None:
    name, arguments = "vit_tiny_patch16_224", {"depth": 1, "act_layer": "quick_gelu", "img_size": 32}
    theirs = constructed(library, name, **arguments)
    save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    config = {"architecture": name, "num_classes": 3, "global_pool": "token", "model_args": arguments}
    (tmp_path / "config.json").write_text(json.dumps({**config, "pretrained_cfg": {"input_size": [3, 32, 32]}}))
    pretrained = read(tmp_path)
    assert isinstance(pretrained.config, AdapterConfig)
    network, _ = build(pretrained)
    images = torch.randn(2, 3, 32, 32)
    (tmp_path / "out").mkdir()
    timm.write(tmp_path / "out", pretrained.described, network.state_dict())
    opened = library.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
    with torch.no_grad():
        for other in (network, opened):
            torch.testing.assert_close(other(images), theirs(images), atol=1e-6, rtol=1e-6)
    assert read(tmp_path / "out").described == pretrained.described


def test_other_cuts_are_refused() -> None:
    with pytest.raises(DataError, match="crop_mode 'border' is not read"):
        described_by("vit_tiny_patch16_224", {}, crop_mode="border")


@pytest.mark.parametrize(
    ("variant", "named"),
    [
        ("R26+ViT-S/32", {"group_norm_eps", "filter_std_eps", "filter_variance_eps"}),
        ("BiT-R50x1", {"filter_variance_eps"}),
    ],
)
def test_numbers_that_timm_fixes_are_told_in_the_report_and_the_card(
    variant: str, named: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    families = {"R26+ViT-S/32": hybrid, "BiT-R50x1": bit}
    config = replace(families[variant].VARIANTS[variant], image_size=(64, 64), num_classes=3)
    network = build_network(config)
    (tmp_path / "google").mkdir()
    google.write(tmp_path / "google", Described(config, Preprocessing((64, 64), (64, 64))), network.state_dict())
    for source, to in (("google", "timm"), ("timm", "google2")):
        layout = to.removesuffix("2")
        assert main(["convert", str(tmp_path / source), "--to", layout, "--out", str(tmp_path / to), "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
        assert {what for what, _, _ in document["write"]["changed"]} >= named
        card = (tmp_path / to / "README.md").read_text()
        assert card.count("with which scores differ slightly") == len(named)
    assert read(tmp_path / "google2").config == config


def test_a_mixer_with_the_tanh_gelu_is_not_written_as_another(tmp_path: Path) -> None:
    described = Described(configuration("Mixer-S/32", gelu="tanh"), Preprocessing())
    with pytest.raises(UsageError, match="timm computes Mixers with the exact GELU"):
        timm.write(tmp_path, described, {})


@pytest.mark.parametrize("name", ["BiT-R200x3", "BiT-R50x2"])
def test_timm_has_no_name_for_some(name: str, tmp_path: Path) -> None:
    described = Described(configuration(name), Preprocessing())
    with pytest.raises(UsageError, match="timm has no model of this shape"):
        timm.write(tmp_path, described, {})
