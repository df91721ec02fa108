"""Transformers' preprocessor_config.json, both ways."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitral.config import Interpolation, Preprocessing, Size
from vitral.errors import DataError, UsageError
from vitral.weights.colours import IMAGENET_MEAN, IMAGENET_STD
from vitral.weights.huggingface.published import size

RESAMPLE: dict[int, Interpolation] = {0: "nearest", 2: "bilinear", 3: "bicubic"}
"""Pillow's numbers."""

HALF = (0.5, 0.5, 0.5)
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)

SQUASH = {"size": 224, "resample": 2, "image_mean": HALF, "image_std": HALF, "do_center_crop": False}
CENTRAL = {
    "size": {"shortest_edge": 224}, "resample": 3, "image_mean": CLIP_MEAN, "image_std": CLIP_STD,
    "do_center_crop": True, "crop_size": 224,
}  # fmt: skip
CUT = {
    "size": {"shortest_edge": 256}, "crop_size": 224, "resample": 2, "image_mean": HALF, "image_std": HALF,
    "do_center_crop": True,
}  # fmt: skip
DEFAULTS: dict[str, dict[str, Any]] = {
    # what a kind of processor does where its file says nothing
    "ViT": SQUASH,
    "DeiT": {**SQUASH, "size": 256, "resample": 3, "do_center_crop": True, "crop_size": 224},
    "Beit": {**SQUASH, "resample": 3},
    "Bit": CENTRAL,
    "CLIP": CENTRAL,
    "ConvNext": {
        "size": {"shortest_edge": 384}, "resample": 3, "image_mean": HALF, "image_std": HALF, "do_center_crop": False,
        "crop_pct": 224 / 256,
    },
    "EfficientNet": {**SQUASH, "size": 346, "resample": 3, "include_top": True, "rescale_offset": False},
    "Levit": {
        **CUT, "size": {"shortest_edge": 224}, "resample": 3, "image_mean": IMAGENET_MEAN, "image_std": IMAGENET_STD,
    },
    "MobileNetV1": CUT,
    "MobileNetV2": CUT,
    "MobileViT": {
        **CUT, "size": {"shortest_edge": 224}, "crop_size": 256, "resample": 3, "do_normalize": False,
        "do_flip_channel_order": True,
    },
    "PoolFormer": {
        **CUT, "size": {"shortest_edge": 224}, "resample": 3, "image_mean": IMAGENET_MEAN, "image_std": IMAGENET_STD,
        "crop_pct": 0.9,
    },
    "Pvt": {**SQUASH, "resample": 3, "image_mean": IMAGENET_MEAN, "image_std": IMAGENET_STD},
    "Segformer": {**SQUASH, "size": 512, "image_mean": IMAGENET_MEAN, "image_std": IMAGENET_STD},
    "Siglip": {**SQUASH, "resample": 3},
}  # fmt: skip
"""By the kind, as in "ViTImageProcessor"."""

ENDINGS = ("ImageProcessorFast", "ImageProcessorPil", "ImageProcessor", "FeatureExtractor")
"""Endings of a kind's names through the versions."""

SQUASHED_FROM = 384
"""Pixels from which ConvNext's processor squashes instead of cutting the border off."""


def preprocessing(published: Mapping[str, Any], image_size: Size) -> Preprocessing:
    """What a preprocessor_config.json means, for a network of `image_size`.

    Raises:
        DataError: a kind or a value that is not read.
    """
    name = str(published.get("image_processor_type") or published.get("feature_extractor_type") or "ViTImageProcessor")
    kind = next((name.removesuffix(ending) for ending in ENDINGS if name.endswith(ending)), name)
    if kind not in DEFAULTS:
        raise DataError(f"the image processor {name} is not read: only {', '.join(DEFAULTS)} are.")
    rule = {**DEFAULTS[kind], **{key: value for key, value in published.items() if value is not None}}
    if rule["resample"] not in RESAMPLE:
        raise DataError(f"resample {rule['resample']} is not read: it must be 0 nearest, 2 bilinear or 3 bicubic.")
    if rule.get("do_flip_channel_order"):
        raise DataError(f"{name} gives blue before red (do_flip_channel_order), which is not read.")
    if rule.get("do_pad"):
        raise DataError(f"{name} puts borders around pictures (do_pad), which is not read.")
    if kind == "MobileViT":
        rule["do_normalize"] = False  # it has the setting and does not follow it
    crop, resize = _geometry(rule, kind, image_size)
    if rule["do_center_crop"] and isinstance(resize, int) and resize < max(crop):
        raise DataError(f"{name} puts borders around pictures resized to {resize} and cut to {max(crop)}: not read.")
    mean, std = _colours(rule)
    return Preprocessing(crop, resize, RESAMPLE[rule["resample"]], mean, std)


def written(rule: Preprocessing) -> dict[str, Any]:
    """The file that makes Transformers do the same.

    Raises:
        UsageError: there is none.
    """
    height, width = rule.crop
    crop = {"height": height, "width": width}
    file: dict[str, Any] = {
        "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True, "do_convert_rgb": True,
        "image_mean": list(rule.mean), "image_std": list(rule.std),
        "resample": next(number for number, name in RESAMPLE.items() if name == rule.interpolation),
    }  # fmt: skip
    if rule.resize == rule.crop:
        return {"image_processor_type": "ViTImageProcessor", "do_resize": True, "size": crop, **file}
    cut = {"do_center_crop": True, "crop_size": crop}
    if isinstance(rule.resize, tuple):
        to = {"height": rule.resize[0], "width": rule.resize[1]}
        return {"image_processor_type": "DeiTImageProcessor", "do_resize": True, "size": to, **cut, **file}
    if rule.resize is None:
        return {"image_processor_type": "BitImageProcessor", "do_resize": False, **cut, **file}
    if rule.resize < max(rule.crop) and height != width:
        raise UsageError(
            f"Transformers would put borders around pictures resized to {rule.resize} and cut to {height}x{width}: "
            f"choose another layout."
        )
    shortest = {"shortest_edge": max(rule.resize, height)} if height == width else {"shortest_edge": rule.resize}
    return {"image_processor_type": "BitImageProcessor", "do_resize": True, "size": shortest, **cut, **file}


def _geometry(rule: Mapping[str, Any], kind: str, image_size: Size) -> tuple[Size, int | Size | None]:
    """The cut and the resize before it."""
    crop = _sides(rule.get("crop_size", image_size)) if rule["do_center_crop"] else None
    if not rule.get("do_resize", True):
        return crop or image_size, None
    to = rule["size"]
    shortest = to.get("shortest_edge") if isinstance(to, Mapping) else None
    if kind == "ConvNext":
        side = int(shortest or to)
        return (side, side), (side, side) if side >= SQUASHED_FROM else int(side / rule["crop_pct"])
    if kind == "Levit" and shortest is not None:
        return crop or image_size, int(256 / 224 * shortest)
    if kind == "PoolFormer" and rule["crop_pct"]:
        height, width = _sides(shortest or to)
        if height != width:
            raise DataError(f"the image processor resizes to {height}x{width} by crop_pct, which is not read.")
        return crop or image_size, int(height / rule["crop_pct"])
    if shortest is not None or (kind == "Bit" and isinstance(to, int)):
        return crop or image_size, int(shortest or to)
    return crop or _sides(to), _sides(to)


def _colours(rule: Mapping[str, Any]) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and standard deviation of values in [0, 1]; Transformers' are of value * rescale_factor."""
    factor = 255 * (float(rule.get("rescale_factor", 1 / 255)) if rule.get("do_rescale", True) else 1.0)
    named = rule.get("do_normalize", True)
    mean, std = (rule["image_mean"], rule["image_std"]) if named else ((0.0,) * 3, (1.0,) * 3)
    if abs(factor - 1) < 1e-12:
        factor = 1.0  # 1 / 255, as it is nearly always, must not change the last bit of mean and std
    if rule.get("rescale_offset"):  # EfficientNet's, between rescaling and normalising
        mean = tuple(value + 1 for value in mean)
    if rule.get("include_top"):  # EfficientNet's divides by std once more
        std = tuple(value * other for value, other in zip(std, rule["image_std"], strict=True))
    (r, g, b), (deviation_r, deviation_g, deviation_b) = mean, std
    return (r / factor, g / factor, b / factor), (deviation_r / factor, deviation_g / factor, deviation_b / factor)


def _sides(value: Any) -> Size:
    if isinstance(value, Mapping):
        return int(value["height"]), int(value["width"])
    return size(value)
