"""Look into a model from Python: functions of a model and pictures, and results that draw themselves in a notebook.

>>> import vitral
>>> from vitral.inspection import attention_rollout
>>> attention_rollout(vitral.load("ViT-B/16"), "cat.jpg")

Letters: n pictures, L layers, k heads, t tokens, h and w height and width of the input, y and x rows and columns of a
map.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from vitral.datasets.dataset import Source
from vitral.inspection.attention import attention_maps, mean_attention_distance
from vitral.inspection.colours import overlay, png
from vitral.inspection.layers import layer_similarity, token_norms
from vitral.inspection.methods import Choice, best_method, places, stretched
from vitral.inspection.subject import Subject, class_index, network_input, seen
from vitral.inspection.tokens import grid_of

Sources = Source | Sequence[Source]

ACROSS = 4
"""Pictures side by side where maps draw themselves."""


@dataclass(frozen=True)
class Maps:
    """What each place of pictures is worth: `values` [n, y, x] in the method's own unit, of `pixels` [n, h, w, 3]."""

    method: str
    values: np.ndarray
    pixels: np.ndarray

    def heat(self) -> np.ndarray:
        """The maps at the size of the input: [n, h, w] float32 in [0, 1], the largest of each picture 1."""
        return stretched(torch.from_numpy(self.values), (self.pixels.shape[1], self.pixels.shape[2]))

    def overlays(self, opacity: float = 0.6) -> np.ndarray:
        """The maps laid over their pictures: [n, h, w, 3] uint8."""
        pairs = zip(self.pixels, self.heat(), strict=True)
        return np.stack([overlay(picture, heat, opacity) for picture, heat in pairs])

    def _repr_png_(self) -> bytes:
        shown = np.concatenate([self.pixels, self.overlays()], axis=2)  # each picture beside its map
        empty = np.full_like(shown[:1], 255)
        across = min(ACROSS // 2, len(shown))
        missing = -len(shown) % across
        rows = np.concatenate([shown, *[empty] * missing])
        rows = rows.reshape(math.ceil(len(shown) / across), across, *shown.shape[1:])
        return png(np.concatenate([np.concatenate(list(row), axis=1) for row in rows]))


@dataclass(frozen=True)
class Heads:
    """Where the tokens that the head reads look: `values` [n, L, k, y, x], of `pixels` [n, h, w, 3]."""

    values: np.ndarray
    pixels: np.ndarray

    def _repr_png_(self) -> bytes:
        from vitral.inspection.figures.canvas import png as drawn
        from vitral.inspection.figures.maps import draw_heads

        return drawn(draw_heads(self.pixels[0], self.values[0], "the first picture"))


@dataclass(frozen=True)
class Distances:
    """Mean attention distance in pixels by picture, layer and head: `values` [n, L, k]."""

    values: np.ndarray

    def _repr_png_(self) -> bytes:
        from vitral.inspection.figures.canvas import png as drawn
        from vitral.inspection.figures.maps import draw_distance

        return drawn(draw_distance(self.values.mean(axis=0), len(self.values)))


@dataclass(frozen=True)
class TokenLengths:
    """Lengths of tokens as they enter the first block and behind each: `values` [n, L + 1, t], of which the first
    `prefix` tokens are no patches."""

    values: np.ndarray
    prefix: int

    def _repr_png_(self) -> bytes:
        from vitral.inspection.figures.canvas import png as drawn
        from vitral.inspection.figures.depth import draw_norms

        return drawn(draw_norms(self.values, self.prefix))


@dataclass(frozen=True)
class LayerSimilarity:
    """Linear CKA between layers: `values` [L, L] in [0, 1], measured on so many `pictures`."""

    values: np.ndarray
    pictures: int

    def _repr_png_(self) -> bytes:
        from vitral.inspection.figures.canvas import png as drawn
        from vitral.inspection.figures.depth import draw_similarity

        return drawn(draw_similarity(self.values, self.pictures))


def maps_of(
    model: Subject,
    images: Sources,
    method: str | None = None,
    label: str | None = None,
    layer: int | None = None,
    head: int | None = None,
) -> Maps:
    """Maps of one or several pictures; arguments and errors as those of `vitral.inspection.explain.explain`."""
    pixels = seen(model, images)
    chosen = method or best_method(model.network)
    classes = None if label is None else (class_index(model.classes, label),) * len(pixels)
    choice = Choice(classes, layer, head, model.multi_label)
    return Maps(chosen, places(model.network, network_input(model, pixels), chosen, choice).numpy(), pixels)


def attention_rollout(model: Subject, images: Sources, layer: int | None = None) -> Maps:
    """What reaches the head through attention: see `vitral.inspection.attention.rollout`."""
    return maps_of(model, images, "rollout", layer=layer)


def attention_heads(model: Subject, images: Sources) -> Heads:
    """Every layer's and head's map: see `vitral.inspection.attention.attention_maps`."""
    pixels = seen(model, images)
    return Heads(attention_maps(model.network, network_input(model, pixels)).cpu().numpy(), pixels)


def attention_distance(model: Subject, images: Sources) -> Distances:
    """How far each head looks: see `vitral.inspection.attention.mean_attention_distance`."""
    given = network_input(model, seen(model, images))
    return Distances(mean_attention_distance(model.network, given).cpu().numpy())


def token_lengths(model: Subject, images: Sources) -> TokenLengths:
    """How long tokens are from layer to layer: see `vitral.inspection.layers.token_norms`."""
    given = network_input(model, seen(model, images))
    norms = token_norms(model.network, given).cpu().numpy()
    rows, columns = grid_of(model.network, given)
    return TokenLengths(norms, norms.shape[2] - rows * columns)


def similarity_of_layers(model: Subject, images: Sources) -> LayerSimilarity:
    """How alike layers are: see `vitral.inspection.layers.layer_similarity`."""
    given = network_input(model, seen(model, images))
    return LayerSimilarity(layer_similarity(model.network, given).cpu().numpy(), len(given))
