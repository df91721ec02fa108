"""Weights in and out: timm's own model as the oracle, strict accounts, damaged folders."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests import peers
from tests.places import WEIGHTS
from vitral.config import Preprocessing
from vitral.data.preprocessing import to_json
from vitral.errors import DataError, MissingInputError, StorageError
from vitral.models.vit import VisionTransformer, ViTConfig
from vitral.weights import build, folder, read, timm
from vitral.weights.layout import Described
from vitral.weights.stored import open_stored

CONFIG = {
    "architecture": "vit_tiny_patch16_224",
    "num_classes": 3,
    "pretrained_cfg": {
        "input_size": [3, 32, 32], "interpolation": "bicubic", "crop_pct": 0.9, "mean": [0.5] * 3, "std": [0.25] * 3,
        "label_names": ["a", "b", "c"],
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def timm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """timm's own ViT-Ti/16 at 32 pixels with three classes, saved as timm does."""
    library = peers.or_skip(peers.timm)
    torch.manual_seed(0)
    model = library.create_model("vit_tiny_patch16_224", num_classes=3, img_size=32).eval()
    torch.nn.init.normal_(model.head.weight)
    torch.nn.init.normal_(model.pos_embed)
    place = tmp_path_factory.mktemp("timm")
    save_file(model.state_dict(), place / "model.safetensors")
    (place / "config.json").write_text(json.dumps(CONFIG))
    images = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        torch.save({"images": images, "logits": model(images)}, place / "expected.pt")
    return place


def expected(place: Path) -> tuple[torch.Tensor, torch.Tensor]:
    kept = torch.load(place / "expected.pt", weights_only=True)
    return kept["images"], kept["logits"]


def test_timms_weights_give_timms_logits(timm_folder: Path) -> None:
    network, report = build(read(timm_folder))
    images, logits = expected(timm_folder)
    with torch.no_grad():
        torch.testing.assert_close(network(images), logits, atol=1e-5, rtol=1e-5)
    assert (report.read, report.dropped, report.reinitialised) == (152, [], [])


def test_timms_preprocessing_and_class_names_come_along(timm_folder: Path) -> None:
    pretrained = read(timm_folder)
    assert pretrained.preprocessing == Preprocessing((32, 32), 35, "bicubic", (0.5,) * 3, (0.25,) * 3)
    assert pretrained.classes == ("a", "b", "c")


def test_what_is_read_and_written_back_has_the_same_bits(timm_folder: Path, tmp_path: Path) -> None:
    pretrained = read(timm_folder)
    network, _ = build(pretrained)
    timm.write(tmp_path, pretrained.described, network.state_dict())
    before, after = (load_file(place / "model.safetensors") for place in (timm_folder, tmp_path))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert read(tmp_path).described == pretrained.described


def test_the_same_classes_keep_the_head_and_others_get_zeros(timm_folder: Path) -> None:
    pretrained = read(timm_folder)
    kept, _ = build(pretrained, ["a", "b", "c"])
    assert kept.head.weight.any()
    for classes in (["x", "y"], ["c", "b", "a"]):
        fresh, report = build(pretrained, classes)
        assert fresh.head.weight.shape == (len(classes), 192)
        assert not fresh.head.weight.any()
        assert report.reinitialised == ["head.weight", "head.bias"]


def test_another_size_resizes_the_positions_and_says_so(timm_folder: Path) -> None:
    network, report = build(read(timm_folder), image_size=(64, 48))
    assert network.position_embedding.shape == (1, 13, 192)
    assert report.resized == [("position_embedding", (1, 5, 192), (1, 13, 192))]


def damaged(timm_folder: Path, place: Path, change: object) -> Path:
    shutil.copytree(timm_folder, place, dirs_exist_ok=True)
    tensors = load_file(place / "model.safetensors")
    change(tensors)  # type: ignore[operator]
    save_file(tensors, place / "model.safetensors")
    return place


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop("norm.weight"), "missing norm.weight"),
        (lambda t: t.update({"blocks.0.attn.qkv.weight": torch.zeros(576, 100)}), r"\[576, 100\] in the file"),
        (lambda t: t.update({"blocks.12.norm1.weight": torch.zeros(192)}), "left over blocks.12.norm1.weight"),
        (lambda t: t.update({"dist_token": torch.zeros(1, 1, 192)}), "left over dist_token"),
        (lambda t: t.update({"pos_embed": torch.zeros(1, 6, 192)}), "position_embedding: \\[1, 6, 192\\]"),
    ],
)
def test_whatever_does_not_fit_is_an_error_that_names_it(
    timm_folder: Path, tmp_path: Path, change: object, said: str
) -> None:
    with pytest.raises(DataError, match=said):
        build(read(damaged(timm_folder, tmp_path / "d", change)))


def test_a_wrong_number_of_positions_is_not_guessed_around(timm_folder: Path, tmp_path: Path) -> None:
    place = damaged(timm_folder, tmp_path / "d", lambda t: t.update({"pos_embed": torch.zeros(1, 6, 192)}))
    with pytest.raises(DataError, match="6 positions where image size 32x32 makes 5"):
        build(read(place), image_size=(64, 64))


def artefact(place: Path) -> tuple[Path, VisionTransformer]:
    torch.manual_seed(0)
    network = VisionTransformer(ViTConfig(4, 16, 1, 32, 2, (8, 12), 2, representation_size=8, pool="map"))
    torch.nn.init.normal_(network.head.weight)
    described = Described(network.config, Preprocessing((8, 12), None), ("cat", "dög"), {"cat": "Felis"})
    folder.write_model(place, described, network.state_dict(), {"top1": 0.5}, "# card")
    return place, network


def test_a_model_folder_gives_back_what_went_in(tmp_path: Path) -> None:
    place, network = artefact(tmp_path / "m")
    pretrained = read(place)
    loaded, _ = build(pretrained)
    assert loaded.config == network.config
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in network.state_dict().items())
    assert (pretrained.preprocessing, pretrained.classes) == (Preprocessing((8, 12), None), ("cat", "dög"))
    assert (pretrained.described.descriptions, pretrained.metrics) == ({"cat": "Felis"}, {"top1": 0.5})


def test_all_of_a_folder_can_be_read_by_the_same_people(tmp_path: Path) -> None:
    place, _ = artefact(tmp_path / "m")
    assert len({file.stat().st_mode for file in place.iterdir()}) == 1


def test_writing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    places = [artefact(tmp_path / name)[0] for name in ("a", "b")]
    for file in places[0].iterdir():
        assert file.read_bytes() == (places[1] / file.name).read_bytes()


def test_a_failed_write_keeps_the_old_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, network = artefact(tmp_path / "m")
    before = (place / "model.safetensors").read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder, "save_file", full)
    with pytest.raises(StorageError, match="No space left on device"):
        described = Described(network.config, Preprocessing((8, 12)), ("x", "y"))
        folder.write_model(place, described, network.state_dict(), {}, "")
    assert (place / "model.safetensors").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("config.json", b"{", "cannot be read as JSON"),
        ("config.json", b"[]", "must hold a JSON object"),
        ("config.json", b"{}", "no known layout"),
        ("config.json", b'{"library": "vitral", "format": 99}', "update vitral"),
        (
            "config.json",
            b'{"library": "vitral", "format": 1, "model": {"with": 3}}',
            "unknown field 'with': did you mean width",
        ),
        ("config.json", b'{"library": "vitral", "format": 1, "model": {"width": "4"}}', "whole number"),
        ("config.json", b'{"library": "vitral", "format": 1, "model": {"width": 16}}', "not a whole model folder"),
        ("config.json", b'{"architecture": "no_such_net", "pretrained_cfg": {}}', "only plain ViTs"),
        ("classes.json", b'{"names": ["one"]}', "names 1 classes, its head has 2"),
        ("preprocessing.json", b'{"crp": 3}', "did you mean crop"),
        ("model.safetensors", b"", "cannot be read as safetensors"),
        ("model.safetensors", b"\xff" * 100, "cannot be read as safetensors"),
    ],
)
def test_damaged_folders_are_refused(tmp_path: Path, file: str, content: bytes, said: str) -> None:
    place, _ = artefact(tmp_path / "m")
    (place / file).write_bytes(content)
    with pytest.raises(DataError, match=said):
        build(read(place))


def test_a_missing_folder_names_its_nearest_neighbour(tmp_path: Path) -> None:
    artefact(tmp_path / "model")
    (tmp_path / "modl").mkdir()  # nearer, but without weights
    with pytest.raises(MissingInputError, match=re.escape(f"did you mean {tmp_path / 'model'}?")):
        read(tmp_path / "modle")
    (tmp_path / "npz").mkdir()
    with pytest.raises(MissingInputError, match="check the path"):
        read(tmp_path / "nope")


def test_the_folder_of_a_run_is_read_as_its_model(tmp_path: Path) -> None:
    _, network = artefact(tmp_path / "run" / "model")
    (tmp_path / "run" / "config.json").write_text("{}")
    found = read(tmp_path / "run")
    again, report = build(found)
    assert found.source == tmp_path / "run" / "model"
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in network.state_dict().items())
    assert any("folder of a run" in line for line in report.lines())
    (tmp_path / "empty" / "model").mkdir(parents=True)
    with pytest.raises(MissingInputError, match="holds no model"):
        read(tmp_path / "empty")


@pytest.mark.skipif(not WEIGHTS.is_dir(), reason=f"the real weights are not at {WEIGHTS}")
def test_the_real_weights_load_completely() -> None:
    network, report = build(read(WEIGHTS))
    assert sum(p.numel() for p in network.parameters()) == 5_717_416
    assert (report.read, len(report.dropped), len(report.resized)) == (152, 0, 0)


@pytest.mark.parametrize(
    ("names", "said"),
    [(["a", "b"], "names 2 classes, the head has 3"), ("abc", "must be a list"), (3, "must be a list")],
)
def test_bad_class_names_are_told_by_their_file(names: object, said: str, tmp_path: Path) -> None:
    config = {**CONFIG, "pretrained_cfg": CONFIG["pretrained_cfg"] | {"label_names": names}}  # type: ignore[operator]
    save_file({"norm.weight": torch.zeros(192)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match=said) as refused:
        read(tmp_path)
    assert str(refused.value).startswith(str(tmp_path / "config.json"))


DEEP = 1_000_000


@pytest.mark.parametrize(
    ("family", "model"),
    [
        ("vit", {"patch_size": 4, "width": 32, "depth": DEEP, "mlp_dim": 64, "num_heads": 2}),
        ("deit", {"patch_size": 4, "width": 32, "depth": DEEP, "mlp_dim": 64, "num_heads": 2}),
        ("layerscale", {"patch_size": 4, "width": 32, "depth": DEEP, "mlp_dim": 64, "num_heads": 2}),
        ("mae", {"patch_size": 4, "width": 32, "depth": DEEP, "mlp_dim": 64, "num_heads": 2}),
        ("beit", {"patch_size": 4, "width": 32, "depth": DEEP, "mlp_dim": 64, "num_heads": 2}),
        ("mixer", {"patch_size": 4, "width": 32, "depth": DEEP, "tokens_mlp_dim": 16, "channels_mlp_dim": 64}),
        ("swin", {"patch_size": 4, "width": 32, "depths": [2, DEEP], "num_heads": [2, 4], "window_size": 7}),
        ("resnet", {"blocks": [1, 1, DEEP, 1]}),
        ("bit", {"blocks": [1, DEEP]}),
        ("botnet", {"blocks": [1, 1, 1, DEEP]}),
        ("hybrid", {"patch_size": 1, "width": 32, "depth": 1, "mlp_dim": 64, "num_heads": 2, "blocks": [DEEP]}),
        ("adapter", {"library": "hf", "name": "vit", "settings": json.dumps({"num_hidden_layers": DEEP})}),
        ("adapter", {"library": "timm", "name": "test_vit", "settings": json.dumps({"depth": DEEP})}),
    ],
)
def test_more_blocks_than_tensors_are_refused_before_they_are_built(
    family: str, model: dict[str, object], tmp_path: Path
) -> None:
    size = [224, 224]
    config = {
        "library": "vitral",
        "format": 1,
        "family": family,
        "model": {"image_size": size, "num_classes": 2, **model},
    }
    files = {
        "config.json": config,
        "classes.json": {"names": ["a", "b"]},
        "preprocessing.json": to_json(Preprocessing()),
    }
    for name, value in files.items():
        (tmp_path / name).write_text(json.dumps(value))
    save_file({"head.bias": torch.zeros(2)}, tmp_path / "model.safetensors")
    with pytest.raises(DataError, match="blocks, but the file has only 1 tensors"):
        read(tmp_path)


@pytest.mark.parametrize(
    "config",
    [
        {**CONFIG, "model_args": {"depth": DEEP}},
        {"architecture": "test_vit", "pretrained_cfg": {}, "model_args": {"depth": DEEP}},
        {"model_type": "vit", "hidden_size": 32, "num_hidden_layers": DEEP, "intermediate_size": 64,
         "num_attention_heads": 2},
    ],
)  # fmt: skip
def test_other_libraries_files_are_no_deeper_than_their_tensors_either(config: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file({"norm.weight": torch.zeros(192)}, tmp_path / "model.safetensors")
    with pytest.raises(DataError, match="blocks, but the file has only 1 tensors"):
        read(tmp_path)


@pytest.mark.parametrize(("words", "meant"), [("ViT-B16", "ViT-B/16"), ("swint", "Swin-T"), ("resnet50", "ResNet-50")])
def test_a_name_that_is_nearly_a_models_gets_the_nearest(words: str, meant: str) -> None:
    with pytest.raises(MissingInputError, match=f"nearest: {meant}"):
        read(words)


@pytest.mark.parametrize("words", ["vit_base_patch16_224", "vit_tiny_patch16_224.augreg_in21k_ft_in1k"])
def test_a_name_as_timm_spells_it_gets_the_way_to_write_it(words: str) -> None:
    with pytest.raises(MissingInputError, match=f"write timm:{words} for a model of timm"):
        read(words)


def write_as(kind: str, path: Path) -> None:
    tensors = {"strange.weight": torch.ones(3000), "other": torch.ones(2)}
    if kind == "safetensors":
        save_file(tensors, path)
    elif kind == "npz":
        np.savez(path, **{name: value.numpy() for name, value in tensors.items()})
    else:
        torch.save(tensors, path)


@pytest.mark.parametrize("kind", ["safetensors", "npz", "pth"])
def test_a_damaged_file_is_called_damaged_and_an_unknown_one_unknown(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"w.{kind}"
    write_as(kind, path)
    with pytest.raises(DataError, match=r"can be read, but is of no known layout \(its tensors .*strange\.weight"):
        read(path)
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:-1], b"", b"<!DOCTYPE html>" + b" " * 100):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="it is damaged"):
            read(path)


@pytest.mark.parametrize("kind", ["npz", "pth"])
def test_a_changed_byte_of_the_numbers_is_damage_where_the_file_has_checksums(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"w.{kind}"
    write_as(kind, path)
    whole = path.read_bytes()
    at = whole.index(np.ones(64, dtype=np.float32).tobytes()) + 5
    path.write_bytes(whole[:at] + b"\x55" + whole[at + 1 :])
    with pytest.raises(DataError, match="it is damaged"):
        open_stored(path).tensor("strange.weight")
