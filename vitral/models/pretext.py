"""What networks offer that learn without labels, so that training and the artefact need not know which they are."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from vitral.errors import DataError
from vitral.models.network import layer_of

ASIDE = "pretraining."
"""Beginning of the names, in a model folder, of tensors that only pre-training needs."""


class PretextNetwork(nn.Module):
    """An encoder that a classifier can start from, and what is only there to teach it: no class scores.

    Attributes:
        config: of the encoder, a configuration of one of `vitral.models.FAMILIES`; `num_classes` means nothing.
    """

    config: Any

    @abstractmethod
    def shared(self, name: str) -> str | None:
        """What the classifier calls the tensor of that name; `None` where it has no such tensor."""

    def in_heads(self, name: str) -> bool:  # noqa: ARG002
        """Whether a parameter gives class scores: none does."""
        return False

    @property
    def num_layers(self) -> int:
        """The embedding, the encoder's blocks, and the rest, for layer-wise decay of the learning rate."""
        return int(self.config.depth) + 2

    def layer_index(self, name: str) -> int:
        """0 for the embedding, 1 to L for the encoder's blocks, L + 1 for the rest."""
        return layer_of(self.shared(name) or name, self.config.depth)

    def encoder_tensors(self) -> dict[str, Tensor]:
        """The tensors that a classifier of the same shape shares, by its names: all but its head."""
        named = ((self.shared(name), value) for name, value in self.state_dict().items())
        return {name: value for name, value in named if name is not None}

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor as a model folder names it: the encoder's as a classifier would, the others' set aside."""
        rest = {ASIDE + name: value for name, value in self.state_dict().items() if self.shared(name) is None}
        return self.encoder_tensors() | rest

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up what `tensors` gave.

        Raises:
            DataError: a tensor is missing, left over or of another shape.
        """
        names = {name: self.shared(name) or ASIDE + name for name in self.state_dict()}
        if set(names.values()) != set(tensors):
            differing = sorted(set(names.values()) ^ set(tensors))
            raise DataError(
                f"the tensors are not those of its configuration ({', '.join(differing[:3])}): train it again."
            )
        try:
            self.load_state_dict({name: tensors[theirs] for name, theirs in names.items()})
        except RuntimeError as error:
            raise DataError(f"the tensors do not fit its configuration ({error}): train it again.") from error
