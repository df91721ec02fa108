"""Mixup and CutMix: each picture of a batch is mixed with its neighbour, and so are their targets.

They run where the model runs, on normalised pictures. One coefficient serves the batch, as in the ViT authors'
code; the neighbour is the picture before, the first one's is the last.
"""

from __future__ import annotations

import math
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from torch import Tensor

Images = Float[Tensor, "n channels height width"]


@runtime_checkable
class Blendable(Protocol):
    """Targets in a form of their own."""

    def blend(self, own: float) -> Any:
        """`own` of each row and 1 - `own` of the row before it, the last one's of the first."""


Targets = Float[Tensor, "n classes"] | Blendable


def mix(
    images: Images, targets: Targets, rng: np.random.Generator, mixup_alpha: float, cutmix_alpha: float
) -> tuple[Images, Targets]:
    """Mix a batch by one of the two methods that are on: where both are, a fair coin decides for the batch.

    Args:
        images: normalised, of any floating type.
        targets: one row per picture, like one-hot or multi-hot labels; or what blends by itself.
        rng: of this step and no other (it lives on the CPU, so every device mixes alike).
        mixup_alpha, cutmix_alpha: both parameters of the method's Beta distribution; 0 turns it off.

    Returns:
        New images and targets; the very same ones where both methods are off or the batch is a single picture.
    """
    if len(images) < 2 or (mixup_alpha == 0 and cutmix_alpha == 0):
        return images, targets
    both = mixup_alpha > 0 and cutmix_alpha > 0
    if cutmix_alpha > 0 and not (both and rng.random() < 0.5):
        return cutmix(images, targets, rng, cutmix_alpha)
    return mixup(images, targets, rng, mixup_alpha)


def mixup(images: Images, targets: Targets, rng: np.random.Generator, alpha: float) -> tuple[Images, Targets]:
    """a own + (1 - a) neighbour, with a ~ Beta(alpha, alpha) (arXiv 1710.09412, equation 1).

    As in the ViT authors' code a is the larger of a and 1 - a, so that the own picture leads.
    """
    a = float(rng.beta(alpha, alpha))
    a = max(a, 1 - a)
    return _blended(images, a), _blend(targets, a)


def cutmix(images: Images, targets: Targets, rng: np.random.Generator, alpha: float) -> tuple[Images, Targets]:
    """A box of the neighbour's pixels, and of its target the box's share of the area (arXiv 1905.04899).

    With l ~ Beta(alpha, alpha) the box has the picture's aspect and an area of 1 - l, its centre is uniform, and
    what lies outside is cut off (section 3.1, equations 1 and 2); the share is counted after that.
    """
    height, width = images.shape[-2:]
    side = math.sqrt(1 - float(rng.beta(alpha, alpha)))
    top, bottom = _interval(height, side, rng)
    left, right = _interval(width, side, rng)
    share = (bottom - top) * (right - left) / (height * width)
    mixed = images.clone()
    mixed[..., top:bottom, left:right] = images[..., top:bottom, left:right].roll(1, 0)
    return mixed, _blend(targets, 1 - share)


def _blend(targets: Targets, own: float) -> Targets:
    return _blended(targets, own) if isinstance(targets, Tensor) else targets.blend(own)


def _blended(values: Tensor, own: float) -> Tensor:
    return values * own + values.roll(1, 0) * (1 - own)


def _interval(length: int, share: float, rng: np.random.Generator) -> tuple[int, int]:
    """Pixels from and to, of an interval of share * length around a uniform pixel, cut at 0 and length."""
    size = round(length * share)
    start = int(rng.integers(length)) - size // 2
    return max(start, 0), min(start + size, length)
