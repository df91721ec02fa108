"""Figure 7, left and centre, of arXiv 2010.11929: filters and positions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from vitral.inspection.figures.canvas import bar_of, bare, colour_map, panels, percent, styled
from vitral.inspection.filters import Filters
from vitral.inspection.positions import Positions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LARGEST_MOSAIC = 16
"""Tiles each way in a mosaic of positions; of more, every second (third, ...) is drawn."""


@styled
def draw_filters(filters: Filters) -> Figure:
    """Principal components of the first filters: Figure 7, left, of arXiv 2010.11929."""
    shown = filters.as_colours()
    count, high, wide, _ = shown.shape
    columns = min(7, count)
    rows = math.ceil(count / columns)
    down, across = math.ceil(1.32 * high), math.ceil(1.1 * wide)  # a filter with its share above it
    mosaic = np.full((rows * down, columns * across - (across - wide), 3), 255, dtype=np.uint8)
    figure, ((ax,),) = panels(1, 1, (0.68 * columns + 0.1, 0.68 * rows * down / across + 0.5))
    bare(ax)
    for number, (one, share) in enumerate(zip(shown, filters.shares, strict=True)):
        top, left = number // columns * down + down - high, number % columns * across
        mosaic[top : top + high, left : left + wide] = one
        ax.text(left + wide / 2 - 0.5, top - 0.08 * high, percent(share), ha="center", va="bottom", fontsize=6.5)
    ax.imshow(mosaic, interpolation="nearest")
    figure.suptitle(f"First {count} principal components of the filters,\nwith their share of the variance")
    return figure


@styled
def draw_positions(positions: Positions) -> Figure:
    """The mosaic of Figure 7, centre: at each place of the grid, how alike all places are to it."""
    rows, columns = positions.grid
    every = math.ceil(max(rows, columns) / LARGEST_MOSAIC)
    tiles = positions.similarity[::every, ::every]
    down, across, _, _ = tiles.shape
    mosaic = np.full((down * (rows + 1) - 1, across * (columns + 1) - 1), np.nan)
    for i in range(down):
        for j in range(across):
            mosaic[i * (rows + 1) :, j * (columns + 1) :][:rows, :columns] = tiles[i, j]
    figure, ((ax,),) = panels(1, 1, (5.2, 0.55 + 4.2 * mosaic.shape[0] / mosaic.shape[1]))
    relative = positions.kind == "relative"
    least, most = (None, None) if relative else (-1, 1)
    shown = ax.imshow(mosaic, cmap=colour_map() if relative else "viridis", vmin=least, vmax=most)
    ax.set_xticks(columns / 2 + np.arange(across) * (columns + 1) - 0.5, np.arange(across) * every + 1, fontsize=6.5)
    ax.set_yticks(rows / 2 + np.arange(down) * (rows + 1) - 0.5, np.arange(down) * every + 1, fontsize=6.5)
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.set_xlabel("column of the patch")
    ax.set_ylabel("row of the patch")
    title = "Relative position bias" if relative else f"Position embedding similarity ({positions.kind})"
    ax.set_title(f"{title}, {rows} × {columns} places" + (f", every {every} shown" if every > 1 else ""))
    bar_of(figure, shown, ax, "bias, mean over heads and layers" if relative else "cosine similarity")
    return figure
