"""What is looked at: a model with its preprocessing and class names, and pictures as its network sees them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from vitral.config import Preprocessing
from vitral.data.preprocessing import normalise
from vitral.datasets.dataset import Source
from vitral.errors import UsageError
from vitral.models import Network
from vitral.registry import look_up


class Subject(Protocol):
    """The parts of `vitral.load`'s model that inspection needs."""

    network: Network
    preprocessing: Preprocessing
    classes: tuple[str, ...]
    descriptions: dict[str, str]
    multi_label: bool

    def pixels(self, source: Source) -> np.ndarray:
        """A picture before normalisation: [height, width, 3] uint8."""
        ...


def seen(model: Subject, sources: Source | Sequence[Source]) -> np.ndarray:
    """One or several pictures as the network sees them, before normalisation: [n, height, width, 3] uint8.

    Raises:
        UnreadableImageError: one cannot be decoded. UsageError: there is none.
    """
    several = isinstance(sources, (list, tuple)) or (isinstance(sources, np.ndarray) and sources.ndim == 4)
    pixels = [model.pixels(source) for source in (sources if several else [sources])]
    if not pixels:
        raise UsageError("there is no picture to look at: give at least one.")
    return np.stack(pixels)


def network_input(model: Subject, pixels: np.ndarray) -> Tensor:
    """Pixels [n, height, width, 3] uint8 as the network's input [n, 3, height, width], on its device."""
    device = next(model.network.parameters()).device
    images = torch.from_numpy(np.ascontiguousarray(pixels)).to(device)
    return normalise(images, model.preprocessing.mean, model.preprocessing.std)


def class_index(classes: Sequence[str], label: str) -> int:
    """The number of a class.

    Raises:
        UsageError: the model has no such class; the nearest names are given.
    """
    numbers: Mapping[str, int] = {name: k for k, name in enumerate(classes)}
    return look_up("class", label, numbers)


@contextmanager
def at_rest(network: nn.Module) -> Iterator[None]:
    """The network in evaluation mode for as long as the block lasts."""
    before = network.training
    if before:  # else it is left alone: others may be using it
        network.eval()
    try:
        yield
    finally:
        if before:
            network.train()


def name_of(network: Network) -> str:
    """What a network is called in messages: "VisionTransformer"."""
    config: Any = network.config
    return f"{config.library}:{config.name}" if hasattr(config, "library") else type(network).__name__
