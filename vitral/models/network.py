"""What every network offers, whatever its family, so that training, weights and serving need not know families."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

from torch import Tensor, nn

LARGEST = 2**24
"""No number in a configuration that comes from a file or from words is larger."""


def is_too_large(value: Any) -> bool:
    """Whether a field of a configuration is, or holds, a whole number beyond `LARGEST`."""
    numbers = value if isinstance(value, tuple) else (value,)
    return any(type(number) is int and abs(number) > LARGEST for number in numbers)


class Configuration(Protocol):
    """The shape of a network: a frozen dataclass, validated when it is made, that rebuilds it with its weights.

    Further fields are the family's own. Their types are those that JSON keeps: numbers, truth values, words, and
    tuples of them.
    """

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the input in pixels."""

    @property
    def num_classes(self) -> int:
        """Rows of the head."""

    @property
    def stride(self) -> int:
        """Pixels of the input, each way, for one position of the deepest features: a ViT's patch size."""


class Network(nn.Module):
    """A classifier of pictures: `forward` is `classify(encode(images))`.

    Letters: n pictures in the batch, c channels, h and w height and width in pixels, R size of a picture's
    representation, K classes.

    Attributes:
        config: what it was made from.
        HEADS: names of the layers that give class scores: they start at zero, and are replaced for other classes.
        COMPUTES: building it computes numbers that are in no file, so that one on the device "meta" cannot be filled.
    """

    config: Any
    HEADS: ClassVar[tuple[str, ...]] = ("head",)
    COMPUTES: ClassVar[bool] = False

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """Pictures [n, c, h, w] to features [n, ...]: tokens, or a map of channels. Nearly all the work."""

    @abstractmethod
    def pooled(self, encoded: Tensor) -> Tensor:
        """Features [n, ...] to one vector per picture [n, R]: what the head sees."""

    def classify(self, encoded: Tensor) -> Tensor:
        """Features [n, ...] to class scores [n, K]."""
        return self.get_submodule(self.HEADS[0])(self.pooled(encoded))

    def both_scores(self, encoded: Tensor) -> tuple[Tensor, Tensor]:
        """Scores that learn from labels and scores that learn from a teacher, each [n, K].

        They are the same but where a network has a head for each.
        """
        scores = self.classify(encoded)
        return scores, scores

    def features(self, images: Tensor) -> Tensor:
        """Pictures [n, c, h, w] to their representations [n, R], for probes and nearest neighbours."""
        return self.pooled(self.encode(images))

    def forward(self, images: Tensor) -> Tensor:
        """Pictures [n, c, h, w] to class scores [n, K]."""
        return self.classify(self.encode(images))

    def in_heads(self, name: str) -> bool:
        """Whether a parameter or buffer of that name belongs to a layer that gives class scores."""
        return name.startswith(tuple(f"{head}." for head in self.HEADS))

    # For layer-wise decay of the learning rate -----------------------------------------------------

    @property
    @abstractmethod
    def num_layers(self) -> int:
        """Layers that `layer_index` counts, the embedding or stem (0) and the head (the last) included."""

    @abstractmethod
    def layer_index(self, name: str) -> int:
        """The layer that parameter `name` belongs to, in [0, num_layers)."""

    # For weights of another input size --------------------------------------------------------------

    @staticmethod
    def resized(tensors: Mapping[str, Tensor], old: Any, new: Any) -> dict[str, Tensor]:  # noqa: ARG004
        """Those tensors that depend on the input size, brought from configuration `old` to `new`.

        Raises:
            DataError: a tensor does not fit `old`.
        """
        return {}


EMBEDDING = ("patch_embedding.", "class_token", "distillation_token", "registers", "position_embedding")
"""Beginnings of the names of what makes tokens of a picture."""


def layer_of(name: str, depth: int) -> int:
    """Layer of a parameter for layer-wise decay: 0 the embedding, 1 to L the blocks, L + 1 the rest."""
    if name.startswith("blocks."):
        return int(name.split(".")[1]) + 1
    return 0 if name.startswith(EMBEDDING) else depth + 1
