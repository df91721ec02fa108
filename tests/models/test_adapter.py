"""Classifiers of timm and Transformers behind one door: their own scores as the oracle."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests import peers
from tests.pictures import write_folder
from vitral.cli import main
from vitral.config import Preprocessing
from vitral.errors import DataError, UnavailableError, UsageError
from vitral.models import adapter, build_network, configuration
from vitral.models.adapter import AdapterConfig, layers_in_order
from vitral.serving.predictor import Model, load
from vitral.weights import adapted, build, read

NAMES = {0: "ant", 1: "bee", 2: "cow"}


@pytest.fixture(scope="module")
def timm() -> ModuleType:
    try:
        return peers.timm()
    except peers.PeerUnavailable as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def transformers() -> ModuleType:
    try:
        return peers.transformers_library()
    except peers.PeerUnavailable as error:
        pytest.skip(str(error))


def perturbed(model: Any) -> Any:
    torch.manual_seed(0)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not name.endswith("running_var"):
            tensor.add_(0.1 * torch.randn_like(tensor))
    return model.eval()


@pytest.mark.parametrize(
    "name",
    # a batch-normalised network, a ViT of fixed size, an MLP and a convolution before the last layer, an NFNet
    ["test_resnet", "test_vit", "test_efficientnet", "test_convnext", "test_mambaout", "test_nfnet", "test_byobnet"],
)
def test_timms_networks_give_timms_scores(timm: ModuleType, name: str, tmp_path: Path) -> None:
    config = configuration(f"timm:{name}", num_classes=3, image_size=96)
    sized = {"img_size": 96} if timm.get_pretrained_cfg_value(name, "fixed_input_size") else {}
    whole = perturbed(timm.create_model(name, num_classes=3, **sized))
    network = build_network(config).eval()
    network.load_state_dict(adapted._split(whole, whole.pretrained_cfg["classifier"]))
    images = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        torch.testing.assert_close(network(images), whole(images), atol=1e-6, rtol=1e-6)
    saved = Model(network, Preprocessing((96, 96), (96, 96)), list(NAMES.values())).save(tmp_path / "m")
    again, report = build(read(saved))
    with torch.no_grad():
        assert torch.equal(again(images), network(images))
    assert report.reinitialised == []
    assert main(["convert", str(saved), "--to", "timm", "--out", str(tmp_path / "timm"), "--quiet"]) == 0
    theirs = timm.create_model(f"local-dir:{tmp_path / 'timm'}", pretrained=True).eval()
    with torch.no_grad():
        torch.testing.assert_close(theirs(images), whole(images), atol=1e-6, rtol=1e-6)


def transformers_model(library: ModuleType, kind: str) -> Any:
    small: dict[str, Any] = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 2, 1], "id2label": NAMES}
    if kind == "convnextv2":
        return library.ConvNextV2ForImageClassification(library.ConvNextV2Config(**small, image_size=64))
    if kind == "regnet":
        small |= {"embedding_size": 8, "groups_width": 8}
        return library.RegNetForImageClassification(library.RegNetConfig(**small))
    shape = {"image_size": 32, "embed_dim": 16, "depths": [1, 1], "num_heads": [2, 4], "window_size": 4}
    return library.Swinv2ForImageClassification(library.Swinv2Config(**shape, id2label=NAMES))


@pytest.mark.parametrize("kind", ["convnextv2", "regnet", "swinv2"])
def test_a_folder_of_transformers_that_no_layout_reads_gives_its_scores(
    transformers: ModuleType, kind: str, tmp_path: Path
) -> None:
    model = perturbed(transformers_model(transformers, kind))
    model.save_pretrained(tmp_path / "theirs")
    size = getattr(model.config, "image_size", 48)
    rule = {"image_processor_type": "ViTImageProcessor", "size": size, "resample": 3, "image_mean": [0.4] * 3}
    (tmp_path / "theirs" / "preprocessor_config.json").write_text(json.dumps(rule))
    pretrained = read(tmp_path / "theirs")
    assert pretrained.classes == tuple(NAMES.values())
    assert pretrained.preprocessing == Preprocessing((size, size), (size, size), "bicubic", (0.4,) * 3)
    network, _ = build(pretrained)
    saved = Model(network, pretrained.preprocessing, pretrained.classes).save(tmp_path / "ours")
    images = torch.randn(2, 3, size, size)
    with torch.no_grad():
        torch.testing.assert_close(network(images), model(images).logits, atol=1e-6, rtol=1e-6)
        assert torch.equal(load(saved).network(images), network(images))


def test_timms_published_weights_come_with_classes_and_preprocessing(
    timm: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = perturbed(timm.create_model("test_resnet"))
    file = tmp_path / "weights.safetensors"
    save_file(whole.state_dict(), file)
    original = timm.create_model

    def from_file(name: str, pretrained: bool = False, **settings: Any) -> Any:
        """timm's own loading, from a file in the place of its repository."""
        overlay = {"pretrained_cfg_overlay": {"file": str(file)}} if pretrained else {}
        return original(name, pretrained=pretrained, **overlay, **settings)

    monkeypatch.setattr(timm, "create_model", from_file)
    pretrained = read("timm:test_resnet")
    rule = timm.data.resolve_data_config({}, model=whole)
    resize = int(160 / rule["crop_pct"])
    expected = Preprocessing((160, 160), resize, rule["interpolation"], rule["mean"], rule["std"])
    assert (pretrained.preprocessing, rule["input_size"]) == (expected, (3, 160, 160))
    network, _ = build(pretrained)
    images = torch.randn(2, 3, 160, 160)
    with torch.no_grad():
        torch.testing.assert_close(network(images), whole(images), atol=1e-6, rtol=1e-6)
    fresh, report = build(pretrained, ["x", "y"])
    assert fresh.head.weight.shape == (2, 96)
    assert report.reinitialised == ["head.weight", "head.bias"]


def test_layers_follow_the_librarys_order_of_parameters() -> None:
    names = ["conv1.weight", "bn1.bias", "layer1.0.conv1.weight", "layer1.0.downsample.0.weight", "layer1.1.bn2.weight"]
    assert layers_in_order([*names, "norm.weight"]) == (
        dict(zip([*names, "norm.weight"], [0, 0, 1, 1, 2, 3], strict=True)),
        3,
    )
    assert layers_in_order(["blocks.0.attn.qkv.weight", "blocks.1.norm.bias"]) == (
        {"blocks.0.attn.qkv.weight": 0, "blocks.1.norm.bias": 1},
        2,
    )
    assert layers_in_order(["vit.encoder.layers.0.mlp.3.weight", "vit.encoder.layers.1.mlp.0.weight"])[1] == 2


TINY = ["--image-size", "32", "--steps", "2", "--batch-size", "4", "--device", "cpu", "--workers", "0", "--quiet"]


@pytest.mark.parametrize("words", ["timm:test_vit", "timm:test_resnet", "hf:mobilenet_v2"])
def test_it_is_trained_evaluated_and_fine_tuned_like_any_other(
    timm: ModuleType, transformers: ModuleType, tmp_path: Path, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = str(write_folder(tmp_path / "pictures", {"train": 4, "val": 2}))
    assert main(["train", pictures, "--model", words, *TINY, "--out", str(tmp_path / "run")]) == 0
    model = str(tmp_path / "run" / "model")
    assert main(["finetune", pictures, "--model", model, *TINY, "--out", str(tmp_path / "again")]) == 0
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "again" / "model"), pictures, "--split", "validation", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["count"] == 6


# Bad input ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("timm:resnet19", "did you mean timm:resnet18"),
        ("hf:convnxt", "did you mean hf:convnext"),
        ("hf:bert", "unknown model 'hf:bert'"),
        ("hf:timm_wrapper", "unknown model"),
    ],
)
def test_an_unknown_name_gets_the_nearest(timm: ModuleType, transformers: ModuleType, words: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        configuration(words)


@pytest.mark.parametrize("words", ["timm:resnet18", "hf:convnext"])
def test_a_missing_library_is_named_with_its_extra(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str, *_: Any) -> ModuleType:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(UnavailableError, match=r"pip install 'vitral\[(timm|transformers)\]'"):
        configuration(words)


def test_weights_that_cannot_be_had_are_said_to_be_away(timm: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="HF_HUB_OFFLINE is set"):
        read("timm:test_resnet")
    with pytest.raises(UsageError, match="which has no weights"):
        read("hf:resnet")


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "../elsewhere"},
        {"name": "hf-hub:someone/model"},
        {"name": "local-dir:/tmp"},
        {"library": "os"},
        {"settings": '{"auto_map": {"AutoModel": "evil.Model"}}'},
        {"settings": '{"backbone": "resnet18"}'},
        {"settings": '{"use_pretrained_backbone": true}'},
        {"settings": '{"_name_or_path": "x"}'},
        *(
            {"library": "timm", "settings": f'{{"{key}": "x"}}'}
            for key in ("pretrained", "checkpoint_path", "cache_dir")
        ),
        *({"library": "timm", "settings": f'{{"{key}": "x"}}'} for key in ("pretrained_cfg", "pretrained_cfg_overlay")),
        {"settings": '{"hidden_act": "https://x/y"}'},
        {"settings": "[]"},
        {"settings": "{"},
        {"num_classes": 0},
        {"image_size": (0, 32)},
    ],
)
def test_nothing_that_a_file_names_can_be_imported_or_fetched(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        AdapterConfig(**{"library": "hf", "name": "resnet", **changes})


def test_settings_that_do_not_fit_are_one_sentence(transformers: ModuleType) -> None:
    with pytest.raises(UsageError, match="change its settings"):
        build_network(AdapterConfig("hf", "resnet", settings='{"layer_type": "round"}'))


def test_a_model_folder_that_names_an_address_is_refused(timm: ModuleType, tmp_path: Path) -> None:
    config = AdapterConfig("timm", "test_resnet", (32, 32), 2)
    folder = Model(build_network(config), Preprocessing((32, 32), (32, 32)), ["a", "b"]).save(tmp_path / "m")
    written = json.loads((folder / "config.json").read_text())
    written["model"]["name"] = "hf_hub:someone/model"
    (folder / "config.json").write_text(json.dumps(written))
    with pytest.raises(DataError, match="no name of a model"):
        read(folder)
    assert adapter.NAME.fullmatch("resnet18")
