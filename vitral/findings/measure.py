"""Look into a model with pictures: everything that fits it is measured, and what does not fit is named.

Letters: n pictures, L layers, k heads, y and x rows and columns of a map.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vitral.console import Screen
from vitral.errors import UsageError
from vitral.inspection.attention import attention_maps, mean_attention_distance
from vitral.inspection.capture import attention_layers
from vitral.inspection.faithfulness import Curves, chance_curves, curves
from vitral.inspection.filters import Filters, patch_filters
from vitral.inspection.layers import layer_similarity, token_norms, what_blocks_add
from vitral.inspection.methods import Choice, answers, places, probability_of
from vitral.inspection.neighbours import nearest, neighbourhood_plane, principal_plane
from vitral.inspection.positions import Positions, position_similarity
from vitral.inspection.subject import class_index, network_input
from vitral.inspection.tokens import grid_of
from vitral.serving.predictor import Guess, Model

MOST = 128
"""Pictures that are looked at, at most: as many as Figure 7, right, of arXiv 2010.11929 is the mean of."""

SAMPLE = 32
"""Pictures on which layers are compared: the first ones."""

NEAR = 6
"""Neighbours shown of each picture."""

GUESSES = 5

CHANCE = "chance"
"""Name, among the methods, of the maps of chance."""


@dataclass(frozen=True)
class Request:
    """What is asked for: `methods` to make maps by, the class they are about (None: the model's own answer), how many
    pictures the maps are tested on, and how pictures are laid on a plane ("pca" or "tsne")."""

    methods: tuple[str, ...]
    label: str | None = None
    tested: int = 4
    plane: str = "pca"


@dataclass(frozen=True)
class Gallery:
    """Other pictures, to look for neighbours in: paths and the class of each ("" where there is none)."""

    paths: tuple[str, ...]
    labels: tuple[str, ...]


@dataclass
class Findings:
    """All that was found. `absent` says, by the name of a measure, why there is none."""

    model: Model
    paths: list[str] = field(default_factory=list)
    pixels: np.ndarray = field(default_factory=lambda: np.zeros((0, 1, 1, 3), dtype=np.uint8))  # [n, h, w, 3]
    guesses: list[list[Guess]] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)  # the class that the maps of each picture are about
    maps: dict[str, Tensor] = field(default_factory=dict)  # method -> [n, y, x]
    attention: Tensor | None = None  # [n, L, k, y, x]
    distances: Tensor | None = None  # [n, L, k] in pixels
    curves: dict[str, list[Curves]] = field(default_factory=dict)  # method, or CHANCE -> one per tested picture
    filters: Filters | None = None
    positions: Positions | None = None
    norms: Tensor | None = None  # [n, L + 1, t]
    prefix: int = 0  # tokens before the patches
    blocks: dict[str, list[float]] = field(default_factory=dict)
    similarity: Tensor | None = None  # [L, L]
    near: list[list[tuple[str, str, float]]] = field(default_factory=list)  # path, class, cosine
    plane: tuple[np.ndarray, list[str], tuple[str, str], str] | None = None  # places, paths, names of axes, title
    absent: dict[str, str] = field(default_factory=dict)


def look(
    model: Model,
    paths: Sequence[str],
    pixels: np.ndarray,
    request: Request,
    gallery: Gallery | None,
    workers: int,
    screen: Screen,
) -> Findings:
    """Measure all that fits.

    Args:
        pixels: of the pictures, as the network sees them: [n, h, w, 3] uint8.

    Raises:
        UsageError: a method or class that the model does not have.
    """
    found = Findings(model, list(paths), pixels)
    _of_the_network(found)
    if len(pixels):
        images = network_input(model, pixels)
        _of_the_answers(found, images, request, screen)
        _of_attention(found, images, screen)
        _of_the_layers(found, images[:SAMPLE], screen)
        _tested(found, images[: request.tested], screen)
    _among_others(found, request.plane, gallery, workers, screen)
    screen.end_progress()
    return found


def _of_the_network(found: Findings) -> None:
    found.filters = _if_it_fits(found, "filters", lambda: patch_filters(found.model.network))
    found.positions = _if_it_fits(found, "positions", lambda: position_similarity(found.model.network))


def _of_the_answers(found: Findings, images: Tensor, request: Request, screen: Screen) -> None:
    model = found.model
    rows = model.probabilities_of(torch.cat([model.logits(part) for part in np.split(found.pixels, _cuts(found))]))
    found.guesses = [model.best(row, GUESSES) for row in rows.numpy()]
    if request.label is None:
        found.asked = [index for part in images.split(SAMPLE) for index in answers(model.network, part)]
    else:
        found.asked = [class_index(model.classes, request.label)] * len(images)
    for method in request.methods:
        made = []
        for number, image in enumerate(images):
            screen.progress(f"{method}: picture {number + 1} of {len(images)}")
            choice = Choice((found.asked[number],), multi_label=model.multi_label)
            made.append(places(model.network, image[None], method, choice))
        found.maps[method] = torch.cat(made)


def _cuts(found: Findings) -> list[int]:
    return list(range(SAMPLE, len(found.pixels), SAMPLE))


def _of_attention(found: Findings, images: Tensor, screen: Screen) -> None:
    network = found.model.network
    if not attention_layers(network):
        found.absent["attention"] = "the network has no attention over all of the picture"
        return
    screen.progress("attention, by layer and head")
    found.attention = attention_maps(network, images).cpu()
    found.distances = mean_attention_distance(network, images).cpu()


def _of_the_layers(found: Findings, images: Tensor, screen: Screen) -> None:
    network = found.model.network
    screen.progress("what happens from layer to layer")
    found.norms = _if_it_fits(found, "token lengths", lambda: token_norms(network, images).cpu())
    if found.norms is not None:
        grid = grid_of(network, images)
        found.prefix = found.norms.shape[2] - grid[0] * grid[1]
    found.blocks = _if_it_fits(found, "what blocks add", lambda: what_blocks_add(network, images)) or {}
    similarity = _if_it_fits(found, "similarity of layers", lambda: layer_similarity(network, images))
    found.similarity = None if similarity is None else similarity.cpu()


def _tested(found: Findings, images: Tensor, screen: Screen) -> None:
    """Deletion and insertion, with the maps and with chance."""
    if not len(images) or not found.maps:
        return
    grid = next(iter(found.maps.values())).shape[1:]
    names = [CHANCE, *found.maps]
    found.curves = {name: [] for name in names}
    for number, image in enumerate(images):
        answer = probability_of(found.model.network, found.asked[number], found.model.multi_label)
        for name in names:
            screen.progress(f"deletion and insertion by {name}: picture {number + 1} of {len(images)}")
            found.curves[name].append(
                chance_curves(answer, image, (grid[0], grid[1]), seed=number)
                if name == CHANCE
                else curves(answer, image, found.maps[name][number])
            )


def _among_others(found: Findings, plane: str, gallery: Gallery | None, workers: int, screen: Screen) -> None:
    model = found.model
    own = np.concatenate(
        [model.representations(part).numpy() for part in np.split(found.pixels, _cuts(found)) if len(part)]
        or [np.zeros((0, 1), dtype=np.float32)]
    )
    paths, features = list(found.paths), own
    if gallery is not None:
        kept, known = _features_of(model, gallery, workers, screen)
        if len(own):
            order, cosines = nearest(own, known, NEAR)
            found.near = [
                [(gallery.paths[kept[i]], gallery.labels[kept[i]], float(c)) for i, c in zip(row, near, strict=True)]
                for row, near in zip(order, cosines, strict=True)
            ]
        paths, features = [gallery.paths[i] for i in kept], known
    if len(features) < 3:
        found.absent["map of pictures"] = "it takes at least 3 pictures"
        return
    screen.progress("laying the pictures on a plane")
    if plane == "tsne":
        found.plane = (neighbourhood_plane(features), paths, ("", ""), f"{len(paths):,} pictures by t-SNE")
    else:
        at, shares = principal_plane(features)
        names = tuple(f"principal component {i + 1} ({share:.0%} of the variance)" for i, share in enumerate(shares))
        found.plane = (at, paths, (names[0], names[1]), f"{len(paths):,} pictures by their representations")


def _features_of(model: Model, gallery: Gallery, workers: int, screen: Screen) -> tuple[list[int], np.ndarray]:
    """Numbers of the readable pictures of a gallery, and their representations."""
    kept: list[int] = []
    rows = []
    for batch in model.batches(gallery.paths, workers=workers):
        screen.progress(f"representations: {len(kept):,} of {len(gallery.paths):,} pictures")
        for sample, error in batch.unreadable:
            screen.warn(f"left out: {gallery.paths[sample]}: {error.reason}")
        if len(batch):
            kept += [int(sample) for sample in batch.samples]
            rows.append(model.representations(batch.images).numpy())
    if not rows:
        raise UsageError("not one of the pictures to look for neighbours in can be read: name others.")
    return kept, np.concatenate(rows)


def _if_it_fits(found: Findings, name: str, measure: Callable[[], Any]) -> Any:
    try:
        return measure()
    except UsageError as error:
        found.absent[name] = str(error)
        return None


def mean_curves(found: Mapping[str, Sequence[Curves]]) -> dict[str, Curves]:
    """The mean over pictures, by method."""
    return {
        name: Curves(
            several[0].fraction,
            np.mean([one.deletion for one in several], axis=0),
            np.mean([one.insertion for one in several], axis=0),
        )
        for name, several in found.items()
    }


def stem(path: str, number: int) -> str:
    """The beginning of the names of a picture's files: "03-cat"."""
    kept = "".join(c if c.isalnum() and c.isascii() else "-" for c in Path(path).stem)[:40].strip("-")
    return f"{number + 1:02d}-{kept or 'picture'}"
