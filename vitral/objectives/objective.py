"""What an objective offers, so that the session need not know which it is.

Letters: n pictures, c channels, h and w pixels, N patches, u numbers for each patch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from vitral.config import Preprocessing, PretrainingConfig
from vitral.models.pretext import PretextNetwork


class Learned(NamedTuple):
    """Loss of each picture [n], and the share of its hidden patches that were told rightly [n]: `None` where the
    objective has no right and wrong."""

    loss: Tensor
    right: Tensor | None


class Objective(Protocol):
    """How a network learns from pictures alone.

    Attributes:
        FAMILY: key in `vitral.models.FAMILIES` of the encoders that it takes.
        NUMBERS: random numbers that it wants for each patch, u.
        CLASSES: `num_classes` of the encoder while it learns.
        ACCURACY: name of what `Learned.right` is a mean of; empty where there is none.
        HIDDEN: what is done to the patches, in a word.
        UNIT: of the loss, for an axis.
        config: of the run.
    """

    FAMILY: str
    NUMBERS: int
    CLASSES: int
    ACCURACY: str
    HIDDEN: str
    UNIT: str
    config: PretrainingConfig

    def __init__(self, config: PretrainingConfig) -> None: ...

    def network(self, encoder: Any) -> PretextNetwork:
        """The network, freshly initialised, around an encoder of configuration `encoder`.

        Raises:
            UsageError: the encoder is of another kind, or has what pre-training has no use for.
        """

    def aims(self, pixels: Tensor, patch_size: int) -> Tensor:
        """What is to be told, where pixels [n, h, w, 3] uint8 say it best: [n, ...]; else [n, 0]."""

    def learn(self, forward: Callable[..., Any], images: Tensor, aims: Tensor, numbers: Tensor) -> Learned:
        """Loss of normalised pictures [n, c, h, w].

        Args:
            forward: the network, perhaps compiled.
            numbers: uniform in [0, 1): [n, u, N].
        """

    def pictures(
        self, network: Any, images: Tensor, aims: Tensor, numbers: Tensor, preprocessing: Preprocessing
    ) -> tuple[Tensor, Tensor]:
        """What the network was shown of pictures, and what it made of it: normalised, [n, c, h, w] each."""
