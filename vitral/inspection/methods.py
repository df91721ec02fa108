"""Maps of what each place of a picture is worth, by any of `METHODS`.

method      shows                                      of                        class-specific
rollout     what reaches the head through attention    attention over all        no
attention   where the head's token looks               attention over all        no
relevance   attention times its gradient, rolled out   attention over all        yes
gradcam     features times the score's gradient        features with a place     yes
occlusion   what hiding a place costs                  any network               yes
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vitral.errors import UsageError
from vitral.inspection.attention import attention_map, rollout
from vitral.inspection.capture import attention_layers
from vitral.inspection.gradients import grad_cam, relevance
from vitral.inspection.occlusion import Answer, occlusion
from vitral.inspection.subject import at_rest
from vitral.models import Network
from vitral.registry import look_up

METHODS = {
    "rollout": ("layer",),
    "attention": ("layer", "head"),
    "relevance": ("class",),
    "gradcam": ("class",),
    "occlusion": ("class",),
}
"""Each method, and what may be chosen with it."""


def methods_for(network: Network) -> tuple[str, ...]:
    """The methods that fit the network, the first being the one to take if nobody chooses."""
    if attention_layers(network):
        return tuple(METHODS)
    return ("occlusion",) if getattr(network.config, "library", None) == "hf" else ("gradcam", "occlusion")


def best_method(network: Network) -> str:
    """The method to take if nobody chooses."""
    return methods_for(network)[0]


@dataclass(frozen=True)
class Choice:
    """What a map is asked for: `classes`, one per picture (None: the network's own answers); `layer` and `head`, from
    0; `multi_label`, whether each class is a question of its own."""

    classes: tuple[int, ...] | None = None
    layer: int | None = None
    head: int | None = None
    multi_label: bool = False


def places(
    network: Network, images: Float[Tensor, "n c h w"], method: str, choice: Choice = Choice()
) -> Float[Tensor, "n y x"]:
    """What each place of the pictures is worth to a method, in its own unit, on the CPU.

    Raises:
        UsageError: an unknown method, one that does not fit the network, or a choice that the method does not have.
    """
    allowed = look_up("method", method, METHODS)
    for name in ("layer", "head"):
        if getattr(choice, name) is not None and name not in allowed:
            fitting = " or ".join(known for known, options in METHODS.items() if name in options)
            raise UsageError(f"{method} has no {name} to choose: leave it out, or take {fitting}.")
    if method not in methods_for(network):
        raise UsageError(f"{method} does not fit this network: take {' or '.join(methods_for(network))}.")
    if method == "rollout":
        return rollout(network, images, choice.layer).cpu()
    if method == "attention":
        return attention_map(network, images, choice.layer, choice.head).cpu()
    asked = answers(network, images) if choice.classes is None else list(choice.classes)
    if method == "occlusion":
        asks = [probability_of(network, number, choice.multi_label) for number in asked]
        return torch.stack([occlusion(ask, image) for ask, image in zip(asks, images, strict=True)])
    return (relevance if method == "relevance" else grad_cam)(network, images, asked).cpu()


@torch.no_grad()
def answers(network: Network, images: Float[Tensor, "n c h w"]) -> list[int]:
    """The network's likeliest class of each picture."""
    with at_rest(network):
        return [int(number) for number in network(images).argmax(dim=1)]


def probability_of(network: Network, number: int, multi_label: bool = False) -> Answer:
    """The function from pictures [n, c, h, w] to the probability of one class [n]."""

    @torch.no_grad()
    def probability(images: Tensor) -> Tensor:
        with at_rest(network):
            scores = network(images).float()
        return (scores.sigmoid() if multi_label else scores.softmax(dim=1))[:, number]

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
