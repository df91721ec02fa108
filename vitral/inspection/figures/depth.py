"""What happens from layer to layer.

Letters: n pictures, L layers, t tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from vitral.inspection.figures.canvas import LINES, bar_of, panels, percent, pictures_in_words, styled
from vitral.inspection.layers import outliers

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@styled
def draw_norms(norms: np.ndarray, prefix: int) -> Figure:
    """Lengths of tokens [n, L + 1, t] by layer: the class token's, the patches' middle half, and the outliers."""
    from matplotlib.ticker import ScalarFormatter

    figure, ((ax,),) = panels(1, 1, (4.3, 3.0))
    depth = np.arange(norms.shape[1])
    patches = norms[:, :, prefix:]
    low, middle, high = (np.quantile(patches, q, axis=(0, 2)) for q in (0.25, 0.5, 0.75))
    ax.fill_between(depth, low, high, color=LINES[0], alpha=0.25, linewidth=0, label="patches, middle half")
    ax.plot(depth, middle, color=LINES[0], label="patches, median")
    if prefix:
        ax.plot(depth, norms[:, :, 0].mean(axis=0), color=LINES[2], linestyle="--", label="class token")
    far = outliers(torch.from_numpy(patches)).numpy()
    _, layer, _ = np.nonzero(far)
    if len(layer):
        ax.scatter(
            layer,
            patches[far],
            s=5,
            color=LINES[1],
            linewidth=0,
            label=f"outliers ({percent(far[:, -1].mean())} at the end)",
        )
    ax.set_yscale("log")
    ax.set_xlabel("block (0: embedding)")
    ax.set_ylabel("Euclidean length of a token")
    ax.set_xticks(depth[:: max(1, len(depth) // 12)])
    ax.yaxis.set_major_formatter(ScalarFormatter())
    ax.set_title(f"Token lengths, {pictures_in_words(len(norms))}")
    ax.legend(frameon=False)
    return figure


@styled
def draw_blocks(found: Mapping[str, Sequence[float]], pictures: int) -> Figure:
    """What each block adds, and from where on the answer stands."""
    figure, axes = panels(1, 2, (6.8, 2.7))
    depth = np.arange(1, len(found["mlp"]) + 1)
    left, right = axes[0]
    left.plot(depth, found["attention"], color=LINES[0], marker="o", markersize=3, label="attention")
    left.plot(depth, found["mlp"], color=LINES[1], marker="s", markersize=3, linestyle="--", label="MLP")
    left.set_ylabel("length added / length before")
    left.set_ylim(bottom=0)
    left.set_title("What each branch adds to a token")
    right.plot(
        depth, found["cosine"], color=LINES[2], marker="^", markersize=3, label="cosine before : behind the block"
    )
    right.plot(depth, found["agreement"], color=LINES[3], marker="D", markersize=3, linestyle="--",
               label="pictures whose answer stands")  # fmt: skip
    right.set_ylabel("cosine, share of pictures")
    right.set_ylim(min(0, min(found["cosine"])), 1.03)
    right.set_title(f"How much each block changes, {pictures_in_words(pictures)}")
    for ax in (left, right):
        ax.set_xlabel("block")
        ax.set_xticks(depth[:: max(1, len(depth) // 12)])
        ax.legend(frameon=False)
    return figure


@styled
def draw_similarity(similarity: np.ndarray, pictures: int) -> Figure:
    """Linear CKA [L, L] between layers."""
    figure, ((ax,),) = panels(1, 1, (3.9, 3.2))
    count = len(similarity)
    shown = ax.imshow(similarity, cmap="viridis", vmin=0, vmax=1, origin="lower", extent=(0.5, count + 0.5) * 2)
    ax.set_xlabel("block")
    ax.set_ylabel("block")
    ticks = np.arange(1, count + 1, max(1, count // 12))
    ax.set_xticks(ticks)
    ax.set_yticks(ticks)
    ax.set_title(f"How alike layers are, {pictures_in_words(pictures)}")
    bar_of(figure, shown, ax, "linear CKA")
    return figure
