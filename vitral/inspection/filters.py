"""What the first layer looks for: Figure 7, left, of arXiv 2010.11929.

Letters: D filters, c colours, a and b rows and columns of a filter in pixels, m components.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from vitral.errors import UsageError
from vitral.inspection.subject import name_of
from vitral.models import Network

COUNT = 28
"""Components shown, as in the figure."""


@dataclass(frozen=True)
class Filters:
    """Principal components of the filters that the pixels meet first.

    `components` [m, a, b, c] float32 of length 1 each, strongest first, the entry of largest size positive; `shares`
    [m] of the filters' variance, in [0, 1].
    """

    components: np.ndarray
    shares: np.ndarray

    def as_colours(self) -> np.ndarray:
        """[m, a, b, 3] uint8: 0 is middle grey, and each component uses the whole range."""
        most = np.abs(self.components).max(axis=(1, 2, 3), keepdims=True)
        shown = 127.5 * (1 + self.components / np.where(most > 0, most, 1))
        if shown.shape[-1] == 1:
            shown = np.repeat(shown, 3, axis=-1)
        return shown[..., :3].round().astype(np.uint8)

    def _repr_png_(self) -> bytes:
        from vitral.inspection.figures.canvas import png
        from vitral.inspection.figures.first_layer import draw_filters

        return png(draw_filters(self))


def patch_filters(network: Network, count: int = COUNT) -> Filters:
    """Principal components of the patch embedding; of a network that begins with convolutions, of its first ones.

    Raises:
        UsageError: the network has no filters for pixels.
    """
    first = next((layer for layer in network.modules() if isinstance(layer, nn.Conv2d)), None)
    if first is None:
        raise UsageError(f"{name_of(network)} has no filters for pixels: there are none to show.")
    weight = first.weight.detach().cpu().double()
    flat = weight.flatten(1)
    _, sizes, rows = torch.linalg.svd(flat - flat.mean(dim=0), full_matrices=False)
    count = min(count, len(rows), max(1, len(flat) - 1))
    rows = rows[:count]
    largest = rows.gather(1, rows.abs().argmax(dim=1, keepdim=True))
    rows = rows * largest.sign()
    shares = sizes.square() / sizes.square().sum().clamp(min=torch.finfo(sizes.dtype).tiny)
    components = rows.unflatten(1, weight.shape[1:]).permute(0, 2, 3, 1)
    return Filters(components.float().numpy(), shares[:count].numpy())
