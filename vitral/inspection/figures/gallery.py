"""Pictures among other pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from vitral.inspection.figures.canvas import GREY, bare, panels, short, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@styled
def draw_neighbours(
    pixels: np.ndarray, names: Sequence[str], near: Sequence[Sequence[np.ndarray]], said: Sequence[Sequence[str]]
) -> Figure:
    """Each picture, and beside it those that the network finds most alike, nearest first."""
    columns = 1 + max(len(row) for row in near)
    figure, axes = panels(len(pixels), columns, (1.15 * columns, 1.3 * len(pixels) + 0.3))
    for ax in axes.flat:
        bare(ax)
    for row, (picture, name) in enumerate(zip(pixels, names, strict=True)):
        axes[row, 0].imshow(picture)
        axes[row, 0].set_title(short(name, 16), fontsize=7, pad=2, loc="left", fontweight="bold")
        for ax, one, words in zip(axes[row, 1:], near[row], said[row], strict=False):
            ax.imshow(one)
            ax.set_title(short(words, 20), fontsize=6.5, pad=2, loc="left")
    figure.suptitle("Nearest pictures by the cosine of their representations")
    return figure


@styled
def draw_map(places: np.ndarray, thumbnails: Sequence[np.ndarray], axis_names: tuple[str, str], title: str) -> Figure:
    """Pictures where their representations lie [n, 2]."""
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    figure, ((ax,),) = panels(1, 1, (6.6, 5.6))
    ax.scatter(*places.T, s=1, color=GREY)
    zoom = np.clip(14 / math.sqrt(len(places)), 0.28, 1.0) * 40
    for place, one in zip(places, thumbnails, strict=True):
        image = OffsetImage(one, zoom=zoom / max(one.shape[:2]))
        ax.add_artist(AnnotationBbox(image, tuple(place), frameon=False, pad=0))
    ax.margins(0.08)
    ax.set_xlabel(axis_names[0])
    ax.set_ylabel(axis_names[1])
    ax.set_title(title)
    return figure
