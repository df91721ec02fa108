"""The authors' files: every generation of names, against timm's own readers, the authors' formulas and real weights."""

from __future__ import annotations

import copy
import csv
import dataclasses
import functools
import json
import re
import runpy
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from tests import peers
from tests.places import DATA, WEIGHTS
from vitral.config import Preprocessing
from vitral.errors import DataError, UsageError
from vitral.models import VARIANTS, Network, bit, build_network, hybrid
from vitral.models.bit import BiTConfig
from vitral.models.hybrid import HybridConfig
from vitral.models.mixer import MixerConfig
from vitral.models.vit import ViTConfig
from vitral.serving.predictor import Model
from vitral.weights import build, google, read
from vitral.weights.layout import Described

IMAGENET = DATA / "imagenet_val_1300"

Arrays = dict[str, np.ndarray]

CONFIGS: dict[str, Any] = {
    "vit": ViTConfig(4, 32, 2, 64, 4, (16, 16), 5),
    "averaged": ViTConfig(4, 32, 2, 64, 4, (16, 16), 5, pool="gap"),
    "pre-logits": ViTConfig(4, 32, 2, 64, 4, (16, 16), 5, representation_size=24),
    "attention pool": ViTConfig(4, 32, 2, 64, 4, (16, 16), 5, pool="map"),
    "fixed positions": ViTConfig(32, 32, 2, 64, 4, (224, 224), 5, pool="gap", positions="sincos2d"),
    "hybrid": HybridConfig(1, 32, 2, 64, 4, (16, 16), 5, blocks=(1, 2)),
    "root alone": HybridConfig(2, 32, 2, 64, 4, (24, 24), 5, blocks=()),
    "bit": BiTConfig((1, 2), 1, (224, 224), 5),
    "mixer": MixerConfig(4, 32, 2, 8, 64, (16, 16), 5),
}
kinds = pytest.mark.parametrize("kind", CONFIGS)


@functools.cache
def made(config: Any) -> Network:
    """A network of random numbers, without its slow initial values."""
    with torch.device("meta"):
        network = build_network(config)
    network.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        parameter.data.normal_(0.0, 0.1, generator=generator)
    return network.eval()


def described(config: Any, **more: Any) -> Described:
    return Described(config, Preprocessing(crop=config.image_size, resize=config.image_size), **more)


def arrays(config: Any, place: Path) -> Arrays:
    """What is written of a network, by name."""
    place.mkdir(exist_ok=True)
    google.write(place, described(config), made(config).state_dict())
    with np.load(place / "model.npz") as opened:
        return dict(opened)


def renamed(file: Arrays, *changes: tuple[str, str]) -> Arrays:
    for pattern, to in changes:
        file = {re.sub(pattern, to, name): value for name, value in file.items()}
    return file


def stored(file: Arrays, place: Path, beside: dict[str, Any] | None = None) -> Path:
    place.mkdir(exist_ok=True)
    np.savez(place / "file.npz", **file)
    (place / "config.json").write_text(json.dumps(beside or {}))
    return place / "file.npz"


@kinds
def test_a_file_tells_what_it_is_by_names_and_shapes(kind: str, tmp_path: Path) -> None:
    file = stored(arrays(CONFIGS[kind], tmp_path / "a"), tmp_path / "b")
    pretrained = read(file)
    assert pretrained.config == CONFIGS[kind]
    network, report = build(pretrained)
    assert report.dropped == report.reinitialised == report.resized == []
    expected = made(CONFIGS[kind]).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in network.state_dict().items())


@kinds
def test_what_a_file_cannot_carry_stands_beside_it(kind: str, tmp_path: Path) -> None:
    size, stride = CONFIGS[kind].image_size, CONFIGS[kind].stride
    config = dataclasses.replace(CONFIGS[kind], head_bias=-6.9, image_size=(size[0], size[1] + stride))
    full = Described(
        config,
        Preprocessing(config.image_size, 256, "bicubic", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)),
        ("a", "b", "c", "d", "é"),
        {"a": "first"},
        True,
    )
    google.write(tmp_path, full, made(config).state_dict())
    again = read(tmp_path).described
    assert dataclasses.replace(again, notes=()) == full


def of_big_vision(file: Arrays) -> Arrays:
    return renamed(
        file, ("MultiHeadDotProductAttention_1", "MultiHeadDotProductAttention_0"), ("LayerNorm_2", "LayerNorm_1"),
        ("MlpBlock_3", "MlpBlock_0"), ("Transformer/posembed_input/", ""),
    )  # fmt: skip


def stacked(file: Arrays) -> Arrays:
    """All blocks under one name, as flax's scan keeps them."""
    blocks = re.compile(r"Transformer/encoderblock_\d+/")
    kept = {name: value for name, value in file.items() if not blocks.match(name)}
    for name in [name for name in file if name.startswith("Transformer/encoderblock_0/")]:
        layers = [file[name.replace("encoderblock_0", f"encoderblock_{i}")] for i in range(2)]
        kept[name.replace("encoderblock_0", "encoderblock")] = np.stack(layers)
    return kept


def beside_an_optimizer(file: Arrays) -> Arrays:
    state = {f"opt/state/param_states/{name}/grad_ema": value for name, value in file.items()}
    return renamed(file, ("^", "opt/target/")) | state | {"opt/state/step": np.array(7)}


GENERATIONS: dict[str, tuple[str, Callable[[Arrays], Arrays]]] = {
    # kind of network: how its file may look
    "flax.optim": ("vit", beside_an_optimizer),
    "optax": ("vit", lambda f: renamed(f, ("^", "params/")) | {"opt/0/mu/cls": f["cls"], "chrono/accum_train_time": np.zeros(())}),
    "two towers": ("vit", lambda f: renamed(f, ("^", "params/img/")) | {"params/txt/head/bias": f["head/bias"], "params/t": np.zeros(1)}),
    "numbered by kind": ("vit", of_big_vision),
    "positions in the encoder": ("vit", lambda f: renamed(of_big_vision(f), ("^pos_embedding", "Transformer/pos_embedding"))),
    "scanned": ("vit", lambda f: stacked(of_big_vision(f))),
    "scanned, pooled by attention": ("attention pool", stacked),
    "groups with four dimensions": ("hybrid", lambda f: {n: v[None, None, None] if re.search(r"gn(\d|_root|_proj)/", n) else v for n, v in f.items()}),
    "numbered convolutions": ("bit", lambda f: renamed(f, ("(block2.*/standardized_conv2d)/", r"\1_17/"))),
    "norms of Mixers numbered together": ("mixer", lambda f: renamed(f, ("LayerNorm_1", "LayerNorm_2"))),
}  # fmt: skip


@pytest.mark.parametrize("generation", GENERATIONS)
def test_every_generation_of_files_gives_the_same_bits(generation: str, tmp_path: Path) -> None:
    kind, change = GENERATIONS[generation]
    plain = arrays(CONFIGS[kind], tmp_path / "a")
    file = change(plain)
    assert file.keys() != plain.keys() or "four" in generation
    pretrained = read(stored(file, tmp_path / "b"))
    assert pretrained.config == CONFIGS[kind]
    network, report = build(pretrained)
    expected = made(CONFIGS[kind]).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in network.state_dict().items())
    assert report.read == len(expected)
    beside = [name for name in file if re.match(r"opt/state|opt/0|chrono|params/txt|params/t$", name)]
    assert [name for name, _ in report.dropped] == beside
    google.write(tmp_path / "a", pretrained.described, network.state_dict())
    with np.load(tmp_path / "a" / "model.npz") as back:
        assert back.files == list(plain)
        assert all(np.array_equal(back[name], plain[name]) for name in back.files)


def first_mixer(file: Arrays) -> Arrays:
    """The names of the first Mixers, whose kernels had a dimension for a group."""
    file = renamed(
        file, ("^stem", "embedding"), ("pre_head_layer_norm", "Mixer/encoder_norm"), ("^MixerBlock_", "Mixer/encoderblock_"),
        (r"_mixing/Dense_0/(\w+)", r"_mixing_phase_0/\g<1>1"), (r"_mixing/Dense_1/(\w+)", r"_mixing_phase_0/\g<1>2"),
    )  # fmt: skip
    return {name: value[None] if "_phase_0" in name else value for name, value in file.items()}


def new_bit(file: Arrays) -> Arrays:
    """big_vision's names for a BiT."""
    file = renamed(
        file, ("^resnet/", ""), ("root_block/standardized_conv2d", "root_block/conv_root"), ("a/proj/standardized_conv2d", "conv_proj"),
        *((f"{letter}/standardized_conv2d", f"conv{i}") for i, letter in enumerate("abc", 1)),
        *((f"{letter}/group_norm", f"gn{i}") for i, letter in enumerate("abc", 1)),
        ("^group_norm", "norm-pre-head"), ("gamma", "scale"), ("beta", "bias"), ("head/conv2d", "head"),
    )  # fmt: skip
    file["head/kernel"] = file["head/kernel"][0, 0]
    return {n: v[None, None, None] if re.search(r"gn\d/|norm-pre", n) else v for n, v in file.items()}


@pytest.mark.parametrize(("kind", "change"), [("mixer", first_mixer), ("bit", new_bit)])
def test_other_forms_of_the_same_network_give_the_same_bits(
    kind: str, change: Callable[[Arrays], Arrays], tmp_path: Path
) -> None:
    file = change(arrays(CONFIGS[kind], tmp_path / "a"))
    pretrained = read(stored(file, tmp_path / "b"))
    assert pretrained.config == CONFIGS[kind]
    expected = made(CONFIGS[kind]).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in build(pretrained)[0].state_dict().items())


def test_a_class_token_without_a_position_gets_none(tmp_path: Path) -> None:
    """big_vision adds positions before the class token: it converts the older files by cls + pos[0] and pos[1:]."""
    plain = arrays(CONFIGS["vit"], tmp_path / "a")
    file = of_big_vision(plain)
    file["cls"] = plain["cls"] + file["pos_embedding"][:, :1]
    file["pos_embedding"] = file["pos_embedding"][:, 1:]
    network, _ = build(read(stored(file, tmp_path / "b")))
    assert not network.position_embedding[:, 0].any()
    images = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(network(images), made(CONFIGS["vit"])(images), atol=1e-6, rtol=1e-5)


def test_bfloat16_is_read(tmp_path: Path) -> None:
    plain = arrays(CONFIGS["vit"], tmp_path / "a")
    halves = {name: (value.view(np.uint32) >> 16).astype(np.uint16).view("V2") for name, value in plain.items()}
    network, _ = build(read(stored(halves, tmp_path / "b")))
    cut = (plain["head/kernel"].view(np.uint32) >> 16 << 16).view(np.float32)
    assert np.array_equal(network.head.weight.detach().numpy(), cut.T)


@pytest.mark.parametrize(
    ("kind", "change", "said"),
    [
        ("vit", lambda f: f.pop("Transformer/encoder_norm/scale"), "missing Transformer/encoder_norm/scale"),
        ("vit", lambda f: f.update({"extra": np.zeros(3)}), "left over extra"),
        ("vit", lambda f: f.update({"Transformer/encoderblock_5/LayerNorm_0/scale": np.zeros(32)}), "some are missing"),
        ("vit", lambda f: f.update({"Transformer/posembed_input/pos_embedding": np.zeros((1, 13, 32))}), "13 positions make no square"),
        ("vit", lambda f: f.update({"embedding/kernel": np.zeros((4, 2, 3, 32))}), "patches are of 4x2"),
        ("vit", lambda f: f.update({"MAPHead_0/probe": np.zeros((1, 1, 32))}), "both are not read"),
        ("vit", lambda f: f.update({"Transformer/encoderblock_0/MultiHeadDotProductAttention_1/query/kernel": np.zeros((32, 32))}), "3 dimensions were expected"),
        ("mixer", lambda f: f.pop("head/kernel"), "left over head/bias"),
        ("mixer", lambda f: f.update({"MixerBlock_0/token_mixing/Dense_0/kernel": np.zeros((15, 8))}), "15 positions"),
        ("bit", lambda f: f.update({"resnet/root_block/standardized_conv2d/kernel": np.zeros((7, 7, 3, 40))}), "40 channels"),
        ("hybrid", lambda f: f.pop("block2/unit2/conv2/kernel"), "missing block2/unit2/conv2/kernel"),
    ],
)  # fmt: skip
def test_files_that_do_not_fit_are_refused(
    kind: str, change: Callable[[Arrays], object], said: str, tmp_path: Path
) -> None:
    file = arrays(CONFIGS[kind], tmp_path / "a")
    change(file)
    with pytest.raises(DataError, match=said):
        build(read(stored(file, tmp_path / "b")))


@pytest.mark.parametrize(
    ("beside", "said"),
    [
        ({"model": {"image_size": [16, 24]}}, "17 positions do not fit the image size 16x24"),
        ({"model": {"image_size": "16"}}, "image_size must be"),
        ({"model": {"width": 32}}, "has a field 'width'"),
        ({"classes": {"names": ["one"]}}, "names 1 classes"),
        ({"preprocessing": {"crp": 3}}, "did you mean crop"),
        ({"model": 3}, "not as google writes it"),
    ],
)
def test_what_stands_beside_is_checked(beside: dict[str, Any], said: str, tmp_path: Path) -> None:
    file = arrays(CONFIGS["vit"], tmp_path / "a")
    with pytest.raises(DataError, match=said):
        read(stored(file, tmp_path / "b", {"layout": "google", **beside}))


def test_positions_off_a_square_need_the_callers_size(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIGS["vit"], image_size=(16, 24))
    file = arrays(config, tmp_path / "a")
    with pytest.raises(DataError, match="25 positions|make no square"):
        read(stored(file | {"Transformer/posembed_input/pos_embedding": np.zeros((1, 24, 32))}, tmp_path / "b"))
    size = {"layout": "google", "model": {"image_size": [16, 24]}}
    assert read(stored(file, tmp_path / "b", size)).config == config


def test_a_model_without_positions_has_no_place(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIGS["vit"], positions="none")
    with pytest.raises(UsageError, match="choose another layout"):
        google.write(tmp_path, described(config), made(config).state_dict())


def test_an_empty_head_and_a_missing_one_are_told(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIGS["vit"], num_classes=21_843)
    file = arrays(config, tmp_path / "a")
    file["head/kernel"] = np.zeros_like(file["head/kernel"])
    assert any("all zeros" in note for note in read(stored(file, tmp_path / "b")).described.notes)
    headless = {name: value for name, value in file.items() if not name.startswith("head")}
    pretrained = read(stored(headless, tmp_path / "c"))
    assert pretrained.described.headless
    network, report = build(pretrained, ["x", "y"])
    assert network(torch.randn(1, 3, 16, 16)).shape == (1, 2)
    assert report.reinitialised == ["head.weight", "head.bias"]


@pytest.mark.parametrize("kind", ["vit", "hybrid", "bit", "mixer"])
def test_a_file_without_a_head_goes_there_and_back(kind: str, tmp_path: Path) -> None:
    file = {
        name: value
        for name, value in arrays(CONFIGS[kind], tmp_path / "a").items()
        if not re.search(r"(^|/)head/", name)
    }
    pretrained = read(stored(file, tmp_path / "b"))
    network, report = build(pretrained)
    assert "the file has no head: one of zeros for 1 classes is put on" in report.notes
    assert not network.head.weight.any()
    place = tmp_path / "c"
    place.mkdir()
    google.write(place, pretrained.described, network.state_dict())
    with np.load(place / "model.npz") as again:
        assert set(again) == set(file)
        assert all(np.array_equal(again[name], file[name]) for name in file)


@pytest.fixture(scope="module")
def library() -> ModuleType:
    return peers.or_skip(peers.timm)


def timms_vit(library: ModuleType, config: ViTConfig, **arguments: Any) -> torch.nn.Module:
    pools = {"token": "token", "gap": "avg", "map": "map"}
    return library.models.vision_transformer.VisionTransformer(
        img_size=config.image_size, patch_size=config.patch_size, embed_dim=config.width, depth=config.depth,
        num_heads=config.num_heads, mlp_ratio=config.mlp_dim / config.width, num_classes=config.num_classes,
        global_pool=pools[config.pool], class_token=config.pool == "token", fc_norm=False, act_layer="gelu_tanh",
        **arguments,
    )  # fmt: skip


def timms_hybrid(library: ModuleType, config: HybridConfig) -> torch.nn.Module:
    layers = library.layers
    backbone = library.models.resnetv2.ResNetV2(
        layers=config.blocks, num_classes=0, global_pool="", preact=False, stem_type="same",
        conv_layer=functools.partial(layers.StdConv2dSame, eps=1e-8),
        norm_layer=functools.partial(layers.GroupNormAct, num_groups=32, eps=1e-6),
    )  # fmt: skip
    return timms_vit(library, config, embed_layer=functools.partial(layers.HybridEmbed, backbone))


def timms_bit(library: ModuleType, config: BiTConfig) -> torch.nn.Module:
    convolution = functools.partial(library.layers.StdConv2d, eps=1e-8)
    return library.models.resnetv2.ResNetV2(
        layers=config.blocks, num_classes=config.num_classes, stem_type="fixed", conv_layer=convolution
    )


READERS = {
    "vit": timms_vit, "averaged": timms_vit, "attention pool": timms_vit, "hybrid": timms_hybrid, "bit": timms_bit
}  # fmt: skip


@pytest.mark.parametrize("kind", READERS)
def test_timms_reader_of_the_authors_files_gives_the_same_scores(
    kind: str, library: ModuleType, tmp_path: Path
) -> None:
    network = copy.deepcopy(made(CONFIGS[kind]))
    for module in network.modules():  # filters so large that what is added to their deviations does not show
        if isinstance(module, bit.StdConv | hybrid.StdConv):
            module.weight.data *= 1e4
    google.write(tmp_path, described(network.config), network.state_dict())
    theirs = READERS[kind](library, network.config).eval()
    theirs.load_pretrained(str(tmp_path / "model.npz"))
    images = torch.randn(2, 3, *CONFIGS[kind].image_size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = theirs(images)
        assert float(expected.std()) > 0.01
        torch.testing.assert_close(network(images), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(
    not (WEIGHTS.is_dir() and IMAGENET.is_dir()), reason=f"no real weights and pictures beside the project ({DATA})"
)
def test_the_published_vit_in_the_authors_layout_gives_the_reference_predictions(tmp_path: Path) -> None:
    convert = runpy.run_path(str(WEIGHTS / "to_google_npz.py"))["convert"]  # independent of the code under test
    file = stored(convert(load_file(WEIGHTS / "model.safetensors")), tmp_path)
    pretrained = read(file)
    assert pretrained.layout == "google"
    assert pretrained.config == VARIANTS["ViT-Ti/16"]
    assert pretrained.preprocessing == Preprocessing((224, 224), (224, 224))
    network, report = build(pretrained, gelu="exact")  # with which the reference was computed
    assert (report.read, report.dropped) == (152, [])
    model = Model(network, Preprocessing((224, 224), None), [str(k) for k in range(1000)])  # pictures are resized
    rows = list(csv.DictReader((IMAGENET / "reference_vit_tiny.csv").read_text().splitlines()))[::41]
    logits = model.logits(np.stack([model.pixels(IMAGENET / "images" / row["file"]) for row in rows]))
    values, indices = logits.max(dim=1)
    assert indices.tolist() == [int(row["top1"]) for row in rows]
    assert values.tolist() == pytest.approx([float(row["logit_top1"]) for row in rows], abs=1e-3)
