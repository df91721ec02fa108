"""What the answer loses when a part of the picture is hidden: no gradient, no attention, any network.

After section 4.2 of arXiv 1311.2901. Letters: n pictures, h and w height and width in pixels, y and x rows and columns
of cells.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

CELLS = 14
"""Cells along the shorter side (our choice: the patches of a ViT at 224 pixels and patch size 16)."""

WINDOW = 3
"""Cells, each way, that are hidden at once (our choice): one patch alone is hardly ever missed."""

BATCH = 32
"""Hidden versions per forward pass."""

Answer = Callable[[Tensor], Tensor]
"""Pictures [m, c, h, w] to one number each [m]."""


@torch.no_grad()
def occlusion(answer: Answer, image: Float[Tensor, "c h w"]) -> Float[Tensor, "y x"]:
    """How much of the answer each cell is worth: the mean fall of `answer` over all hiding windows that cover it.

    Hidden is what has the value 0 after normalisation, the mean colour. Negative values say that the cell speaks
    against the answer.
    """
    height, width = image.shape[1:]
    side = max(1, min(height, width) // CELLS)
    rows, columns = math.ceil(height / side), math.ceil(width / side)
    places = [(y, x) for y in range(1 - WINDOW, rows) for x in range(1 - WINDOW, columns)]
    whole = answer(image[None])
    total, count = torch.zeros(rows, columns), torch.zeros(rows, columns)
    for start in range(0, len(places), BATCH):
        some = places[start : start + BATCH]
        hidden = image.repeat(len(some), 1, 1, 1)
        for one, (y, x) in zip(hidden, some, strict=True):
            one[:, max(0, y) * side : (y + WINDOW) * side, max(0, x) * side : (x + WINDOW) * side] = 0
        falls = (whole - answer(hidden)).float().cpu()
        for fall, (y, x) in zip(falls, some, strict=True):
            covered = (slice(max(0, y), y + WINDOW), slice(max(0, x), x + WINDOW))
            total[covered] += fall
            count[covered] += 1
    return total / count
