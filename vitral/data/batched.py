"""A batch of training pictures varied where the network runs, as `vitral.data.transforms.vary` does one by one.

What chance decides was drawn beside each picture's pixels (`vitral.data.choices`). The arithmetic is the host's, in
whole numbers or in float32 rounded at the same places, so the pixels are the host's to the bit on a CPU. Which pictures
an operation concerns is known on the host: nothing is ever read back from the device.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from vitral.data.choices import Choices
from vitral.data.randaugment import FULL, GREY, LUMA, MATRICES, TABLES, enhancing, from_corners

Images = UInt8[Tensor, "n h w 3"]

FIXED = 1 << 16
"""Pillow finds the nearest pixel in whole numbers of 1/65536 of a pixel."""


def vary(images: Images, choices: Sequence[Choices], magnitude: float) -> Images:
    """The pictures as their choices want them.

    Args:
        images: on any device; are not changed.
        choices: one for each picture.
        magnitude: of RandAugment, as in the configuration.
    """
    images = _spread(images, [i for i, own in enumerate(choices) if own.flip], lambda part: part.flip(2))
    for place in range(max(len(own.jitters) for own in choices)):
        for kind, members in _grouped([own.jitters[place] for own in choices]).items():
            factors = torch.tensor([factor for _, factor in members], dtype=torch.float32, device=images.device)
            changed = factors[:, None, None, None]
            images = _spread(images, [i for i, _ in members], partial(jitter, kind=kind, factors=changed))
    for layer in range(max(len(own.operations) for own in choices)):
        for name, members in _grouped([own.operations[layer] for own in choices]).items():
            drawn = [own for _, own in members]
            work = partial(operate, name=name, strength=magnitude / FULL, drawn=drawn)
            images = _spread(images, [i for i, _ in members], work)
    return _erased(images, choices)


def jitter(images: Images, kind: str, factors: Tensor) -> Images:
    """Brightness, contrast or saturation of each picture changed by its factor [n, 1, 1, 1] float32."""
    if kind == "brightness":
        return blend(torch.zeros((), device=images.device), images, factors)
    grey = greyscale(images)
    if kind == "saturation":
        return blend(grey[..., None].float(), images, factors)
    exact = torch.float32 if images.device.type == "mps" else torch.float64  # Apple's GPUs have no float64
    mean = grey.flatten(1).sum(dim=1, dtype=torch.int64).to(exact) / grey[0].numel()
    return blend(mean.float()[:, None, None, None], images, factors)


def operate(images: Images, name: str, strength: float, drawn: Sequence[object]) -> Images:
    """One operation of RandAugment on all of the pictures.

    Args:
        strength: magnitude / 10.
        drawn: what it drew for each picture, see `vitral.data.choices`.
    """
    if name in MATRICES:
        return moved(images, np.array([from_corners(*own) for own in drawn]))  # type: ignore[misc]
    if name in TABLES:
        table = TABLES[name]((images.shape[1], images.shape[2]), strength).astype(np.uint8)
        return torch.from_numpy(table).to(images.device)[images.long()]
    if name == "cutout":
        rows, columns = (torch.arange(n, device=images.device) for n in images.shape[1:3])
        top, bottom, left, right = torch.tensor(drawn, device=images.device).T[..., None]
        inside = ((rows >= top) & (rows < bottom))[:, :, None] & ((columns >= left) & (columns < right))[:, None, :]
        return images.masked_fill(inside[..., None], GREY)
    if name == "colour":
        return blend(greyscale(images)[..., None].float(), images, enhancing(strength))
    if name == "brightness":
        return blend(torch.zeros((), device=images.device), images, enhancing(strength))
    return (
        {"autocontrast": autocontrast, "equalize": equalize}[name](images)
        if name != "sharpness"
        else sharpness(images, enhancing(strength))
    )


def moved(images: Images, matrices: np.ndarray) -> Images:
    """Each picture seen through its matrix [n, 6] (as Pillow takes them): nearest pixels, grey from outside."""
    a0, a1, a2, a3, a4, a5 = matrices.T
    fixed = np.stack([a0, a1, a2 + a0 * 0.5 + a1 * 0.5, a3, a4, a5 + a3 * 0.5 + a4 * 0.5])
    whole = torch.from_numpy(np.floor(fixed * FIXED + 0.5).astype(np.int64)).to(images.device)
    x0, x1, x2, y0, y1, y2 = whole[:, :, None, None]
    height, width = images.shape[1:3]
    rows = torch.arange(height, device=images.device)[:, None]
    columns = torch.arange(width, device=images.device)
    x, y = (x2 + x1 * rows + x0 * columns) >> 16, (y2 + y1 * rows + y0 * columns) >> 16
    outside = (x < 0) | (x >= width) | (y < 0) | (y >= height)
    places = (y.clamp(0, height - 1) * width + x.clamp(0, width - 1)).flatten(1)[..., None].expand(-1, -1, 3)
    taken = images.flatten(1, 2).gather(1, places).view_as(images)
    return taken.masked_fill(outside[..., None], GREY)


def autocontrast(images: Images) -> Images:
    """Stretch each channel of each picture to 0..255."""
    low, high = (images.amin((1, 2)).long()[..., None], images.amax((1, 2)).long()[..., None])
    values = torch.arange(256, device=images.device)
    stretched = (values - low) * 255
    stretched = torch.div(stretched, (high - low).clamp(min=1), rounding_mode="floor").clamp(0, 255)
    return _look_up(images, torch.where(high > low, stretched, values))


def equalize(images: Images) -> Images:
    """Flatten each channel's histogram; a channel with too few values for 256 steps stays."""
    flat = images.permute(0, 3, 1, 2).flatten(2).long()
    counts = torch.zeros(*flat.shape[:2], 256, dtype=torch.int64, device=images.device)
    counts.scatter_add_(2, flat, torch.ones_like(flat))
    last = 255 - (counts > 0).long().flip(2).argmax(2, keepdim=True)
    step = torch.div(counts.sum(2, keepdim=True) - counts.gather(2, last), 255, rounding_mode="floor")
    below = counts.cumsum(2) - counts
    table = torch.div(below + torch.div(step, 2, rounding_mode="floor"), step.clamp(min=1), rounding_mode="floor")
    table = table.clamp(0, 255)
    table[..., 0] = 0  # by definition, not half a step
    return _look_up(images, torch.where(step == 0, torch.arange(256, device=images.device), table))


def sharpness(images: Images, factor: float) -> Images:
    """Blend with the picture smoothed by (1 1 1; 1 5 1; 1 1 1) / 13; the outermost pixels stay."""
    wide = images.int()
    rows = wide[:, :-2] + wide[:, 1:-1] + wide[:, 2:]
    window = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]
    smooth = images.clone()
    smooth[:, 1:-1, 1:-1] = torch.div(window + 4 * wide[:, 1:-1, 1:-1], 13, rounding_mode="floor").byte()
    return blend(smooth.float(), images, factor)


def greyscale(images: Images) -> Tensor:
    """Grey values uint8 [n, height, width], the weighted sum of `LUMA` rounded to the nearest."""
    red, green, blue = (images[..., channel].int() * LUMA[channel] for channel in range(3))
    return torch.div(red + green + blue + 5000, 10000, rounding_mode="floor").byte()


def blend(degraded: Tensor, images: Images, factor: Tensor | float) -> Images:
    """degraded + factor (image - degraded), in float32, cut to 0..255 and rounded towards 0."""
    return ((images.float() - degraded) * factor + degraded).clamp(0, 255).byte()


def _grouped(choices: Sequence[tuple[str, object]]) -> dict[str, list[tuple[int, object]]]:
    """Positions and what was drawn, by name."""
    groups: dict[str, list[tuple[int, object]]] = defaultdict(list)
    for i, (name, own) in enumerate(choices):
        groups[name].append((i, own))
    return groups


def _spread(images: Images, members: list[int], work: Callable[[Tensor], Tensor]) -> Images:
    """The batch with `work` done on the pictures at `members`."""
    if not members:
        return images
    at = torch.tensor(members).to(images.device, non_blocking=True)
    return images.index_copy(0, at, work(images.index_select(0, at)))


def _look_up(images: Images, tables: Tensor) -> Images:
    """New values from tables [n, 3, 256], one for each channel of each picture."""
    flat = images.permute(0, 3, 1, 2).flatten(2).long()
    channels = tables.gather(2, flat).byte().unflatten(2, images.shape[1:3])
    return channels.permute(0, 2, 3, 1).contiguous()


def _erased(images: Images, choices: Sequence[Choices]) -> Images:
    erased = [(i, *own.erased) for i, own in enumerate(choices) if own.erased is not None]
    if not erased:
        return images
    # All bytes travel at once; each rectangle is then a view of them.
    noise = torch.from_numpy(np.concatenate([bytes_.reshape(-1) for _, _, bytes_ in erased])).to(images.device)
    images, start = images.clone(), 0
    for i, box, bytes_ in erased:
        images[i, box.top : box.top + box.height, box.left : box.left + box.width] = noise[
            start : start + bytes_.size
        ].view(bytes_.shape)
        start += bytes_.size
    return images
