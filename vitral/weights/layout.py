"""What a published layout is: whose names, which form, and what comes beside the numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from vitral.config import Preprocessing
from vitral.errors import DataError
from vitral.models import FAMILIES, family_of
from vitral.models.adapter import AdapterConfig, settings_of
from vitral.weights.mapping import Entry
from vitral.weights.stored import Stored

DEPTH = re.compile(r"depth|layers|blocks")
"""In the names of other libraries' settings that say how many blocks there are."""

QUICKLY_BUILT = 1024
"""Blocks that are built in a second or two: where so few do not fit the file, the account of its tensors tells more."""


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
        headless: the file ends before a head. `config.num_classes` means nothing then: entries of the head are not
            looked for, and a zero head takes its place.
        pretraining: how it was pre-trained without labels, as `vitral.overrides.to_json` writes it; only vitral's own
            folders say that.
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
    headless: bool = False
    pretraining: Mapping[str, Any] | None = None
    checksum: str | None = field(default=None, compare=False)


def without_head(entries: Sequence[Entry], config: Any) -> list[Entry]:
    """Those entries that are not of a head of the network with this configuration."""
    heads = FAMILIES[family_of(config)].network.HEADS
    return [entry for entry in entries if entry.ours.rpartition(".")[0] not in heads]


def require_not_deeper(config: Any, stored: Stored) -> None:
    """Refuse a configuration with more blocks than the file has tensors, before minutes are spent on building it:
    every block has a tensor of its own at least.

    Raises:
        DataError: it has.
    """
    counts: dict[str, Any] = {name: getattr(config, name, 0) for name in ("depth", "depths", "blocks")}
    if isinstance(config, AdapterConfig):
        counts |= {name: value for name, value in settings_of(config).items() if DEPTH.search(name)}
    require_counts(counts, stored)


def require_counts(counts: Mapping[str, Any], stored: Stored) -> None:
    """Likewise of numbers of blocks: of one number, a tuple of each stage's, or a list in which are others too."""
    for name, value in counts.items():
        blocks = sum(value) if isinstance(value, tuple) else max(_numbers(value), default=0)
        if blocks > max(len(stored.shapes), QUICKLY_BUILT):
            raise DataError(
                f"{name} makes {blocks:,.0f} blocks, but the file has only {len(stored.shapes):,} tensors: they are "
                f"not of one model."
            )


def _numbers(value: Any) -> list[float]:
    if isinstance(value, list | tuple):
        return [number for one in value for number in _numbers(one)]
    return [value] if type(value) in (int, float) else []


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
