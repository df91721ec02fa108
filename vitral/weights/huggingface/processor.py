"""Transformers' preprocessor_config.json, both ways."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitral.config import Interpolation, Preprocessing, Size
from vitral.data.geometry import covering
from vitral.errors import DataError, UsageError
from vitral.weights.colours import IMAGENET_MEAN, IMAGENET_STD

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

KEEPING_SHAPE = ("Bit", "CLIP", "ConvNext", "Levit", "MobileNetV1", "MobileNetV2", "MobileViT", "PoolFormer")
"""Kinds for which a single number is the size of the shorter side; for the others it is that of a square."""


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
        # Where that is smaller than the cut, pictures are scaled on to cover it; Transformers would add borders.
        to = dict(zip(("height", "width"), covering(rule.resize, rule.crop), strict=True))
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
    """The cut and the resize before it.

    Raises:
        DataError: a form of them that is not read, or for which Transformers pads pictures or leaves them of any shape.
    """
    crop = _sides("crop_size", rule.get("crop_size", image_size)) if rule["do_center_crop"] else None
    if not rule.get("do_resize", True):
        if crop is None or kind == "ConvNext":
            raise DataError("do_resize is false and nothing is cut: pictures of all sizes are not read.")
        return crop, None
    shortest = _shortest(rule["size"], kind)
    if kind == "ConvNext":
        if shortest is None or crop not in (None, (shortest, shortest)):
            raise DataError(
                f"size {rule['size']!r} is not read: ConvNext's processor takes a shortest_edge, and no cut."
            )
        side, share = shortest, _number("crop_pct", rule["crop_pct"])
        return (side, side), (side, side) if side >= SQUASHED_FROM else int(side / share)
    if shortest is None:
        to = _sides("size", rule["size"])
        if kind == "PoolFormer" and rule["crop_pct"]:
            if crop is None or to[0] != to[1]:
                raise DataError(f"size {rule['size']!r} with crop_pct is not read: it must be a square, then cut.")
            return crop, _grown(to[0], kind, rule)
        _require_inside(crop or to, to)
        return crop or to, to
    if crop is None:
        raise DataError(
            f"size {rule['size']!r} without do_center_crop leaves pictures of all shapes: that is not read."
        )
    return crop, _grown(shortest, kind, rule)


def _shortest(to: Any, kind: str) -> int | None:
    """What the shorter side becomes, or `None` where both sides are said."""
    if isinstance(to, Mapping):
        if to.keys() not in ({"shortest_edge"}, {"height", "width"}):
            raise DataError(f"size {dict(to)} is not read: it must be a shortest_edge, or height and width.")
        return _pixels("size", to["shortest_edge"]) if "shortest_edge" in to else None
    return _pixels("size", to) if kind in KEEPING_SHAPE and not isinstance(to, list | tuple) else None


def _grown(shortest: int, kind: str, rule: Mapping[str, Any]) -> int:
    """To what the shorter side is resized; two kinds take it for the cut's and resize to more."""
    if kind == "Levit":
        return int(256 / 224 * shortest)
    if kind == "PoolFormer" and rule["crop_pct"]:
        return int(shortest / _number("crop_pct", rule["crop_pct"]))
    return shortest


def _require_inside(crop: Size, to: Size) -> None:
    """Refuse a cut around which Transformers would put borders."""
    if crop[0] > to[0] or crop[1] > to[1]:
        raise DataError(
            f"crop_size {crop[0]}x{crop[1]} is larger than the resized picture ({min(to)} pixels): Transformers would "
            f"put borders around it, which is not read."
        )


def _colours(rule: Mapping[str, Any]) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and standard deviation of values in [0, 1]; Transformers' are of value * rescale_factor."""
    rescaled = _number("rescale_factor", rule.get("rescale_factor", 1 / 255)) if rule.get("do_rescale", True) else 1.0
    factor = 255 * rescaled
    named = rule.get("do_normalize", True)
    mean, std = (rule["image_mean"], rule["image_std"]) if named else (0.0, 1.0)
    if abs(factor - 1) < 1e-12:
        factor = 1.0  # 1 / 255, as it is nearly always, must not change the last bit of mean and std
    (r, g, b), (deviation_r, deviation_g, deviation_b) = _channels("image_mean", mean), _channels("image_std", std)
    if rule.get("rescale_offset"):  # EfficientNet's, between rescaling and normalising
        r, g, b = r + 1, g + 1, b + 1
    if rule.get("include_top"):  # EfficientNet's divides by std once more
        again = _channels("image_std", rule["image_std"])
        deviation_r, deviation_g, deviation_b = deviation_r * again[0], deviation_g * again[1], deviation_b * again[2]
    return (r / factor, g / factor, b / factor), (deviation_r / factor, deviation_g / factor, deviation_b / factor)


def _channels(name: str, value: Any) -> tuple[float, float, float]:
    """Three numbers; one alone is of all channels."""
    values = value if isinstance(value, list | tuple) else [value] * 3
    if len(values) != 3 or not all(type(one) in (int, float) for one in values):
        raise DataError(f"{name} {value!r} is not read: it must be three numbers, or one for all channels.")
    return float(values[0]), float(values[1]), float(values[2])


def _number(name: str, value: Any) -> float:
    if type(value) not in (int, float) or not 0 < value < 1e9:
        raise DataError(f"{name} must be a number above 0, not {value!r}.")
    return float(value)


def _sides(name: str, value: Any) -> Size:
    if isinstance(value, Mapping) and value.keys() == {"height", "width"}:
        return _pixels(name, value["height"]), _pixels(name, value["width"])
    if isinstance(value, list | tuple) and len(value) == 2:
        return _pixels(name, value[0]), _pixels(name, value[1])
    side = _pixels(name, value)
    return side, side


def _pixels(name: str, value: Any) -> int:
    if type(value) is not int or value < 1:
        raise DataError(f"{name} must be whole pixels, or height and width in them, not {value!r}.")
    return value
