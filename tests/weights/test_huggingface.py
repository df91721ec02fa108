"""Transformers' layouts: its own models, on random weights, as the oracle."""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests import peers
from tests.pictures import picture
from vitral.config import Preprocessing
from vitral.data.preprocessing import normalise, prepare
from vitral.errors import DataError, UsageError
from vitral.models import beit, build_network, vit
from vitral.models.masked_autoencoder import MaskedAutoencoder
from vitral.models.vit import ViTConfig
from vitral.weights import build, huggingface, read
from vitral.weights.conversion import convert
from vitral.weights.huggingface import processor
from vitral.weights.layout import Described

NAMES = {0: "ant", 1: "bee", 2: "cow"}
SMALL = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "image_size": 16,
    "patch_size": 4, "id2label": NAMES,
}  # fmt: skip
DINO = {name: value for name, value in SMALL.items() if name != "intermediate_size"} | {"mlp_ratio": 3}
SWIN = {
    "image_size": 32, "patch_size": 2, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4,
    "id2label": NAMES,
}  # fmt: skip
BIT = {"embedding_size": 64, "hidden_sizes": [256, 512], "depths": [1, 2], "id2label": NAMES}
RESNET = {"embedding_size": 8, "hidden_sizes": [32, 64, 128, 256], "depths": [1, 2, 1, 1], "id2label": NAMES}
BASIC = {**RESNET, "hidden_sizes": [8, 16, 32, 64], "layer_type": "basic"}
PROCESSOR = {
    "image_processor_type": "ViTImageProcessor", "size": {"height": 16, "width": 16}, "resample": 3,
    "image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4],
}  # fmt: skip

Make = Callable[[ModuleType], Any]

MODELS: dict[str, tuple[Make, bool]] = {
    # name: (Transformers' model, whether it can interpolate its positions)
    "vit": (lambda t: t.ViTForImageClassification(t.ViTConfig(**SMALL)), True),
    "vit-tanh": (
        lambda t: t.ViTForImageClassification(t.ViTConfig(**SMALL, hidden_act="gelu_new", layer_norm_eps=1e-3)),
        True,
    ),
    "vit-oblong": (lambda t: t.ViTForImageClassification(t.ViTConfig(**{**SMALL, "image_size": [16, 24]})), False),
    "deit": (lambda t: t.DeiTForImageClassification(t.DeiTConfig(**SMALL)), True),
    "deit-teacher": (lambda t: t.DeiTForImageClassificationWithTeacher(t.DeiTConfig(**SMALL)), True),
    "dinov2": (lambda t: t.Dinov2ForImageClassification(t.Dinov2Config(**DINO)), True),
    "dinov2-swiglu": (
        lambda t: t.Dinov2ForImageClassification(t.Dinov2Config(**DINO, use_swiglu_ffn=True)),
        True,
    ),
    "dinov2-registers": (
        lambda t: t.Dinov2WithRegistersForImageClassification(
            t.Dinov2WithRegistersConfig(**DINO, num_register_tokens=3)
        ),
        True,
    ),
    "beit": (lambda t: t.BeitForImageClassification(t.BeitConfig(**SMALL, use_relative_position_bias=True)), False),
    "swin": (lambda t: t.SwinForImageClassification(t.SwinConfig(**SWIN)), False),
    "bit": (lambda t: t.BitForImageClassification(t.BitConfig(**BIT)), True),
    "resnet": (lambda t: t.ResNetForImageClassification(t.ResNetConfig(**RESNET)), True),
    "resnet-basic": (lambda t: t.ResNetForImageClassification(t.ResNetConfig(**BASIC)), True),
}


@pytest.fixture(scope="module")
def library() -> ModuleType:
    return peers.or_skip(peers.transformers_library)


def perturbed(model: Any) -> Any:
    """Random numbers in every tensor, so that none of them can be forgotten or exchanged unnoticed."""
    torch.manual_seed(0)
    for name, tensor in model.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
        elif tensor.is_floating_point():
            tensor.copy_(0.2 * torch.randn_like(tensor) + (tensor.ndim == 1 and name.endswith("weight")))
    return model.eval()


@pytest.fixture(params=MODELS)
def theirs(request: pytest.FixtureRequest, library: ModuleType, tmp_path: Path) -> tuple[Any, Path, bool]:
    make, resizes = MODELS[request.param]
    model = perturbed(make(library))
    model.save_pretrained(tmp_path / "theirs")
    (tmp_path / "theirs" / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    return model, tmp_path / "theirs", resizes


def pictures(size: Any, count: int = 3) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(count, 3, *((size, size) if isinstance(size, int) else size))


def native(model: Any) -> torch.Tensor:
    """Pictures of the size that the model was made for."""
    return pictures(getattr(model.config, "image_size", 32))


def same_logits(ours: Any, model: Any, images: torch.Tensor, **settings: Any) -> None:
    with torch.no_grad():
        torch.testing.assert_close(ours(images), model(images, **settings).logits, atol=1e-5, rtol=1e-5)


def test_its_weights_give_its_logits(theirs: tuple[Any, Path, bool]) -> None:
    model, folder, _ = theirs
    network, report = build(read(folder))
    same_logits(network, model, native(model))
    assert (report.layout, report.reinitialised) == ("huggingface", [])
    assert all("pre-training only" in reason for _, reason in report.dropped)


def test_another_size_gives_its_logits_too(theirs: tuple[Any, Path, bool]) -> None:
    model, folder, resizes = theirs
    if not resizes:
        pytest.skip("Transformers cannot interpolate these positions")
    images = pictures((24, 32))
    asked = {"interpolate_pos_encoding": True} if model.config.model_type in ("vit", "deit") else {}  # others do it
    at_load, _ = build(read(folder), image_size=(24, 32))
    for network in (at_load, build(read(folder))[0]):
        same_logits(network, model, images, **asked)


def test_class_names_and_preprocessing_come_along(theirs: tuple[Any, Path, bool]) -> None:
    pretrained = read(theirs[1])
    assert pretrained.classes == ("ant", "bee", "cow")
    assert pretrained.preprocessing == Preprocessing((16, 16), (16, 16), "bicubic", (0.4, 0.5, 0.6), (0.2, 0.3, 0.4))


def test_what_is_read_and_written_back_has_the_same_bits(theirs: tuple[Any, Path, bool], tmp_path: Path) -> None:
    _, folder, _ = theirs
    pretrained = read(folder)
    network, _ = build(pretrained)
    (tmp_path / "ours").mkdir()
    huggingface.write(tmp_path / "ours", pretrained.described, network.state_dict())
    before, after = (load_file(place / "model.safetensors") for place in (folder, tmp_path / "ours"))
    unused = set(pretrained.described.left_out)
    assert before.keys() - unused == after.keys() - unused
    assert all(torch.equal(before[name], after[name]) for name in before.keys() - unused)
    assert dataclasses.replace(read(tmp_path / "ours").described, left_out=pretrained.described.left_out) == (
        pretrained.described
    )


def test_names_of_a_model_in_memory_are_read_too(theirs: tuple[Any, Path, bool], tmp_path: Path) -> None:
    model, folder, _ = theirs
    place = tmp_path / "memory"
    place.mkdir()
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, place / "model.safetensors")
    for name in ("config.json", "preprocessor_config.json"):
        (place / name).write_text((folder / name).read_text())
    from_disk, from_memory = (build(read(path))[0].state_dict() for path in (folder, place))
    assert all(torch.equal(from_disk[name], from_memory[name]) for name in from_disk)


def test_what_is_written_opens_in_transformers(
    theirs: tuple[Any, Path, bool], library: ModuleType, tmp_path: Path
) -> None:
    pretrained = read(theirs[1])
    network, _ = build(pretrained)
    (tmp_path / "ours").mkdir()
    huggingface.write(tmp_path / "ours", pretrained.described, network.state_dict())
    kind = type(theirs[0]) if "Teacher" in type(theirs[0]).__name__ else library.AutoModelForImageClassification
    opened, loading = kind.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(loading.values()), loading
    assert opened.config.id2label == {0: "ant", 1: "bee", 2: "cow"}
    same_logits(network, opened.eval(), native(opened))


def test_a_model_without_a_head_keeps_its_pooler_for_fine_tuning(library: ModuleType, tmp_path: Path) -> None:
    model = perturbed(library.ViTModel(library.ViTConfig(**SMALL)))
    model.save_pretrained(tmp_path)
    pretrained = read(tmp_path)
    network, report = build(pretrained, ["x", "y"])
    images = pictures(16)
    with torch.no_grad():
        torch.testing.assert_close(network.features(images), model(images).pooler_output, atol=1e-5, rtol=1e-5)
    assert "the file has no head: one of zeros for 2 classes is put on" in report.notes
    assert network.head.weight.shape == (2, 32)
    bare, _ = build(pretrained)
    (tmp_path / "ours").mkdir()
    huggingface.write(tmp_path / "ours", pretrained.described, bare.state_dict())
    again = library.AutoModel.from_pretrained(tmp_path / "ours").eval()
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("name", ["deit", "dinov2", "dinov2-registers", "beit", "swin", "bit", "resnet"])
def test_a_network_saved_without_its_head_goes_there_and_back(library: ModuleType, tmp_path: Path, name: str) -> None:
    model = perturbed(MODELS[name][0](library).base_model)
    model.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    pretrained = read(tmp_path)
    assert (pretrained.described.headless, pretrained.classes) == (True, ())
    (tmp_path / "ours").mkdir()
    huggingface.write(tmp_path / "ours", pretrained.described, build(pretrained)[0].state_dict())
    again = library.AutoModel.from_pretrained(tmp_path / "ours").eval().state_dict()
    unused = [key for key in model.state_dict() if "mask_token" in key or key.startswith("pooler.dense")]
    assert all(torch.equal(value, again[key]) for key, value in model.state_dict().items() if key not in unused)


@pytest.mark.parametrize(
    ("name", "layout"), [("dinov2", "timm"), ("dinov2", "dinov2"), ("beit", "timm"), ("beit", "microsoft")]
)
def test_the_initial_layer_scale_stands_in_no_conversions_way(
    library: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, layout: str
) -> None:
    monkeypatch.setitem(vit.SIZES, "S", vit.SIZES["mu"])  # so that other layouts know the sizes of tiny networks
    monkeypatch.setitem(beit.SIZES, "B", vit.SIZES["mu"])
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    if name == "dinov2":
        model = library.Dinov2Model(
            library.Dinov2Config(**{**DINO, **shape, "patch_size": 14, "image_size": 28, "mlp_ratio": 4})
        )
    else:
        more = {"intermediate_size": 128, "patch_size": 16, "image_size": 32, "use_relative_position_bias": True}
        more |= {"layer_scale_init_value": 0.3}
        model = library.BeitForImageClassification(library.BeitConfig(**(SMALL | shape | more)))
    perturbed(model).save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    _, report = convert(read(tmp_path), layout, None, lambda *_: "")
    assert "layer_scale" in {what for what, _, _ in report.changed}
    slightly = [line for line in report.losses() if "scores differ slightly" in line]
    assert ["layer_norm_eps: 1e-12" in line for line in slightly] == [True] * (name == "beit")


@pytest.mark.parametrize("eps", [1e-12, 1e-3])
def test_another_layer_norm_is_told_where_it_is_small_and_refused_where_not(
    library: ModuleType, tmp_path: Path, eps: float
) -> None:
    model = library.ViTForImageClassification(library.ViTConfig(**SMALL, layer_norm_eps=eps))
    model.save_pretrained(tmp_path)
    if eps == 1e-3:
        with pytest.raises(UsageError, match=r"no place for layer_norm_eps 0\.001"):
            convert(read(tmp_path), "timm", None, lambda *_: "")
        return
    _, report = convert(read(tmp_path), "timm", None, lambda _, said: "\n".join(said))
    assert ("layer_norm_eps", "1e-12", "1e-06") in report.changed


# Masked autoencoders --------------------------------------------------------------------------------


@pytest.fixture(params=["disk", "published", "memory"])
def autoencoder(request: pytest.FixtureRequest, library: ModuleType, tmp_path: Path) -> tuple[Any, Path]:
    deeper = {f"decoder_{name}": SMALL[name] for name in ("hidden_size", "num_attention_heads", "intermediate_size")}
    config = library.ViTMAEConfig(**SMALL, **deeper, decoder_num_hidden_layers=1, norm_pix_loss=True)
    model = perturbed(library.ViTMAEForPreTraining(config))
    model.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    file = tmp_path / "model.safetensors"
    if request.param == "memory":
        save_file(model.state_dict(), file)
    if request.param == "published":
        version_4 = {name.replace("decoder_encoder.layer", "decoder_layers"): t for name, t in load_file(file).items()}
        save_file(version_4, file)
    return model, tmp_path


def test_an_autoencoders_encoder_becomes_a_classifier(autoencoder: tuple[Any, Path]) -> None:
    model, folder = autoencoder
    network, report = build(read(folder), ["x", "y"])
    images = pictures(16)
    model.vit.config.mask_ratio = 0.0
    with torch.no_grad():
        # Without a mask the patches still come in another order; the class token does not mind.
        theirs = model.vit(images).last_hidden_state[:, 0]
        torch.testing.assert_close(network.features(images), theirs, atol=1e-5, rtol=1e-5)
    assert all("decoder" in reason for _, reason in report.dropped)
    with pytest.raises(UsageError, match="no classifier of them"):
        huggingface.write(folder, read(folder).described, network.state_dict())


def test_an_autoencoder_gives_its_loss(autoencoder: tuple[Any, Path]) -> None:
    model, folder = autoencoder
    pretrained, published = read(folder), json.loads((folder / "config.json").read_text())
    ours = MaskedAutoencoder(pretrained.config, huggingface.mae.decoder(published)).eval()
    entries = huggingface.mae.autoencoder_entries(pretrained.config, ours.decoder, pretrained.stored)
    assert {name for entry in entries for name in entry.theirs} == set(pretrained.stored.shapes)
    read_ = {e.ours: e.form.read([pretrained.stored.tensor(name) for name in e.theirs]) for e in entries}
    ours.load_state_dict(read_)
    images, noise = pictures(16), torch.rand(3, 16)
    with torch.no_grad():
        theirs = model(images, noise=noise)
        found = ours(images, noise=noise)
    torch.testing.assert_close(found.loss.mean(), theirs.loss, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.predicted, theirs.logits, atol=1e-5, rtol=1e-5)


# Bad input ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_type": "bert"}, "model type 'bert' is not read"),
        ({"hidden_act": "relu"}, "activation 'relu' is not read"),
        ({"qkv_bias": False}, "without biases is not read"),
        ({"patch_size": [4, 8]}, "not square"),
        ({"id2label": {"0": "ant"}}, "id2label names 1 classes, the head has 3"),
        ({"id2label": {"0": "ant", "1": "bee", "3": "cow"}}, "without a gap"),
        ({"hidden_size": None}, "not as huggingface writes it"),
        ({"num_hidden_layers": 3}, "missing vit.encoder.layer.2"),
    ],
)
def test_what_it_cannot_read_is_named(library: ModuleType, tmp_path: Path, change: dict[str, Any], said: str) -> None:
    library.ViTForImageClassification(library.ViTConfig(**SMALL)).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(DataError, match=said):
        build(read(tmp_path))


def test_a_file_alone_asks_for_its_configuration(library: ModuleType, tmp_path: Path) -> None:
    model = library.ViTForImageClassification(library.ViTConfig(**SMALL))
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    with pytest.raises(DataError, match=r"put the model's config\.json beside them"):
        read(tmp_path / "weights.safetensors")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"pool": "gap"}, "class token"),
        ({"positions": "sincos2d"}, "learned positions"),
        ({"representation_size": 8}, "no pre-logits layer"),
    ],
)
def test_what_transformers_has_no_place_for_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    config = dataclasses.replace(ViTConfig(4, 32, 2, 64, 2, (16, 16), 5), **change)
    with pytest.raises(UsageError, match=said):
        huggingface.write(tmp_path, Described(config, Preprocessing()), build_network(config).state_dict())


# Preprocessing --------------------------------------------------------------------------------------

RULES = [
    Preprocessing((32, 32), (32, 32), "bilinear", (0.5,) * 3, (0.5,) * 3),
    Preprocessing((32, 24), (40, 40), "bicubic", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    Preprocessing((32, 32), 36, "bicubic", (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)),
    Preprocessing((32, 32), None, "bilinear"),
]


@pytest.mark.parametrize("rule", RULES)
def test_transformers_prepares_a_picture_the_same(library: ModuleType, tmp_path: Path, rule: Preprocessing) -> None:
    written = processor.written(rule)
    assert processor.preprocessing(written, rule.crop) == rule
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(written))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = library.AutoImageProcessor.from_pretrained(tmp_path)
    image = picture("red", 3).resize((51, 67))
    ours = normalise(torch.from_numpy(prepare(np.array(image), rule))[None], rule.mean, rule.std)
    given = theirs(image, return_tensors="pt").pixel_values
    # One unit of uint8 where the resamplings round differently.
    torch.testing.assert_close(ours, given, atol=1.02 / 255 / min(rule.std), rtol=0)
    assert (ours - given).abs().mean() < 0.1 / 255 / min(rule.std)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("EfficientNet", {}),
        ("EfficientNet", {"rescale_offset": True, "include_top": False, "image_mean": [0.1, 0.2, 0.3]}),
        ("EfficientNet", {"rescale_offset": True, "image_std": [0.2, 0.3, 0.4]}),
        ("Levit", {}),
        ("MobileNetV1", {}),
        ("MobileNetV2", {}),
        ("MobileViT", {"do_flip_channel_order": False, "size": {"shortest_edge": 288}}),
        ("PoolFormer", {}),
        ("PoolFormer", {"crop_pct": 0.8, "size": {"height": 64, "width": 64}, "crop_size": 64}),
        ("Pvt", {}),
        ("Segformer", {}),
        ("Siglip", {}),
    ],
)
def test_a_processor_of_few_words_prepares_a_picture_the_same(
    library: ModuleType, kind: str, said: dict[str, Any]
) -> None:
    rule = processor.preprocessing({"image_processor_type": f"{kind}ImageProcessor", **said}, (224, 224))
    image = picture("red", 3).resize((128, 192))
    ours = normalise(torch.from_numpy(prepare(np.array(image), rule))[None], rule.mean, rule.std)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = getattr(library, f"{kind}ImageProcessorPil")(**said)
        given = theirs(image, return_tensors="pt").pixel_values
    # Two units of uint8 where both passes of a bicubic resampling round differently.
    torch.testing.assert_close(ours, given, atol=2.02 / 255 / min(rule.std), rtol=0)
    assert (ours - given).abs().mean() < 0.1 / 255 / min(rule.std)


@pytest.mark.parametrize(
    ("published", "expected"),
    [
        ({"feature_extractor_type": "ViTFeatureExtractor", "size": 224, "image_mean": [0.5] * 3, "resample": 2},
         Preprocessing((224, 224), (224, 224), "bilinear")),
        ({"feature_extractor_type": "DeiTFeatureExtractor", "size": 256, "crop_size": 224, "do_center_crop": True,
          "resample": 3}, Preprocessing((224, 224), (256, 256), "bicubic")),
        ({"image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 256},
          "crop_size": {"height": 224, "width": 224}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3},
         Preprocessing((224, 224), 256, "bicubic")),
        ({"feature_extractor_type": "ConvNextFeatureExtractor", "size": {"shortest_edge": 224}, "crop_pct": 0.875,
          "image_mean": [0.5] * 3, "image_std": [0.5] * 3}, Preprocessing((224, 224), 256, "bicubic")),
        ({"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 384},
          "image_mean": [0.5] * 3, "image_std": [0.5] * 3}, Preprocessing((384, 384), (384, 384), "bicubic")),
        ({"image_processor_type": "ViTImageProcessor", "rescale_factor": 1 / 127.5, "image_mean": [1.0] * 3,
          "image_std": [1.0] * 3}, Preprocessing((224, 224), (224, 224), "bilinear")),
        ({"image_processor_type": "ViTImageProcessorFast", "do_normalize": False},
         Preprocessing((224, 224), (224, 224), "bilinear", (0.0,) * 3, (1.0,) * 3)),
    ],
)  # fmt: skip
def test_published_processors_are_understood(published: dict[str, Any], expected: Preprocessing) -> None:
    assert processor.preprocessing(published, (224, 224)) == expected


@pytest.mark.parametrize(
    ("published", "said"),
    [
        ({"image_processor_type": "PerceiverImageProcessor"}, "PerceiverImageProcessor is not read"),
        ({"resample": 1}, "resample 1 is not read"),
        ({"image_processor_type": "MobileViTImageProcessor"}, "MobileViTImageProcessor gives blue before red"),
        ({"do_pad": True}, "puts borders around pictures"),
        ({"image_processor_type": "MobileViTImageProcessor", "do_flip_channel_order": False}, "resized to 224 and cut"),
    ],
)
def test_other_processors_are_refused(published: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        processor.preprocessing(published, (224, 224))


@pytest.mark.parametrize(
    ("published", "crop", "resize"),
    [
        ({"image_processor_type": "CLIPImageProcessor", "size": 40, "crop_size": 32}, (32, 32), 40),
        ({"feature_extractor_type": "CLIPFeatureExtractor", "size": 40, "crop_size": 32}, (32, 32), 40),
        ({"image_processor_type": "BitImageProcessor", "size": 40, "crop_size": 32}, (32, 32), 40),
        ({"image_processor_type": "BitImageProcessor", "size": {"height": 40, "width": 36}, "crop_size": 32},
         (32, 32), (40, 36)),
        ({"image_processor_type": "ConvNextImageProcessor", "size": 35, "crop_pct": 0.875}, (35, 35), 40),
        ({"image_processor_type": "ViTImageProcessor", "size": 32, "image_mean": 0.25, "image_std": 0.5},
         (32, 32), (32, 32)),
    ],
)  # fmt: skip
def test_a_single_number_means_what_it_means_there(
    library: ModuleType, tmp_path: Path, published: dict[str, Any], crop: tuple[int, int], resize: Any
) -> None:
    rule = processor.preprocessing(published, crop)
    assert (rule.crop, rule.resize) == (crop, resize)
    kind = next(value for key, value in published.items() if key.endswith("_type"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = getattr(library, kind.replace("FeatureExtractor", "ImageProcessor"))(**published)
    image = picture("red", 3).resize((51, 67))
    ours = normalise(torch.from_numpy(prepare(np.array(image), rule))[None], rule.mean, rule.std)
    given = theirs(image, return_tensors="pt").pixel_values
    assert given.shape == ours.shape
    # A squash would be off by far more; resamplings and defaults of the versions differ by less.
    if "image_mean" in published:
        torch.testing.assert_close(ours, given, atol=1.02 / 255 / min(rule.std), rtol=0)


CENTRAL = {"image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 32}}
CONVNEXT_CUT = {"image_processor_type": "ConvNextImageProcessor"}


@pytest.mark.parametrize(
    ("published", "said"),
    [
        ({**CENTRAL, "crop_size": 40}, "borders"),
        ({**CENTRAL, "size": {"height": 40, "width": 30}, "crop_size": 32}, "borders"),
        ({**CENTRAL, "do_center_crop": False}, "pictures of all shapes"),
        ({**CENTRAL, "do_center_crop": False, "do_resize": False}, "do_resize is false"),
        ({**CONVNEXT_CUT, "do_resize": False}, "do_resize is false"),
        ({**CONVNEXT_CUT, "size": {"height": 32, "width": 32}}, "takes a shortest_edge"),
        ({**CONVNEXT_CUT, "crop_pct": 0}, "crop_pct must be a number above 0"),
        ({**CONVNEXT_CUT, "size": {"shortest_edge": 32}, "crop_size": 24, "do_center_crop": True}, "no cut"),
        ({"size": {"longest_edge": 64}}, "must be a shortest_edge"),
        ({"size": {"height": 64}}, "must be a shortest_edge"),
        ({"size": "64"}, "whole pixels"),
        ({"image_mean": [0.5]}, "three numbers"),
        ({"image_std": 0}, "std must be"),
        ({"image_std": "0.5"}, "three numbers"),
    ],
)
def test_a_processor_that_vitral_cannot_match_is_refused_by_its_file(
    library: ModuleType, tmp_path: Path, published: dict[str, Any], said: str
) -> None:
    library.ViTForImageClassification(library.ViTConfig(**SMALL)).save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(published))
    with pytest.raises(DataError, match=said) as refused:
        read(tmp_path)
    assert str(refused.value).startswith(f"{tmp_path / 'preprocessor_config.json'}: ")


def test_a_squash_below_the_cut_is_written_without_borders(library: ModuleType, tmp_path: Path) -> None:
    rule = Preprocessing((32, 32), (16, 24), "bilinear")
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor.written(rule)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = library.AutoImageProcessor.from_pretrained(tmp_path)
    image = picture("red", 3).resize((51, 67))
    ours = normalise(torch.from_numpy(prepare(np.array(image), rule))[None], rule.mean, rule.std)
    torch.testing.assert_close(ours, theirs(image, return_tensors="pt").pixel_values, atol=2.04 / 255, rtol=0)


def test_an_oblong_beit_is_refused_both_ways(library: ModuleType, tmp_path: Path) -> None:
    shape = {**SMALL, "image_size": [16, 24], **huggingface.beit.KIND}
    library.BeitForImageClassification(library.BeitConfig(**shape)).save_pretrained(tmp_path)
    with pytest.raises(DataError, match="only square inputs"):
        read(tmp_path)
    config = beit.BEiTConfig(
        patch_size=4, width=32, depth=1, mlp_dim=64, num_heads=2, image_size=(16, 24), num_classes=3
    )
    with pytest.raises(UsageError, match="only square inputs"):
        huggingface.write(tmp_path, Described(config, Preprocessing()), build_network(config).state_dict())


@pytest.mark.parametrize("kind", [kind for kind in processor.DEFAULTS if kind != "MobileViT"])  # by itself refused
def test_what_a_file_leaves_out_is_the_librarys_own(library: ModuleType, kind: str) -> None:
    theirs = getattr(library, f"{kind}ImageProcessor")()
    told = {name: getattr(theirs, name, None) for name in processor.DEFAULTS[kind]}
    told["resample"], told["do_center_crop"] = int(told["resample"]), bool(told["do_center_crop"])
    named = {"image_processor_type": f"{kind}ImageProcessor"}
    for name in ("size", "crop_size"):
        told[name] = None if told.get(name) is None else {k: v for k, v in dict(told[name]).items() if v is not None}
    assert processor.preprocessing(named, (224, 224)) == processor.preprocessing(named | told, (224, 224))
    for name in ("resample", "image_mean", "image_std", "crop_pct"):
        expected, ours = told.get(name), processor.DEFAULTS[kind].get(name)
        assert (list(ours) if isinstance(ours, tuple) else ours) == (
            list(expected) if isinstance(expected, tuple) else expected
        )


@pytest.mark.parametrize("name", ["vit", "beit", "swin", "deit", "dinov2", "bit", "resnet"])
def test_preprocessing_that_nothing_tells_is_asked_for(library: ModuleType, tmp_path: Path, name: str) -> None:
    MODELS[name][0](library).save_pretrained(tmp_path)
    if name in ("vit", "beit"):  # Google's and Microsoft's were trained as their processors are by themselves
        rule = {"vit": "bilinear", "beit": "bicubic"}[name]
        assert read(tmp_path).preprocessing == Preprocessing((16, 16), (16, 16), rule)
        return
    with pytest.raises(
        DataError, match=r"there is no preprocessor_config\.json in .* put one there, like (.*)\."
    ) as told:
        read(tmp_path)
    example = str(told.value).partition("like ")[2].removesuffix(".")
    (tmp_path / "preprocessor_config.json").write_text(example)
    assert read(tmp_path).preprocessing.mean == (0.485, 0.456, 0.406)
