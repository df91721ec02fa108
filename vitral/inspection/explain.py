"""Why this answer: one map per picture, by any of `METHODS`, at the size of the network's input.

method      shows                                      of                        class-specific
rollout     what reaches the head through attention    attention over all        no
attention   where the head's token looks               attention over all        no
relevance   attention times its gradient, rolled out   attention over all        yes
gradcam     features times the score's gradient        features with a place     yes
occlusion   what hiding a place costs                  any network               yes
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vitral.datasets.dataset import Source
from vitral.errors import UsageError
from vitral.inspection.attention import attention_map, rollout
from vitral.inspection.capture import attention_layers
from vitral.inspection.colours import colours, overlay, png
from vitral.inspection.gradients import grad_cam, relevance
from vitral.inspection.occlusion import occlusion
from vitral.inspection.subject import Subject, at_rest, class_index, network_input, seen
from vitral.models import Network
from vitral.registry import look_up

__all__ = ["METHODS", "best_method", "colours", "explain", "methods_for", "overlay", "places", "png", "stretched"]

METHODS = {
    "rollout": ("layer",),
    "attention": ("layer", "head"),
    "relevance": ("class",),
    "gradcam": ("class",),
    "occlusion": ("class",),
}
"""Each method, and what may be chosen with it."""


def explain(
    model: Subject,
    image: Source,
    method: str | None = None,
    label: str | None = None,
    layer: int | None = None,
    head: int | None = None,
) -> np.ndarray:
    """Where in the picture the answer comes from: [height, width] float32 in [0, 1], of the network's input.

    Args:
        model: a model as `vitral.load` gives it.
        image: a path, encoded bytes, a `PIL.Image.Image` or a uint8 array [height, width, 3].
        method: one of `METHODS`; None takes rollout where the network has attention, else Grad-CAM, else occlusion.
        label: the class that is asked about; None takes the model's own answer.
        layer: of rollout (the last that takes part) and attention, from 0; -1 is the last.
        head: of attention, from 0; None is the mean over heads.

    Raises:
        UsageError: an unknown method or class, no such layer or head, or a method that does not fit the network.
        UnreadableImageError: the picture cannot be decoded.
    """
    images = network_input(model, seen(model, image)[:1])
    chosen = method or best_method(model.network)
    classes = None if label is None else [class_index(model.classes, label)]
    values = places(model.network, images, chosen, classes, layer, head)
    return stretched(values, (images.shape[2], images.shape[3]))[0]


def methods_for(network: Network) -> tuple[str, ...]:
    """The methods that fit the network, the first being the one to take if nobody chooses."""
    if attention_layers(network):
        return tuple(METHODS)
    return ("occlusion",) if getattr(network.config, "library", None) == "hf" else ("gradcam", "occlusion")


def best_method(network: Network) -> str:
    """The method to take if nobody chooses."""
    return methods_for(network)[0]


def places(
    network: Network,
    images: Float[Tensor, "n c h w"],
    method: str,
    classes: list[int] | None = None,
    layer: int | None = None,
    head: int | None = None,
) -> Float[Tensor, "n y x"]:
    """What each place of the pictures is worth to a method, in its own unit, on the CPU.

    Args:
        classes: asked about, one per picture; None takes the network's own answers.

    Raises:
        UsageError: as `explain`.
    """
    allowed = look_up("method", method, METHODS)
    for name, value in (("layer", layer), ("head", head)):
        if value is not None and name not in allowed:
            fitting = " or ".join(known for known, options in METHODS.items() if name in options)
            raise UsageError(f"{method} has no {name} to choose: leave it out, or take {fitting}.")
    if method not in methods_for(network):
        raise UsageError(f"{method} does not fit this network: take {' or '.join(methods_for(network))}.")
    if method == "rollout":
        return rollout(network, images, layer).cpu()
    if method == "attention":
        return attention_map(network, images, layer, head).cpu()
    asked = answers(network, images) if classes is None else classes
    if method == "occlusion":
        pairs = zip(images, asked, strict=True)
        return torch.stack([occlusion(probability_of(network, number), image) for image, number in pairs])
    return (relevance if method == "relevance" else grad_cam)(network, images, asked).cpu()


@torch.no_grad()
def answers(network: Network, images: Float[Tensor, "n c h w"]) -> list[int]:
    """The network's likeliest class of each picture."""
    with at_rest(network):
        return [int(number) for number in network(images).argmax(dim=1)]


def probability_of(network: Network, number: int) -> Any:
    """The function from pictures [n, c, h, w] to the probability of one class [n], by softmax."""

    @torch.no_grad()
    def probability(images: Tensor) -> Tensor:
        with at_rest(network):
            return network(images).float().softmax(dim=1)[:, number]

    return probability


def stretched(values: Float[Tensor, "n y x"], size: tuple[int, int]) -> np.ndarray:
    """Values on a grid as heat of `size` pixels: [n, height, width] float32 in [0, 1].

    Negative values become 0 and the largest of a picture 1, as the authors of arXiv 2010.11929 do with rollout; in
    between it is bilinear. A map without a positive value stays 0.
    """
    positive = values.float().clamp(min=0)
    large = F.interpolate(positive[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]
    most = large.amax(dim=(1, 2), keepdim=True)
    return (large / torch.where(most > 0, most, torch.ones_like(most))).clamp(0, 1).numpy()
