"""Classifiers of timm and Transformers behind one door: their own scores as the oracle."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests import peers
from tests.pictures import write_folder
from vitral.cli import main
from vitral.config import Preprocessing
from vitral.errors import DataError, UnavailableError, UsageError
from vitral.models import adapter, build_network, configuration
from vitral.models.adapter import AdapterConfig, layers_in_order
from vitral.serving.loading import load
from vitral.serving.predictor import Model
from vitral.weights import build, read
from vitral.weights.timm import adapter as timm_adapter

NAMES = {0: "ant", 1: "bee", 2: "cow"}


@pytest.fixture(scope="module")
def timm() -> ModuleType:
    return peers.or_skip(peers.timm)


@pytest.fixture(scope="module")
def transformers() -> ModuleType:
    return peers.or_skip(peers.transformers_library)


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
    state = whole.state_dict()
    entries = timm_adapter.entries(config, None)
    network.load_state_dict({entry.ours: entry.form.read([state[name] for name in entry.theirs]) for entry in entries})
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


def in_timms_repository(timm: ModuleType, whole: Any, cache: Path) -> Path:
    """A network as timm itself writes it for a repository, in the place where a fetched one is kept."""
    folder = cache / "vitral" / "weights" / whole.pretrained_cfg["hf_hub_id"].replace("/", "--")
    timm.models.save_for_hf(whole, folder, safe_serialization=True)
    return folder


def test_timms_published_weights_come_with_classes_and_preprocessing(
    timm: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    whole = perturbed(timm.create_model("test_resnet"))
    folder = in_timms_repository(timm, whole, tmp_path)
    pretrained = read("timm:test_resnet")
    rule = timm.data.resolve_data_config({}, model=whole)
    resize = int(160 / rule["crop_pct"])
    expected = Preprocessing((160, 160), resize, rule["interpolation"], rule["mean"], rule["std"])
    assert (pretrained.preprocessing, rule["input_size"]) == (expected, (3, 160, 160))
    network, report = build(pretrained)
    assert report.lines()[0].startswith(f"{report.read} tensors read from {folder} (timm layout, {report.read} renamed")
    images = torch.randn(2, 3, 160, 160)
    with torch.no_grad():
        torch.testing.assert_close(network(images), whole(images), atol=1e-6, rtol=1e-6)
    fresh, report = build(pretrained, ["x", "y"])
    assert fresh.head.weight.shape == (2, 96)
    assert report.reinitialised == ["head.weight", "head.bias"]


def test_a_repository_of_timms_is_read_strictly(
    timm: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    whole = perturbed(timm.create_model("test_resnet"))
    folder = in_timms_repository(timm, whole, tmp_path)
    state = load_file(folder / "model.safetensors")
    save_file({**state, "junk": torch.ones(2)}, folder / "model.safetensors")
    with pytest.raises(DataError, match="left over junk"):
        build(read("timm:test_resnet"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architecture": "test_vit", "model_args": {}}))
    with pytest.raises(DataError, match="it is of timm's test_vit, not of timm:test_resnet"):
        read("timm:test_resnet")
    (folder / "config.json").write_text(json.dumps({**config, "model_args": {"drop_rate": 0.1, "odd": 1}}))
    with pytest.raises(DataError, match="what the timm that is installed knows .*odd"):
        read(folder)


def test_weights_that_timm_keeps_in_another_form_are_not_fetched(timm: ModuleType) -> None:
    with pytest.raises(UsageError, match=r"as a file of another form \(https://\S+\), which is not read"):
        read("timm:gcvit_tiny")


# Strictness -----------------------------------------------------------------------------------------


def saved_by_transformers(library: ModuleType, folder: Path) -> tuple[Any, dict[str, torch.Tensor]]:
    """A small ConvNeXt V2 in a folder, as its own library writes it, and the file's tensors."""
    model = perturbed(transformers_model(library, "convnextv2"))
    model.save_pretrained(folder)
    rule = {"image_processor_type": "ViTImageProcessor", "size": 64}
    (folder / "preprocessor_config.json").write_text(json.dumps(rule))
    return model, load_file(folder / "model.safetensors")


def rewritten(folder: Path, tensors: dict[str, torch.Tensor], **settings: Any) -> Path:
    save_file({name: value.contiguous() for name, value in tensors.items()}, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **settings}))
    return folder


def test_a_folder_of_transformers_is_read_strictly(transformers: ModuleType, tmp_path: Path) -> None:
    _, state = saved_by_transformers(transformers, tmp_path)
    names = [name for name in state if name.endswith("layernorm.weight")]
    body = {name: value for name, value in state.items() if name != names[-1]}
    with pytest.raises(DataError, match=rf"missing .*{names[-1].split('.', 1)[1]}.*; left over junk"):
        read(rewritten(tmp_path, {**body, "junk": torch.ones(2)}))
    with pytest.raises(DataError, match=r"of another shape .*: \[5\] in the file, \[32\] in the model"):
        read(rewritten(tmp_path, {**state, names[-1]: torch.ones(5)}))
    half = {name: value for name, value in state.items() if name != "classifier.bias"}
    with pytest.raises(DataError, match=r"missing classifier.bias"):
        read(rewritten(tmp_path, half))
    with pytest.raises(DataError, match="infinite or not a number"):
        build(read(rewritten(tmp_path, {**state, names[-1]: torch.full((32,), torch.nan)})))
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(DataError, match="cannot be read"):
        read(tmp_path)


def test_only_a_whole_head_may_be_missing_and_is_said_to_be(transformers: ModuleType, tmp_path: Path) -> None:
    model, state = saved_by_transformers(transformers, tmp_path)
    rewritten(tmp_path, {name: value for name, value in state.items() if not name.startswith("classifier.")})
    pretrained = read(tmp_path)
    assert (pretrained.described.headless, pretrained.classes) == (True, ())
    network, report = build(pretrained, ["x", "y"])
    assert report.notes[-1] == "the file has no head: one of zeros for 2 classes is put on"
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(network(images), torch.zeros(2, 2))
        body = model.convnextv2(images).pooler_output
        torch.testing.assert_close(network.pooled(network.encode(images)), body, atol=1e-6, rtol=1e-6)


def test_the_file_that_was_named_is_read_and_the_layout_said(
    transformers: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, state = saved_by_transformers(transformers, tmp_path)
    other = {name: value.half() for name, value in state.items()} | {"classifier.bias": torch.full((3,), 7.0)}
    save_file(other, tmp_path / "other.safetensors")
    network, report = build(read(tmp_path / "other.safetensors"))
    assert network.head.bias.tolist() == [7.0] * 3
    assert {value.dtype for value in network.parameters()} == {torch.float32}
    assert report.lines()[0].endswith(f"(huggingface layout, {report.read} renamed)")
    torch.save(other, tmp_path / "older.bin")
    assert build(read(tmp_path / "older.bin"))[0].head.bias.tolist() == [7.0] * 3
    out = tmp_path / "converted"
    source = str(tmp_path / "other.safetensors")
    assert main(["convert", source, "--to", "vitral", "--out", str(out), "--quiet"]) == 0
    assert json.loads((out / "conversion.json").read_text())["source_layout"] == "huggingface"


def test_transformers_prints_nothing_and_keeps_its_own_settings(
    transformers: ModuleType, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = importlib.import_module("transformers.utils.logging")
    _, state = saved_by_transformers(transformers, tmp_path)
    del state["classifier.weight"], state["classifier.bias"]
    rewritten(tmp_path, state)
    before = words.get_verbosity(), words.is_progress_bar_enabled()
    capfd.readouterr()
    read(tmp_path)
    assert capfd.readouterr() == ("", "")
    assert (words.get_verbosity(), words.is_progress_bar_enabled()) == before


@pytest.mark.parametrize(
    "settings",
    [
        {"auto_map": {"AutoConfig": "evil.Config"}},
        {"backbone": "someone/model"},
        {"hidden_act": "https://x/y"},
        {"attn_implementation": "flash_attention_2"},
        {"quantization_config": {"quant_method": "x"}},
        {"depths": [1, 1, 2, 1 << 25]},
        {"drop_path_rate": float("nan")},
    ],
)
def test_transformers_sees_no_setting_that_was_not_looked_at(
    transformers: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    saved_by_transformers(transformers, tmp_path)
    rewritten(tmp_path, load_file(tmp_path / "model.safetensors"), **settings)
    given: list[dict[str, Any]] = []
    monkeypatch.setattr(transformers.ConvNextV2Config, "__init__", lambda self, **words: given.append(words))
    monkeypatch.setattr(transformers.ConvNextV2Config, "to_dict", lambda self: {})
    with pytest.raises(DataError, match="settings cannot hold"):
        read(tmp_path)
    assert not any(words.keys() & settings.keys() for words in given)


def test_a_configuration_far_larger_than_its_file_takes_no_memory(
    transformers: ModuleType, timm: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, state = saved_by_transformers(transformers, tmp_path / "theirs")
    rewritten(tmp_path / "theirs", state, hidden_sizes=[8, 16, 24, 1 << 20])
    with pytest.raises(DataError, match=r"has [\d,]+ numbers, the model that config.json describes [\d,]{14,}"):
        read(tmp_path / "theirs")
    config = AdapterConfig(
        "hf", "convnextv2", (32, 32), 2, settings='{"hidden_sizes": [8, 8, 8, 8], "depths": [1, 1, 1, 1]}'
    )
    ours = Model(build_network(config), Preprocessing((32, 32), (32, 32)), ["a", "b"]).save(tmp_path / "ours")
    written = json.loads((ours / "config.json").read_text())
    written["model"]["settings"] = '{"hidden_sizes": [8, 8, 8, 1048576], "depths": [1, 1, 1, 1]}'
    (ours / "config.json").write_text(json.dumps(written))
    with pytest.raises(DataError, match="of another shape"):
        build(read(ours))


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


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"architecture": "test_resnet", "pretrained_cfg": {}}, r"'test_resnet', .*pip install 'vitral\[timm\]'"),
        ({"model_type": "convnextv2"}, r"'convnextv2' is not read .*pip install 'vitral\[transformers\]'"),
    ],
)
def test_a_folder_that_needs_a_missing_library_names_its_extra(
    config: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str, *_: Any) -> ModuleType:
        raise ModuleNotFoundError(f"No module named {name!r}")

    save_file({"a": torch.ones(2)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(UnavailableError, match=said):
        read(tmp_path)


def test_a_network_that_transformers_cannot_import_is_not_called_badly_set(
    transformers: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, usual = configuration("hf:convnextv2"), importlib.import_module

    class Broken:
        def __getattr__(self, name: str) -> Any:
            raise ModuleNotFoundError(f"Could not import module '{name}'. Is all there?\nSet a level of words.")

    monkeypatch.setattr(adapter, "transformers_defaults", lambda _: type(transformers.ConvNextV2Config()))
    monkeypatch.setattr(importlib, "import_module", lambda name: Broken() if name == "transformers" else usual(name))
    with pytest.raises(UnavailableError, match=r"\(Could not import module '\w+'\): see what `vitral doctor`"):
        build_network(config)


def test_what_no_library_here_knows_is_said_to_be_so(
    timm: ModuleType, transformers: ModuleType, tmp_path: Path
) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "resnet19", "pretrained_cfg": {}}))
    with pytest.raises(DataError, match="what the timm that is installed knows"):
        read(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(DataError, match="the types that Transformers has an image classifier of"):
        read(tmp_path)


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
        {"settings": '{"attn_implementation": "flash_attention_2"}'},
        {"settings": '{"depths": [1, 99999999]}'},
        {"settings": '{"drop_path_rate": NaN}'},
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
