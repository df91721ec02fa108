"""Files of Swins and BEiTs: timm's and the authors' names, with timm's models as the oracle."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests import peers
from vitral.config import Preprocessing
from vitral.errors import DataError, UsageError
from vitral.models import configuration, create_model
from vitral.models.beit import BEiTConfig
from vitral.models.swin import SwinConfig
from vitral.models.vit import ViTConfig
from vitral.weights import build, microsoft, read, timm
from vitral.weights.layout import Described
from vitral.weights.mapping import written

SWIN = {"embed_dim": 16, "depths": [2, 2, 1], "num_heads": [1, 2, 4]}
BEIT = {"embed_dim": 32, "depth": 2, "num_heads": 4}
CASES = {
    # timm's name, its arguments; with a grid of 14, 7, 4 (padded from 3.5) and windows that fit once or are cut off
    "swin": ("swin_tiny_patch4_window7_224", {**SWIN, "img_size": [56, 56]}),
    "swin_wide": ("swin_base_patch4_window7_224", {**SWIN, "img_size": [56, 112]}),
    "swin_small_window": ("swin_tiny_patch4_window7_224", {**SWIN, "window_size": 4, "img_size": [32, 64]}),
    "beit": ("beit_base_patch16_224", {**BEIT, "img_size": [64, 64]}),
    "beit_wide": ("beitv2_large_patch16_224", {**BEIT, "img_size": [48, 80]}),
}
COLOURS = {"mean": [0.5] * 3, "std": [0.25] * 3}


@pytest.fixture(scope="module")
def library() -> ModuleType:
    return peers.or_skip(peers.timm)


def perturbed(model: torch.nn.Module) -> torch.nn.Module:
    """Every parameter away from its start, so that none can be forgotten unseen."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


def saved(library: ModuleType, case: str, folder: Path) -> tuple[torch.nn.Module, torch.Tensor]:
    """timm's model, in the folder as timm keeps it, and pictures of its size."""
    name, arguments = CASES[case]
    size = arguments["img_size"]
    model = perturbed(library.create_model(name, num_classes=3, **arguments))
    save_file(model.state_dict(), folder / "model.safetensors")
    published = {"input_size": [3, 224, 224], "interpolation": "bicubic", "crop_pct": 0.9, **COLOURS}
    config = {"architecture": name, "num_classes": 3, "global_pool": "avg", "model_args": arguments}
    (folder / "config.json").write_text(json.dumps({**config, "pretrained_cfg": {**published, "num_classes": 3}}))
    return model, torch.randn(3, 3, *size)


@pytest.mark.parametrize("case", CASES)
def test_timms_weights_give_timms_logits(library: ModuleType, case: str, tmp_path: Path) -> None:
    theirs, images = saved(library, case, tmp_path)
    network, report = build(read(tmp_path))
    with torch.no_grad():
        torch.testing.assert_close(network(images), theirs(images), atol=1e-5, rtol=1e-5)
    assert (report.dropped, report.reinitialised, report.resized) == ([], [], [])
    assert report.read == len(theirs.state_dict())


@pytest.mark.parametrize("case", ["swin", "beit"])
def test_what_is_read_and_written_back_has_the_same_bits(library: ModuleType, case: str, tmp_path: Path) -> None:
    theirs, _ = saved(library, case, tmp_path)
    pretrained = read(tmp_path)
    network, _ = build(pretrained)
    again = written(timm.entries(pretrained.config, None), network.state_dict())
    before = theirs.state_dict()
    assert before.keys() == again.keys()
    assert all(torch.equal(before[name], again[name]) for name in before)


@pytest.mark.parametrize("case", ["swin", "beit"])
def test_another_size_is_timms_model_of_that_size_with_the_tables_resized(
    library: ModuleType, case: str, tmp_path: Path
) -> None:
    saved(library, case, tmp_path)
    name, arguments = CASES[case]
    changes: dict[str, Any] = {"image_size": (96, 64)} if case == "beit" else {"image_size": (64, 96), "window_size": 4}
    network, report = build(read(tmp_path), **changes)
    size, more = changes["image_size"], {"window_size": 4} if case == "swin" else {}
    theirs = library.create_model(name, num_classes=3, **{**arguments, **more, "img_size": size}).eval()
    theirs.load_state_dict(written(timm.entries(network.config, None), network.state_dict()))
    images = torch.randn(2, 3, *size)
    with torch.no_grad():
        torch.testing.assert_close(network(images), theirs(images), atol=1e-5, rtol=1e-5)
    tables = [n for n in network.state_dict() if n.endswith("relative_positions")]
    if case == "swin":
        tables = tables[:-1]  # the last grid was smaller than the window, and is as large as the new window
    assert [table for table, _, _ in report.resized] == tables


def test_timm_opens_what_is_written(library: ModuleType, tmp_path: Path) -> None:
    network = perturbed(create_model("Swin-T", image_size=56, num_classes=2))
    described = Described(network.config, Preprocessing((56, 56), 63, "bicubic"), ("cat", "dog"))
    timm.write(tmp_path, described, network.state_dict())
    theirs = library.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    images = torch.randn(2, 3, 56, 56)
    with torch.no_grad():
        torch.testing.assert_close(network(images), theirs(images), atol=1e-5, rtol=1e-5)
    assert read(tmp_path).described == described


@pytest.mark.parametrize(
    ("variant", "overrides", "architecture"),
    [
        ("Swin-T", {}, "swin_tiny_patch4_window7_224"),
        ("Swin-S", {}, "swin_small_patch4_window7_224"),
        ("Swin-B", {}, "swin_base_patch4_window7_224"),
        ("Swin-L", {}, "swin_large_patch4_window7_224"),
        ("Swin-B", {"image_size": 384, "window_size": 12}, "swin_base_patch4_window12_384"),
        ("Swin-L", {"image_size": 384, "window_size": 12}, "swin_large_patch4_window12_384"),
        ("BEiT-B/16", {}, "beit_base_patch16_224"),
        ("BEiT-B/16", {"image_size": 384}, "beit_base_patch16_384"),
        ("BEiT-L/16", {}, "beit_large_patch16_224"),
        ("BEiT-L/16", {"image_size": 384}, "beit_large_patch16_384"),
        ("BEiT-L/16", {"image_size": 512}, "beit_large_patch16_512"),
    ],
)
def test_every_published_model_has_timms_names_and_shapes(
    library: ModuleType, variant: str, overrides: dict[str, Any], architecture: str
) -> None:
    with torch.device("meta"):
        theirs = library.create_model(architecture)
    network = create_model(variant, device="meta", **overrides)
    made = written(timm.entries(network.config, None), network.state_dict())
    assert {n: v.shape for n, v in made.items()} == {n: v.shape for n, v in theirs.state_dict().items()}
    module = timm.FAMILIES[architecture.split("_")[0]]
    assert module.name(network.config) == architecture
    side = network.config.image_size
    found = module.configuration(architecture, {"input_size": [3, *side]}, _Nothing())
    assert found == (network.config, {})


class _Nothing:
    shapes: dict[str, tuple[int, ...]] = {}


@pytest.mark.parametrize(
    ("case", "change", "said"),
    [
        ("swin", {"global_pool": "max"}, "pool by 'max'"),
        ("swin", {"model_args": {"mlp_ratio": 3}}, "another mlp_ratio"),
        ("swin", {"model_args": {"window_size": [7, 5]}}, "only squares"),
        ("beit", {"global_pool": "token"}, "pool by 'token'"),
        ("beit", {"model_args": {"swiglu_mlp": True}}, "another swiglu_mlp"),
        ("beit", {"model_args": {**BEIT, "img_size": 80}}, "relative_positions: \\[52, 4\\] in the file"),
        ("swin", {"model_args": {**SWIN, "img_size": 20}}, "relative_positions: \\[169, 1\\] in the file"),
    ],
)
def test_what_timm_varies_beyond_is_refused(
    library: ModuleType, case: str, change: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(library, case, tmp_path)
    monkeypatch.setattr("vitral.models.adapter.imported", peers.missing)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(DataError, match=said):
        build(read(tmp_path))


# The authors' files --------------------------------------------------------------------------------


def authors_swin(theirs: torch.nn.Module) -> dict[str, torch.Tensor]:
    """timm's Swin under the names of microsoft/Swin-Transformer, with the buffers that its files hold."""
    state = {}
    for name, value in theirs.state_dict().items():
        parts = name.split(".")
        if parts[2:3] == ["downsample"]:
            parts[1] = str(int(parts[1]) - 1)
        state[".".join(parts).replace("head.fc", "head")] = value
    for name, module in theirs.named_modules():
        if name.endswith(".attn"):
            state[f"{name}.relative_position_index"] = module.relative_position_index
        elif getattr(module, "attn_mask", None) is not None:
            state[f"{name}.attn_mask"] = module.attn_mask
    return state


def authors_beit(theirs: torch.nn.Module) -> dict[str, torch.Tensor]:
    """timm's BEiT under the names of microsoft/unilm, with the buffers that its files hold."""
    buffers = {n: b for n, b in theirs.named_buffers() if n.endswith("relative_position_index")}
    return {**theirs.state_dict(), **buffers}


AUTHORS = {"swin": authors_swin, "beit": authors_beit}


@pytest.mark.parametrize("case", AUTHORS)
def test_the_authors_files_give_timms_logits(library: ModuleType, case: str, tmp_path: Path) -> None:
    theirs, images = saved(library, case, tmp_path)
    (tmp_path / "config.json").unlink()
    (tmp_path / "model.safetensors").unlink()
    state = AUTHORS[case](theirs)
    save_file(state, tmp_path / f"{CASES[case][0]}_ft22kto1k.safetensors")
    pretrained = read(tmp_path)
    network, report = build(pretrained)
    with torch.no_grad():
        torch.testing.assert_close(network(images), theirs(images), atol=1e-5, rtol=1e-5)
    assert pretrained.layout == "microsoft"
    assert {n.rpartition(".")[2] for n, _ in report.dropped} <= {"relative_position_index", "attn_mask"}
    assert pretrained.config.num_heads == ((1, 2, 4) if case == "swin" else 4)

    out = tmp_path / "out"
    out.mkdir()
    microsoft.write(out, pretrained.described, network.state_dict())
    again = torch.load(out / "model.pth", weights_only=True)["model"]
    assert again.keys() == state.keys() - {n for n, _ in report.dropped}
    assert all(torch.equal(again[name], state[name]) for name in again)


def test_timms_first_names_of_swin_are_read_too(library: ModuleType, tmp_path: Path) -> None:
    theirs, images = saved(library, "swin", tmp_path)
    save_file(authors_swin(theirs), tmp_path / "model.safetensors")
    network, report = build(read(tmp_path))
    with torch.no_grad():
        torch.testing.assert_close(network(images), theirs(images), atol=1e-5, rtol=1e-5)
    assert {name.rpartition(".")[2] for name, _ in report.dropped} == {"relative_position_index", "attn_mask"}


def test_without_masks_the_image_size_is_the_one_that_the_tables_fit(library: ModuleType, tmp_path: Path) -> None:
    theirs, _ = saved(library, "swin", tmp_path)
    (tmp_path / "config.json").unlink()
    state = authors_swin(theirs)
    save_file({n: v for n, v in state.items() if not n.endswith("attn_mask")}, tmp_path / "model.safetensors")
    network, report = build(read(tmp_path))
    assert network.config.image_size == (64, 64)  # grids of 16, 8, 4: the last table is of a window of 4
    assert "64" in report.notes[0]


def test_a_pth_of_the_authors_is_read(tmp_path: Path) -> None:
    network = perturbed(create_model("BEiT-B/16", width=32, depth=1, mlp_dim=64, num_heads=2, image_size=48))
    described = Described(network.config, Preprocessing((48, 48)))
    microsoft.write(tmp_path, described, network.state_dict())
    pretrained = read(tmp_path / "model.pth")
    assert (pretrained.layout, pretrained.config) == ("microsoft", network.config)
    loaded, _ = build(pretrained)
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        # TEST.CROP of microsoft/Swin-Transformer's configurations; crop_pct of microsoft/unilm's datasets.py
        (configuration("Swin-T"), ((224, 224), 256)),
        (configuration("Swin-B", image_size=384, window_size=12), ((384, 384), (384, 384))),
        (configuration("BEiT-B/16"), ((224, 224), 256)),
        (configuration("BEiT-L/16", image_size=512), ((512, 512), 512)),
    ],
)
def test_the_authors_preprocessing_follows_from_the_size(config: Any, expected: Any, tmp_path: Path) -> None:
    shapes = {n: tuple(v.shape) for n, v in _authors(config).items()}
    described = microsoft.describe(_Shapes(shapes), {"architecture": "beit"}, tmp_path)
    found = described.preprocessing
    assert (described.config.image_size, found.resize, found.interpolation) == (*expected, "bicubic")
    assert found.mean == ((0.485, 0.456, 0.406) if isinstance(config, SwinConfig) else (0.5, 0.5, 0.5))
    kept = ("width", "num_heads", "image_size", "num_classes", "patch_size")
    assert all(getattr(described.config, name) == getattr(config, name) for name in kept)


def _authors(config: Any) -> dict[str, torch.Tensor]:
    name = "Swin-T" if isinstance(config, SwinConfig) else "BEiT-B/16"
    fields = {k: getattr(config, k) for k in config.__dataclass_fields__}
    network = create_model(name, device="meta", **fields)
    return written(microsoft.entries(config, None), network.state_dict())


class _Shapes:
    def __init__(self, shapes: dict[str, tuple[int, ...]]) -> None:
        self.shapes = shapes


def test_colours_that_nothing_tells_are_asked_for(tmp_path: Path) -> None:
    tensors = _authors(BEiTConfig(4, 32, 1, 64, 2, (16, 16), 3))
    made = {n: torch.zeros(v.shape) for n, v in tensors.items()}
    save_file(made, tmp_path / "finetuned.safetensors")
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match='"beitv2"} as config.json beside it'):
        read(tmp_path)
    half, imagenet = (0.5, 0.5, 0.5), (0.485, 0.456, 0.406)
    for version, mean in (("beit", half), ("beitv2", imagenet)):
        (tmp_path / "config.json").write_text(json.dumps({"architecture": version}))
        pretrained = read(tmp_path)
        assert (pretrained.layout, pretrained.preprocessing.mean) == ("microsoft", mean)
    microsoft.write(tmp_path / "out", pretrained.described, build(pretrained)[0].state_dict())
    assert read(tmp_path / "out").described == pretrained.described


def test_files_that_are_not_fine_tuned_say_so(tmp_path: Path) -> None:
    save_file({"rel_pos_bias.relative_position_bias_table": torch.zeros(732, 12)}, tmp_path / "model.safetensors")
    with pytest.raises(DataError, match="fine-tuned"):
        read(tmp_path)


def test_a_table_that_no_square_makes_is_refused(tmp_path: Path) -> None:
    tensors = _authors(BEiTConfig(4, 32, 1, 64, 2, (16, 16), 3))
    made = {n: torch.zeros(v.shape) for n, v in tensors.items()}
    made["blocks.0.attn.relative_position_bias_table"] = torch.zeros(40, 2)
    save_file(made, tmp_path / "model.safetensors")
    with pytest.raises(DataError, match="37 offsets, which no square makes"):
        read(tmp_path)


def test_other_families_cannot_be_written(tmp_path: Path) -> None:
    described = Described(ViTConfig(4, 32, 1, 64, 2, (16, 16), 3), Preprocessing((16, 16)))
    with pytest.raises(UsageError, match="Swins and BEiTs"):
        microsoft.write(tmp_path, described, {})
