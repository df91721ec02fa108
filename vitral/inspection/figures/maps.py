"""Maps over pictures, how far attention reaches, and whether maps can be believed.

Letters: n pictures, L layers, k heads, h and w height and width, y and x rows and columns of a grid.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from vitral.inspection.colours import overlay, spotlight
from vitral.inspection.faithfulness import Curves
from vitral.inspection.figures.canvas import (
    GREY,
    LINES,
    MARKS,
    bar_of,
    bare,
    colour_map,
    heat_bar,
    panels,
    pictures_in_words,
    short,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@styled
def draw_attention_examples(pixels: np.ndarray, heats: np.ndarray, names: Sequence[str]) -> Figure:
    """Pictures and where attention, rolled out over all layers, goes: Figure 6 of arXiv 2010.11929."""
    pairs = min(2, len(pixels))
    rows = math.ceil(len(pixels) / pairs)
    height = 1.35 * pixels.shape[1] / pixels.shape[2]
    figure, axes = panels(rows, 2 * pairs, (1.4 * 2 * pairs, rows * (height + 0.16) + 0.45))
    for ax in axes.flat:
        bare(ax)
    for i, (picture, heat, name) in enumerate(zip(pixels, heats, names, strict=True)):
        left, right = axes[i // pairs, 2 * (i % pairs) : 2 * (i % pairs) + 2]
        left.imshow(picture)
        right.imshow(spotlight(picture, heat))
        left.set_title(short(name, 24), fontsize=7, pad=2, loc="left")
    parted = " " if pairs > 1 else "\n"  # one pair is narrower than the title
    figure.suptitle(f"Input and attention (rollout);{parted}brightest = most attention")
    return figure


@styled
def draw_heads(picture: np.ndarray, maps: np.ndarray, name: str) -> Figure:
    """Every head of every layer [L, k, y, x] for one picture; every map uses the whole scale."""
    maps = np.concatenate([maps, maps.mean(axis=1, keepdims=True)], axis=1)
    layers, heads, rows, columns = maps.shape
    mosaic = np.full((heads * (rows + 1) - 1, layers * (columns + 1) - 1), np.nan)
    for layer in range(layers):
        for head in range(heads):
            most = max(float(maps[layer, head].max()), np.finfo(np.float32).tiny)
            mosaic[head * (rows + 1) :, layer * (columns + 1) :][:rows, :columns] = maps[layer, head] / most
    tile = 0.62 if layers <= 12 else 0.4
    high = tile * heads * picture.shape[0] / picture.shape[1]
    figure, ((small, ax),) = panels(
        1, 2, (tile * (layers + 2) + 1.1, high + 0.8), width_ratios=(2 * tile, tile * layers + 1)
    )
    bare(small)
    small.imshow(picture)
    small.set_anchor("N")
    shown = ax.imshow(mosaic, cmap=colour_map(), vmin=0, vmax=1, interpolation="nearest")
    ax.set_xticks(columns / 2 + np.arange(layers) * (columns + 1) - 0.5, np.arange(layers) + 1)
    ax.set_yticks(rows / 2 + np.arange(heads) * (rows + 1) - 0.5, [*map(str, range(1, heads)), "mean"])
    ax.tick_params(length=0, labelsize=7)
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.set_xlabel("layer")
    ax.set_ylabel("head")
    ax.set_title(f"Attention to each patch, by layer and head: {short(name, 40)}")
    bar_of(figure, shown, ax, "attention / each map’s maximum")
    return figure


@styled
def draw_methods(pixels: np.ndarray, heats: Mapping[str, np.ndarray], names: Sequence[str]) -> Figure:
    """Every method's map [n, h, w] laid over each picture, one picture a row."""
    count, tall = len(pixels), pixels.shape[1] / pixels.shape[2]
    figure, axes = panels(count, len(heats) + 1, (1.3 * (len(heats) + 1) + 0.8, count * (1.24 * tall + 0.2)))
    for row, (picture, name) in enumerate(zip(pixels, names, strict=True)):
        axes[row, 0].imshow(picture)
        axes[row, 0].set_title(short(name, 22), fontsize=7, pad=2, loc="left")
        for column, (method, heat) in enumerate(heats.items(), start=1):
            axes[row, column].imshow(overlay(picture, heat[row], 0.6))
            if row == 0:
                axes[row, column].set_title(method, fontsize=8, pad=2)
    for ax in axes.flat:
        bare(ax)
    heat_bar(figure, axes, "value / each\nmap’s maximum")
    return figure


@styled
def draw_distance(distances: np.ndarray, pictures: int) -> Figure:
    """Mean attention distance [L, k] in pixels by layer and head: Figure 7, right."""
    figure, ((ax,),) = panels(1, 1, (3.9, 3.0))
    layers, heads = distances.shape
    for head in range(heads):
        few = heads <= len(LINES)
        ax.scatter(
            np.arange(layers) + 1, distances[:, head], s=14, label=f"head {head + 1}" if few else None,
            color=LINES[head] if few else None, marker=MARKS[head] if few else "o",
        )  # fmt: skip
    ax.plot(np.arange(layers) + 1, distances.mean(axis=1), color=GREY, linewidth=1, zorder=0, label="mean of the heads")
    ax.set_xlabel("network depth (layer)")
    ax.set_ylabel("mean attention distance (pixels)")
    ax.set_ylim(bottom=0)
    ax.set_xticks(np.arange(1, layers + 1, max(1, layers // 12)))
    ax.set_title(f"Attention distance by layer and head, {pictures_in_words(pictures)}")
    ax.legend(frameon=False, ncols=2)
    return figure


@styled
def draw_curves(found: Mapping[str, Curves], pictures: int) -> Figure:
    """Deletion and insertion, the mean over pictures, of each method and of chance."""
    figure, axes = panels(1, 2, (6.8, 3.4), sharey=True)
    for ax, kind, better in (
        (axes[0, 0], "deletion", "lower is better"),
        (axes[0, 1], "insertion", "higher is better"),
    ):
        for i, (name, one) in enumerate(found.items()):
            chance = name == "chance"
            ax.plot(
                100 * one.fraction, getattr(one, kind), label=f"{name} {one.areas()[kind]:.3f}",
                color=GREY if chance else LINES[i % len(LINES)], linestyle="--" if chance else "-",
                marker=None if chance else MARKS[i % len(MARKS)], markersize=3, markevery=4,
            )  # fmt: skip
        ax.set_title(f"{kind.capitalize()} ({better})")
        ax.set_xlabel(f"pixels {'deleted' if kind == 'deletion' else 'put into the blurred picture'} (%)")
        ax.set_xlim(0, 100)
        ax.set_ylim(0, 1.02)
        ax.legend(
            title="area under the curve", frameon=False, title_fontsize=7.5, ncols=2, columnspacing=1,
            loc="upper center", bbox_to_anchor=(0.5, -0.2),
        )  # fmt: skip
    axes[0, 0].set_ylabel("probability of the class")
    figure.suptitle(f"Can the maps be believed? Mean over {pictures_in_words(pictures)}")
    return figure
