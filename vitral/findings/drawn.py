"""Which figures there are of an inspection, and how each is drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from vitral.data.decode import decode
from vitral.errors import UnreadableImageError
from vitral.findings.measure import CHANCE, SAMPLE, Findings, mean_curves, stem
from vitral.inspection import figures

SHEET = 6
"""Pictures on a sheet of examples."""

OPENED = 3
"""Pictures of which every head is drawn."""

THUMBNAIL = 96
"""Pixels of the longer side of a small picture."""

MOST_ON_PLANE = 300
"""Pictures laid on a plane in the figure, spread evenly over all; the array has all of them."""

Draw = Callable[[], Any]


def figures_of(found: Findings, heats: dict[str, np.ndarray]) -> list[tuple[str, str, Draw]]:
    """Key, section of the page, and how it is drawn, of every figure that there is something for."""
    asked = [_in_words(found, found.model.classes[number]) for number in found.asked]
    names = [_in_words(found, guesses[0].label) for guesses in found.guesses]
    few, count = slice(0, SHEET), len(found.paths)
    drawn: list[tuple[str, str, Draw]] = []
    if heats:
        sheet = {method: heat[few] for method, heat in heats.items()}
        drawn.append(("maps", "Maps", lambda: figures.draw_methods(found.pixels[few], sheet, asked[few])))
    if "rollout" in heats:
        rolled = heats["rollout"]
        drawn.append(
            ("rollout", "Maps", lambda: figures.draw_attention_examples(found.pixels[few], rolled[few], names[few]))
        )
    if found.curves:
        means = {k: v for k, v in mean_curves(found.curves).items() if k != CHANCE}
        means |= {CHANCE: mean_curves(found.curves)[CHANCE]}
        tested = len(found.curves[CHANCE])
        drawn.append(("faithfulness", "Can the maps be believed", lambda: figures.draw_curves(means, tested)))
    if found.distances is not None:
        distances = found.distances.mean(dim=0).numpy()
        drawn.append(("attention-distance", "Attention", lambda: figures.draw_distance(distances, count)))
    if found.attention is not None:
        drawn += [_heads(found, i, names[i]) for i in range(min(OPENED, count))]
    return drawn + _figures_of_depth(found) + _figures_of_places(found, names)


def _heads(found: Findings, number: int, name: str) -> tuple[str, str, Draw]:
    assert found.attention is not None
    maps, picture = found.attention[number].numpy(), found.pixels[number]
    key = f"heads-{stem(found.paths[number], number)}"
    return key, "Attention", lambda: figures.draw_heads(picture, maps, name)


def _figures_of_depth(found: Findings) -> list[tuple[str, str, Draw]]:
    drawn: list[tuple[str, str, Draw]] = []
    count = min(SAMPLE, len(found.paths))
    if found.norms is not None:
        norms = found.norms.numpy()
        drawn.append(("token-lengths", "From layer to layer", lambda: figures.draw_norms(norms, found.prefix)))
    if found.blocks:
        drawn.append(("blocks", "From layer to layer", lambda: figures.draw_blocks(found.blocks, count)))
    if found.similarity is not None:
        alike = found.similarity.numpy()
        drawn.append(("layer-similarity", "From layer to layer", lambda: figures.draw_similarity(alike, count)))
    return drawn


def _figures_of_places(found: Findings, names: list[str]) -> list[tuple[str, str, Draw]]:
    drawn: list[tuple[str, str, Draw]] = []
    if found.positions is not None:
        positions = found.positions
        drawn.append(("positions", "Filters and positions", lambda: figures.draw_positions(positions)))
    if found.filters is not None:
        filters = found.filters
        drawn.append(("filters", "Filters and positions", lambda: figures.draw_filters(filters)))
    if found.near:
        near = found.near[:SHEET]
        small = [[thumbnail(path) for path, _, _ in row] for row in near]
        said = [[f"{cosine:.3f} {label}" for _, label, cosine in row] for row in near]
        pixels = found.pixels[:SHEET]
        drawn.append(
            ("neighbours", "Other pictures", lambda: figures.draw_neighbours(pixels, names[:SHEET], small, said))
        )
    if found.plane is not None:
        at, paths, axes, title = found.plane
        every = max(1, -(-len(paths) // MOST_ON_PLANE))
        shown = title if every == 1 else f"{title}, one in {every} shown"
        drawn.append(
            (
                "map-of-pictures",
                "Other pictures",
                lambda: figures.draw_map(at[::every], [thumbnail(p) for p in paths[::every]], axes, shown),
            )
        )
    return drawn


def _in_words(found: Findings, label: str) -> str:
    return found.model.descriptions.get(label, label)


def thumbnail(path: str) -> np.ndarray:
    """Small pixels of a picture; a grey square where it cannot be read any more."""
    try:
        image = Image.fromarray(decode(path))
    except UnreadableImageError:
        return np.full((THUMBNAIL, THUMBNAIL, 3), 128, dtype=np.uint8)
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    return np.asarray(image)
