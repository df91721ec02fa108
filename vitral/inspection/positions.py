"""How alike the positions of two patches are: Figure 7, centre, of arXiv 2010.11929.

Letters: y and x rows and columns of the grid (of a window, in Swin), D width, k heads, t = y x.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vitral.errors import UsageError
from vitral.inspection.subject import name_of
from vitral.inspection.tokens import Grid
from vitral.models import Network
from vitral.models.beit import BEiT, RelativeAttention
from vitral.models.positioned import PositionedTransformer
from vitral.models.positions import sincos2d
from vitral.models.relative_positions import relative_bias
from vitral.models.swin import SwinTransformer, WindowAttention


@dataclass(frozen=True)
class Positions:
    """For each place [y, x] of the grid, how alike each other place [y, x] is: `similarity` [y, x, y, x] float32.

    `kind`: "learned" or "fixed" embeddings, whose cosine it is, in [-1, 1]; or "relative", where it is what is added
    to attention before the softmax, the mean over all heads and layers (in Swin, over the layers whose window is as
    large as the first stage's).
    """

    kind: str
    similarity: np.ndarray

    @property
    def grid(self) -> Grid:
        """Rows and columns."""
        return self.similarity.shape[0], self.similarity.shape[1]

    def _repr_png_(self) -> bytes:
        from vitral.inspection.figures.canvas import png
        from vitral.inspection.figures.first_layer import draw_positions

        return png(draw_positions(self))


@torch.no_grad()
def position_similarity(network: Network) -> Positions:
    """Positions compared with each other; the class token's is left out.

    Raises:
        UsageError: the network has no positions, or they depend on the picture (BoTNet).
    """
    if isinstance(network, BEiT | SwinTransformer):
        grid, bias = _mean_bias(network)
        return Positions("relative", bias.unflatten(1, grid).unflatten(0, grid).float().cpu().numpy())
    config: Any = network.config
    table: Any = getattr(network, "position_embedding", None)
    kind = "learned"
    if isinstance(network, PositionedTransformer):  # the first layer's, where each has its own
        tables = network.position_tables(config.grid_size)
        table = None if tables is None else tables[:1]
        kind = "fixed" if config.positions == "sincos2d" else kind
    elif table is None and getattr(config, "positions", None) == "sincos2d":
        table, kind = sincos2d(config.grid_size, config.width), "fixed"
    if table is None:
        raise UsageError(f"{name_of(network)} has no table of positions: there is none to show.")
    grid = config.grid_size
    places = table.reshape(-1, table.shape[-1])[-grid[0] * grid[1] :].cpu().double()
    unit = F.normalize(places, dim=1)
    return Positions(kind, (unit @ unit.T).unflatten(1, grid).unflatten(0, grid).float().numpy())


def _mean_bias(network: BEiT | SwinTransformer) -> tuple[Grid, Tensor]:
    """The first layer's window, and the bias [t, t] as the mean over heads and over layers with such a window."""
    found: list[Tensor] = []
    grid: Grid = (0, 0)
    for layer in network.modules():
        if isinstance(layer, RelativeAttention):
            grid = layer.grid
            found.append(layer.bias()[:, 1:, 1:].mean(dim=0))
        elif isinstance(layer, WindowAttention) and (not found or layer.window == grid):
            grid = layer.window
            found.append(relative_bias(layer.relative_positions, grid).mean(dim=0))
    return grid, torch.stack(found).mean(dim=0)
