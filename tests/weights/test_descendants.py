"""Files of DeiT, DeiT III, DINOv2 and MAE, in timm's layout and their authors', with timm's models as oracles."""

from __future__ import annotations

import copy
import functools
import json
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests import peers
from vitral.config import Preprocessing
from vitral.errors import DataError, UsageError
from vitral.models import Network, build_network, family_of
from vitral.models.deit import DistilledConfig
from vitral.models.layerscale import LayerScaleConfig
from vitral.models.mae import MaeConfig
from vitral.models.masked_autoencoder import DecoderConfig, MaskedAutoencoder
from vitral.models.positions import mae_sincos2d
from vitral.models.vit import ViTConfig
from vitral.weights import LAYOUTS, build, deit, dinov2, mae, mae_pretraining, read, timm
from vitral.weights.layout import Described
from vitral.weights.timm import layerscale as timm_layerscale

CLOSE: dict[str, Any] = {"atol": 1e-5, "rtol": 1e-5}
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

State = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def library() -> ModuleType:
    return peers.or_skip(peers.timm)


def made(library: ModuleType, name: str, size: int, **arguments: Any) -> torch.nn.Module:
    """timm's model with random numbers in every parameter; it takes any size."""
    return copy.deepcopy(_made(library, name, size, **arguments))


@functools.cache
def _made(library: ModuleType, name: str, size: int, **arguments: Any) -> torch.nn.Module:
    torch.manual_seed(0)
    model = library.create_model(name, img_size=size, dynamic_img_size=True, **arguments).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return model


def saved(place: Path, state: State, config: dict[str, Any] | None = None, name: str = "model") -> Path:
    place.mkdir(exist_ok=True)
    save_file({key: value.contiguous() for key, value in state.items()}, place / f"{name}.safetensors")
    if config is not None:
        (place / "config.json").write_text(json.dumps(config))
    return place


def timm_config(name: str, size: int, classes: int, **more: Any) -> dict[str, Any]:
    published = {"input_size": [3, size, size], "interpolation": "bicubic", "crop_pct": 1.0,
                 "mean": IMAGENET[0], "std": IMAGENET[1], "num_classes": classes}  # fmt: skip
    return {"architecture": name, "num_classes": classes, "pretrained_cfg": published, **more}


def agree(ours: Callable[..., torch.Tensor], theirs: Callable[..., torch.Tensor], *sizes: tuple[int, int]) -> None:
    for size in sizes:
        images = torch.randn(2, 3, *size)
        with torch.no_grad():
            torch.testing.assert_close(ours(images), theirs(images), **CLOSE)


def features_of(model: torch.nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda images: model.forward_head(model.forward_features(images), pre_logits=True)


# timm's layout -----------------------------------------------------------------------------------

TIMM_MODELS = {
    # name: (input, another, classes, further arguments)
    "deit_tiny_distilled_patch16_224": (32, (48, 32), 3, {}),
    "deit_tiny_patch16_224": (32, (32, 32), 3, {}),
    "deit3_small_patch16_224": (32, (48, 32), 3, {}),
    "vit_small_patch14_dinov2": (28, (42, 28), 0, {}),
    "vit_small_patch14_reg4_dinov2": (28, (42, 28), 0, {}),
    "vit_tiny_patch16_224": (32, (48, 32), 3, {"global_pool": "avg"}),
}


@pytest.mark.parametrize("name", TIMM_MODELS)
def test_timms_weights_give_timms_numbers_and_go_back_bit_for_bit(
    library: ModuleType, tmp_path: Path, name: str
) -> None:
    size, another, classes, arguments = TIMM_MODELS[name]
    theirs = made(library, name, size, num_classes=classes, **arguments)
    place = saved(tmp_path / "in", theirs.state_dict(), timm_config(name, size, classes, **arguments))
    pretrained = read(place)
    network, report = build(pretrained)
    assert (pretrained.layout, report.dropped) == ("timm", [])
    agree(
        network.features if not classes else network,
        features_of(theirs) if not classes else theirs,
        (size, size),
        another,
    )
    (tmp_path / "out").mkdir()
    timm.write(tmp_path / "out", pretrained.described, network.state_dict())
    before, after = (load_file(tmp_path / way / "model.safetensors") for way in ("in", "out"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert read(tmp_path / "out").described == pretrained.described


def test_what_is_written_for_timm_is_opened_by_timm(library: ModuleType, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build_network(MaeConfig(16, 192, 12, 768, 3, (32, 32), 3)).eval()
    torch.nn.init.normal_(network.head.weight)
    described = Described(network.config, Preprocessing((32, 32), 32))
    timm.write(tmp_path, described, network.state_dict())
    theirs = library.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    agree(network, theirs, (32, 32))


def test_a_file_without_a_head_gets_one_of_zeros_and_says_so(library: ModuleType, tmp_path: Path) -> None:
    name = "vit_tiny_patch16_224"  # as MAE's encoder and DINO's stand at timm
    theirs = made(library, name, 32, num_classes=0)
    pretrained = read(saved(tmp_path, theirs.state_dict(), timm_config(name, 32, 0)))
    network, report = build(pretrained, ["a", "b", "c"])
    assert network.head.weight.shape == (3, 192)
    assert not network.head.weight.any()
    assert report.reinitialised == ["head.weight", "head.bias"]
    assert "the file has no head: one of zeros for 3 classes is put on" in report.lines()
    agree(network.features, features_of(theirs), (32, 32))


def test_a_lost_head_is_still_an_error(library: ModuleType, tmp_path: Path) -> None:
    state = made(library, "vit_tiny_patch16_224", 32, num_classes=3).state_dict()
    del state["head.weight"]
    with pytest.raises(DataError, match="missing head.weight"):
        build(read(saved(tmp_path, state, timm_config("vit_tiny_patch16_224", 32, 3))))


def test_the_giants_mlp_is_timms(library: ModuleType) -> None:
    from timm.layers import SwiGLUPacked
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(0)
    theirs = VisionTransformer(
        img_size=16, patch_size=4, embed_dim=32, depth=2, num_heads=2, init_values=1e-5, num_classes=3,
        mlp_ratio=3, mlp_layer=SwiGLUPacked, act_layer=torch.nn.SiLU,
    ).eval()  # fmt: skip
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    config = LayerScaleConfig(4, 32, 2, 48, 2, (16, 16), 3, mlp="swiglu")
    ours, state = build_network(config).eval(), theirs.state_dict()
    entries = timm_layerscale.entries(config, None)
    assert sorted(name for entry in entries for name in entry.theirs) == sorted(state)
    ours.load_state_dict({e.ours: e.form.read([state[name] for name in e.theirs]) for e in entries})
    agree(ours, theirs, (16, 16))


def test_pooling_by_the_mean_needs_maes_norm(library: ModuleType, tmp_path: Path) -> None:
    state = made(library, "vit_tiny_patch16_224", 32, num_classes=3).state_dict()
    config = timm_config("vit_tiny_patch16_224", 32, 3, global_pool="avg")
    with pytest.raises(DataError, match="without fc_norm"):
        read(saved(tmp_path, state, config))


# DeiT's files --------------------------------------------------------------------------------------


def round_trip(layout: Any, place: Path, out: Path) -> tuple[State, State]:
    """What is in a file, and what is in the one that is written of it."""
    pretrained = read(place)
    network, _ = build(pretrained)
    out.mkdir()
    layout.write(out, pretrained.described, network.state_dict())
    written = torch.load(out / "model.pth", weights_only=True)
    return load_file(next(place.glob("*.safetensors"))), written.get("model", written)


def require_same(before: State, after: State) -> None:
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_deits_distilled_file_is_read_from_its_pth(library: ModuleType, tmp_path: Path) -> None:
    theirs = made(library, "deit_tiny_distilled_patch16_224", 32, num_classes=3)
    torch.save({"model": theirs.state_dict()}, tmp_path / "deit_tiny_distilled_patch16_224-b40b3cf7.pth")
    pretrained = read(tmp_path)
    assert (pretrained.layout, pretrained.config) == ("deit", DistilledConfig(16, 192, 12, 768, 3, (32, 32), 3))
    agree(build(pretrained)[0], theirs, (32, 32))
    place = saved(tmp_path / "in", theirs.state_dict())
    require_same(*round_trip(deit, place, tmp_path / "out"))


def test_deit3s_file_has_its_own_names_for_layerscale(library: ModuleType, tmp_path: Path) -> None:
    theirs = made(library, "deit3_small_patch16_224", 32, num_classes=3)
    state = {re.sub(r"ls(\d)\.gamma", r"gamma_\1", name): value for name, value in theirs.state_dict().items()}
    place = saved(tmp_path / "in", state)
    pretrained = read(place)
    assert (pretrained.layout, pretrained.preprocessing) == ("deit", Preprocessing((32, 32), 32, "bicubic", *IMAGENET))
    agree(build(pretrained)[0], theirs, (32, 32))
    require_same(*round_trip(deit, place, tmp_path / "out"))


def test_a_plain_vit_is_deits_only_if_something_says_so(library: ModuleType, tmp_path: Path) -> None:
    theirs = made(library, "deit_tiny_patch16_224", 32, num_classes=3)
    with pytest.raises(DataError, match="config.json beside it"):
        read(saved(tmp_path / "a", theirs.state_dict()))
    by_name = read(saved(tmp_path / "b", theirs.state_dict(), name="deit_tiny_patch16_224-a1311bcf"))
    said = read(saved(tmp_path / "c", theirs.state_dict(), {"architecture": "deit_tiny_patch16_224"}))
    assert by_name.described == said.described
    assert said.preprocessing == Preprocessing((32, 32), 36, "bicubic", *IMAGENET)
    agree(build(said)[0], theirs, (32, 32))
    require_same(*round_trip(deit, tmp_path / "c", tmp_path / "out"))


# MAE's files ---------------------------------------------------------------------------------------


def test_maes_fine_tuned_file_pools_before_the_norm(library: ModuleType, tmp_path: Path) -> None:
    theirs = made(library, "vit_tiny_patch16_224", 32, num_classes=3, global_pool="avg")
    place = saved(tmp_path / "in", theirs.state_dict())
    pretrained = read(place)
    assert (pretrained.layout, pretrained.config) == ("mae", MaeConfig(16, 192, 12, 768, 3, (32, 32), 3))
    assert pretrained.preprocessing == Preprocessing((32, 32), 36, "bicubic", *IMAGENET)
    agree(build(pretrained)[0], theirs, (32, 32))
    require_same(*round_trip(mae, place, tmp_path / "out"))


def pretraining_state(library: ModuleType) -> tuple[State, torch.nn.Module]:
    theirs = made(library, "vit_tiny_patch16_224", 32, num_classes=0)
    theirs.pos_embed.data = mae_sincos2d((2, 2), 192)
    return theirs.state_dict(), theirs


def test_maes_encoder_is_read_without_its_decoder(library: ModuleType, tmp_path: Path) -> None:
    state, theirs = pretraining_state(library)
    decoder = {name: torch.zeros(2) for name in ("mask_token", "decoder_embed.weight", "decoder_blocks.0.norm1.bias")}
    pretrained = read(saved(tmp_path / "in", {**state, **decoder}))
    network, report = build(pretrained, ["a", "b"])
    assert {name for name, _ in report.dropped} == set(decoder)
    assert any("pool gap" in line for line in report.lines())
    assert network.head.weight.shape == (2, 192)
    agree(network.features, features_of(theirs), (32, 32))
    require_same(*round_trip(mae, saved(tmp_path / "bare", state), tmp_path / "out"))


def test_maes_encoder_can_be_pooled_as_in_fine_tuning(library: ModuleType, tmp_path: Path) -> None:
    state, theirs = pretraining_state(library)
    network, _ = build(read(saved(tmp_path, state)), ["a", "b"], pool="gap")

    def pooled(images: torch.Tensor) -> torch.Tensor:
        tokens: list[torch.Tensor] = []
        hook = theirs.norm.register_forward_pre_hook(lambda _, inputs: tokens.append(inputs[0]))
        theirs.forward_features(images)
        hook.remove()
        return theirs.norm(tokens[0][:, 1:].mean(dim=1))

    agree(network.features, pooled, (32, 32))


def test_somebody_elses_encoder_is_not_taken_for_maes(library: ModuleType, tmp_path: Path) -> None:
    theirs = made(library, "vit_tiny_patch16_224", 32, num_classes=0)
    with pytest.raises(DataError, match="its positions are not MAE's"):
        read(saved(tmp_path, theirs.state_dict()))


# DINOv2's files ------------------------------------------------------------------------------------


def dinov2_state(library: ModuleType, registers: bool) -> tuple[State, torch.nn.Module]:
    """The authors' names with random numbers, and timm's model with what timm makes of them."""
    from timm.models.vision_transformer import checkpoint_filter_fn

    theirs = made(library, f"vit_small_patch14{'_reg4' if registers else ''}_dinov2", 28)
    state = {name: value.clone() for name, value in theirs.state_dict().items()}
    state["mask_token"] = torch.randn(1, 384)
    if registers:
        state["register_tokens"] = state.pop("reg_token")
        state["pos_embed"] = torch.cat([torch.randn(1, 1, 384) * 0.05, state["pos_embed"]], dim=1)
    theirs.load_state_dict(checkpoint_filter_fn(dict(state), theirs))
    return state, theirs


@pytest.mark.parametrize("registers", [False, True])
def test_dinov2s_files_are_read_without_a_head(library: ModuleType, tmp_path: Path, registers: bool) -> None:
    state, theirs = dinov2_state(library, registers)
    place = saved(tmp_path / "in", state)
    pretrained = read(place)
    assert (pretrained.layout, pretrained.config.registers) == ("dinov2", 4 if registers else 0)
    assert pretrained.preprocessing == Preprocessing((28, 28), 28, "bicubic", *IMAGENET)
    network, report = build(pretrained, ["a", "b"])
    assert [name for name, _ in report.dropped] == ["mask_token"]
    # with registers the authors resize as timm does; without, by a rule of their own
    agree(network.features, features_of(theirs), (28, 28), *([(42, 28)] if registers else []))
    before, after = round_trip(dinov2, place, tmp_path / "out")
    require_same(before | {"mask_token": torch.zeros(1, 384)}, after)


def test_dinov2s_linear_classifier_sees_token_and_mean(library: ModuleType, tmp_path: Path) -> None:
    state, theirs = dinov2_state(library, registers=True)
    state = {f"backbone.{name}": value for name, value in state.items()}
    head = {"linear_head.weight": torch.randn(3, 768), "linear_head.bias": torch.randn(3)}
    place = saved(tmp_path / "in", state | head)

    def classify(images: torch.Tensor) -> torch.Tensor:
        tokens = theirs.forward_features(images)
        seen = torch.cat([tokens[:, 0], tokens[:, 5:].mean(dim=1)], dim=1)
        return seen @ head["linear_head.weight"].T + head["linear_head.bias"]

    agree(build(read(place))[0], classify, (28, 28))
    before, after = round_trip(dinov2, place, tmp_path / "out")
    require_same(before | {"backbone.mask_token": torch.zeros(1, 384)}, after)


def test_dinov2s_blocks_may_be_numbered_in_chunks(library: ModuleType, tmp_path: Path) -> None:
    state, theirs = dinov2_state(library, registers=False)
    chunked = {re.sub(r"^blocks\.(\d+)", lambda m: f"blocks.{int(m[1]) // 4}.{m[1]}", k): v for k, v in state.items()}
    agree(build(read(saved(tmp_path, chunked)), ["a"])[0].features, features_of(theirs), (28, 28))


# What shapes do not say ----------------------------------------------------------------------------


def small_file(**shapes: tuple[int, ...]) -> State:
    """A distilled DeiT 32 wide, 2 blocks, 4x4 patches of 4 pixels; no published size."""
    network = build_network(DistilledConfig(4, 32, 2, 64, 2, (16, 16), 3))
    entries = deit.entries(network.config, None)
    state = {e.theirs[0]: network.state_dict()[e.ours] for e in entries}
    return state | {name.replace("__", "."): torch.zeros(shape) for name, shape in shapes.items()}


def test_heads_of_an_unknown_size_are_asked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match='2 blocks 32 wide.*"num_heads"'):
        read(saved(tmp_path, small_file()))
    assert read(saved(tmp_path, small_file(), {"num_heads": 4})).config.num_heads == 4
    with pytest.raises(DataError, match="cannot be split into 5 heads"):
        read(saved(tmp_path, small_file(), {"num_heads": 5}))


def test_an_input_that_is_no_square_is_asked_for(tmp_path: Path) -> None:
    state = small_file(pos_embed=(1, 2 + 12, 32))
    with pytest.raises(DataError, match='12 patches, which is no square.*"image_size"'):
        read(saved(tmp_path, state, {"num_heads": 2}))
    assert read(saved(tmp_path, state, {"num_heads": 2, "image_size": [12, 16]})).config.image_size == (12, 16)


def test_a_linear_classifier_over_several_layers_is_refused(library: ModuleType, tmp_path: Path) -> None:
    state, _ = dinov2_state(library, registers=False)
    state = {f"backbone.{name}": value for name, value in state.items()}
    with pytest.raises(DataError, match=r"several layers \(1920 numbers"):
        read(saved(tmp_path, state | {"linear_head.weight": torch.zeros(3, 1920), "linear_head.bias": torch.zeros(3)}))


@pytest.mark.parametrize(
    ("layout", "config"),
    [
        ("deit", LayerScaleConfig(4, 32, 1, 64, 2, (16, 16), 3, registers=2)),
        ("deit", ViTConfig(4, 32, 1, 64, 2, (16, 16), 3, pool="map", gelu="exact")),
        ("deit", ViTConfig(4, 32, 1, 64, 2, (16, 16), 3)),
        ("mae", ViTConfig(4, 32, 1, 64, 2, (16, 16), 3, gelu="exact")),
        ("dinov2", LayerScaleConfig(4, 32, 1, 64, 2, (16, 16), 3, "token_mean", class_position=False)),
        ("dinov2", LayerScaleConfig(4, 32, 1, 64, 2, (16, 16), 3)),
        ("timm", LayerScaleConfig(4, 32, 1, 64, 2, (16, 16), 3)),
        ("timm", DistilledConfig(4, 32, 1, 64, 2, (16, 16), 3)),
    ],
)
def test_what_a_layout_has_no_place_for_is_refused(tmp_path: Path, layout: str, config: Any) -> None:
    network: Network = build_network(config)
    with pytest.raises(UsageError, match="choose another layout"):
        LAYOUTS[layout].write(tmp_path, Described(config, Preprocessing((16, 16), 16)), network.state_dict())
    assert list(tmp_path.iterdir()) == []


def test_no_two_layouts_take_the_same_file(library: ModuleType, tmp_path: Path) -> None:
    files = {
        "deit": small_file(),
        "mae": pretraining_state(library)[0],
        "dinov2": dinov2_state(library, registers=True)[0],
    }
    for name, state in files.items():
        stored = read(saved(tmp_path / name, state, {"num_heads": 2})).stored
        assert [key for key, layout in LAYOUTS.items() if layout.recognises(stored, {})] == [name]
    assert family_of(read(tmp_path / "deit").config) == "deit"


# Whole pre-training files --------------------------------------------------------------------------


def test_a_whole_pretraining_file_comes_back_bit_for_bit(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = MaskedAutoencoder(MaeConfig(16, 192, 12, 768, 3, (32, 32)), DecoderConfig(32, 2, 64, 2)).eval()
    mae_pretraining.write_autoencoder(tmp_path, model)
    names = set(torch.load(tmp_path / "model.pth", weights_only=True)["model"])
    # the authors' MaskedAutoencoderViT
    block = ["norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2"]
    layers = ["patch_embed.proj", "norm", "decoder_embed", "decoder_norm", "decoder_pred"]
    layers += [f"blocks.{i}.{part}" for i in range(12) for part in block]
    layers += [f"decoder_blocks.{i}.{part}" for i in range(2) for part in block]
    tables = {"cls_token", "pos_embed", "mask_token", "decoder_pos_embed"}
    assert names == tables | {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}

    (tmp_path / "config.json").write_text('{"decoder_num_heads": 2}')
    again, report = mae_pretraining.read_autoencoder(tmp_path / "model.pth")
    assert again.config == model.config
    assert (report.read, report.dropped, report.reinitialised) == (len(model.state_dict()), [], [])
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    halved = {
        key: value.half() for key, value in torch.load(tmp_path / "model.pth", weights_only=True)["model"].items()
    }
    place = saved(tmp_path / "half", halved, {"decoder_num_heads": 2})
    in_half, _ = mae_pretraining.read_autoencoder(place / "model.safetensors")
    assert {value.dtype for value in in_half.state_dict().values()} == {torch.float32}
    place = saved(tmp_path / "plain", torch.load(tmp_path / "model.pth", weights_only=True)["model"])
    classifier, report = build(read(place), ["a", "b"])
    assert len(report.dropped) == 2 * 12 + 8
    images, everything = torch.randn(1, 3, 32, 32), torch.arange(4)[None]
    with torch.no_grad():
        torch.testing.assert_close(classifier.features(images), model.encode(images, everything)[:, 0], **CLOSE)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda state: state.pop("decoder_embed.weight"), "has no decoder"),
        (lambda state: state.pop("decoder_blocks.0.mlp.fc2.bias"), "missing .*decoder_blocks.0.mlp.fc2.bias"),
        (lambda state: state.update(head=torch.zeros(2)), "left over .*head"),
        (lambda state: state.update(mask_token=torch.zeros(1, 1, 3)), r"mask_token: \[1, 1, 3\] in the file"),
        (lambda state: state["mask_token"].fill_(float("nan")), "mask_token has numbers that are infinite"),
        (lambda state: state.update({"patch_embed.proj.weight": torch.zeros(32, 3)}), "is not as MAE writes it"),
        (lambda state: state.update({"decoder_embed.weight": torch.zeros(15, 32)}), "not one of 2 heads"),
    ],
)
def test_damaged_pretraining_files_are_refused(tmp_path: Path, change: Callable[[State], object], said: str) -> None:
    model = MaskedAutoencoder(MaeConfig(4, 32, 2, 64, 2, (16, 16)), DecoderConfig(16, 1, 32, 2))
    entries = mae_pretraining.entries(model)
    state = {entry.theirs[0]: model.state_dict()[entry.ours] for entry in entries}
    change(state)
    with pytest.raises(DataError, match=said):
        said = {"num_heads": 2, "decoder_num_heads": 2}
        mae_pretraining.read_autoencoder(saved(tmp_path, state, said) / "model.safetensors")
