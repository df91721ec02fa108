"""From decoded pixels to the model's input, the one way that every verb takes; and its file in the artefact.

Pictures stay uint8 until `normalise`, which runs where the model runs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import get_args

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from vitral.config import Interpolation, Preprocessing, Size
from vitral.data.geometry import Pixels, central_box, covering, resize, shorter_side
from vitral.errors import DataError, UsageError
from vitral.registry import nearest

MAX_ASPECT = 32
"""Longest picture, in shorter sides, that keeps its aspect (our choice). A 1 x 10,000 strip whose shorter side
became 256 would take 2 GB; what lies beyond is trimmed at both ends, far outside the cut of any usual shape."""


def prepare(image: Pixels, preprocessing: Preprocessing) -> Pixels:
    """The pixels that the model sees in evaluation: resized, then cut at the centre.

    Args:
        image: [height, width, 3] uint8 RGB, upright, at least 1 x 1.

    Returns:
        uint8 of exactly `preprocessing.crop`. It may share memory with `image`.
    """
    resized = resize_whole(image, preprocessing)
    return central_box(_size(resized), preprocessing.crop).cut(resized)


def resize_whole(image: Pixels, preprocessing: Preprocessing) -> Pixels:
    """The picture before its cut: resized as `preprocessing` says, and at least as large as the cut.

    Where the size asked for is smaller than the cut, the picture is scaled to the least size of the same aspect
    that covers it, in the same single resampling: no border is ever made up.
    """
    if isinstance(preprocessing.resize, tuple):
        return resize(image, covering(preprocessing.resize, preprocessing.crop), preprocessing.interpolation)
    image = _trimmed(image)
    size = _size(image)
    if preprocessing.resize is not None:
        size = shorter_side(*size, preprocessing.resize)
    return resize(image, covering(size, preprocessing.crop), preprocessing.interpolation)


def normalise(
    images: UInt8[Tensor, "n h w 3"], mean: tuple[float, ...], std: tuple[float, ...]
) -> Float[Tensor, "n 3 h w"]:
    """(value / 255 - mean) / std per channel, float32 and contiguous, on the device of `images`.

    It is computed as value * scale + shift, rounded after each of the two, so a picture's numbers do not depend
    on its batch; they are within 1e-6 of the formula where std is 0.2 or more.
    """
    scales = [1 / (255 * deviation) for deviation in std]
    shifts = [-centre / deviation for centre, deviation in zip(mean, std, strict=True)]
    scale = torch.tensor(scales, dtype=torch.float32, device=images.device)
    shift = torch.tensor(shifts, dtype=torch.float32, device=images.device)
    channels_first = images.permute(0, 3, 1, 2)
    values = channels_first.to(torch.float32, memory_format=torch.contiguous_format)
    return values.mul_(scale[:, None, None]).add_(shift[:, None, None])


def to_json(preprocessing: Preprocessing) -> dict[str, object]:
    """What `preprocessing.json` holds: each field by its name, sizes as [height, width]."""
    fields = dataclasses.asdict(preprocessing)
    return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}


def from_json(record: Mapping[str, object]) -> Preprocessing:
    """The inverse of `to_json`. Nothing is guessed: each field must be there, and no other.

    Raises:
        DataError: an unknown or missing key (the message names the nearest one), or a value that does not fit.
    """
    names = [field.name for field in dataclasses.fields(Preprocessing)]
    for key in record:
        if key not in names:
            close = nearest(key, names) or names
            raise DataError(f"unknown key {key!r} in preprocessing: did you mean {' or '.join(close)}?")
    missing = [name for name in names if name not in record]
    if missing:
        raise DataError(f"preprocessing lacks {', '.join(missing)}: it needs {', '.join(names)}.")
    try:
        return Preprocessing(
            crop=_pair("crop", record["crop"]),
            resize=_resize(record["resize"]),
            interpolation=_interpolation(record["interpolation"]),
            mean=_triple("mean", record["mean"]),
            std=_triple("std", record["std"]),
        )
    except UsageError as error:
        raise DataError(f"preprocessing does not fit: {error}") from error


def _size(image: Pixels) -> Size:
    return image.shape[0], image.shape[1]


def _trimmed(image: Pixels) -> Pixels:
    height, width = _size(image)
    longest = MAX_ASPECT * min(height, width)
    if max(height, width) <= longest:
        return image
    return central_box((height, width), (min(height, longest), min(width, longest))).cut(image)


def _whole(name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise DataError(f"preprocessing needs whole pixels for {name}, not {value!r}.")
    return value


def _resize(value: object) -> int | Size | None:
    if value is None:
        return None
    return _whole("resize", value) if isinstance(value, int) else _pair("resize", value)


def _pair(name: str, value: object) -> Size:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise DataError(f"preprocessing needs [height, width] in pixels for {name}, not {value!r}.")
    return _whole(name, value[0]), _whole(name, value[1])


def _triple(name: str, value: object) -> tuple[float, float, float]:
    if not isinstance(value, list | tuple) or len(value) != 3 or not all(map(_is_number, value)):
        raise DataError(f"preprocessing needs three numbers for {name}, not {value!r}.")
    red, green, blue = (float(channel) for channel in value)
    return red, green, blue


def _is_number(value: object) -> bool:
    # The comparison also turns away NaN and infinity, which Python's json reads.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9


def _interpolation(value: object) -> Interpolation:
    names: tuple[Interpolation, ...] = get_args(Interpolation)
    for name in names:
        if value == name:
            return name
    raise DataError(f"preprocessing needs interpolation {', '.join(names)}, not {value!r}.")
