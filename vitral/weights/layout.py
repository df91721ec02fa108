"""What a published layout is: whose names, which form, and what comes beside the numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from vitral.config import Preprocessing
from vitral.weights.mapping import Entry
from vitral.weights.stored import Stored


@dataclass(frozen=True)
class Described:
    """What a file and its companions say of a model.

    Attributes:
        config: of the network, a configuration of one of `vitral.models.FAMILIES`.
        preprocessing: from pixels to its input.
        classes: names in the order of the head's rows; empty where nothing names them.
        descriptions: words for names that are mere identifiers.
        multi_label: a picture can have several labels.
        left_out: tensors of the file that the model does not need, by name, each with the reason. Everything else
            in the file must be in an entry.
        notes: sentences that the report should carry.
        checksum: of the file, taken when it was written (see `vitral.weights.checksum`); it is compared before the
            numbers are used.
    """

    config: Any
    preprocessing: Preprocessing
    classes: tuple[str, ...] = ()
    descriptions: dict[str, str] = field(default_factory=dict)
    multi_label: bool = False
    left_out: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    checksum: str | None = field(default=None, compare=False)


class Layout(Protocol):
    """What a module of `vitral.weights.LAYOUTS` offers."""

    def recognises(self, stored: Stored, config: Mapping[str, Any], /) -> bool:
        """Whether a file (names and shapes) and the config.json beside it (or {}) are of this layout. Never raises."""

    def describe(self, stored: Stored, config: Mapping[str, Any], folder: Path, /) -> Described:
        """What they say. Nothing is guessed: where shapes leave a choice, it is an error that asks.

        Raises:
            DataError: it is of a kind that is not read, or does not fit together.
        """

    def entries(self, config: Any, stored: Stored | None, /) -> list[Entry]:
        """Every parameter and buffer of the network with that configuration, and where it stands.

        Args:
            stored: the file to be read, whose numbering or prefixes may vary; `None` as the layout is written.
        """

    def write(self, folder: Path, described: Described, tensors: Mapping[str, Tensor], /) -> None:
        """Write a folder that the layout's own library opens: weights, configuration, preprocessing, class names.

        Raises:
            UsageError: the layout has no place for this family or for something that the model has.
        """
