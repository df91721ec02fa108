"""What chance decides for one training picture, drawn apart from carrying it out.

`drawn` asks a generator for the same numbers in the same order as `vitral.data.transforms.vary`, so a picture comes out
the same whether the reading thread varies it, or `vitral.data.batched` a whole batch where the network runs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from vitral.config import AugmentationConfig, Size
from vitral.data.geometry import Box, Pixels
from vitral.data.randaugment import FULL, MATRICES, OPERATIONS, greyed
from vitral.data.transforms import JITTERS, erased_part


class Choices(NamedTuple):
    """Of one picture: mirrored or not; the jitters in their order, each with its factor; RandAugment's operations with
    what they drew; the erased box and its bytes."""

    flip: bool
    jitters: tuple[tuple[str, float], ...]
    operations: tuple[tuple[str, Any], ...]
    erased: tuple[Box, Pixels] | None


def drawn(size: Size, rng: np.random.Generator, augmentation: AugmentationConfig) -> Choices:
    """The choices for a picture that was cut to `size`."""
    flip = augmentation.flip and rng.random() < 0.5
    jitters = []
    if augmentation.colour_jitter > 0:
        for kind in rng.permutation(3):
            factor = rng.uniform(1 - augmentation.colour_jitter, 1 + augmentation.colour_jitter)
            jitters.append((JITTERS[kind], factor))
    names, strength = tuple(OPERATIONS), augmentation.randaugment_magnitude / FULL
    operations = []
    for _ in range(augmentation.randaugment_layers):
        name = names[int(rng.integers(len(names)))]
        draw = MATRICES.get(name, greyed if name == "cutout" else None)
        operations.append((name, draw(size, strength, rng) if draw else None))
    erases = augmentation.erasing > 0 and rng.random() < augmentation.erasing
    return Choices(bool(flip), tuple(jitters), tuple(operations), erased_part(size, rng) if erases else None)
