"""Names and forms of tensors, both ways: how one of ours is made from those of a file, and how they are made of it.

A layout is a list of `Entry`. Each form only moves numbers (renames, transposes, joins, reshapes), so what was
read and is written back is bit for bit the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Form:
    """A reversible change of form.

    Attributes:
        name: what it does, in one word of a report: "transposed", "joined".
        read: tensors of the file, in the order of `Entry.theirs`, to the model's.
        write: the model's to the file's; its inverse.
    """

    name: str
    read: Callable[[Sequence[Tensor]], Tensor]
    write: Callable[[Tensor], list[Tensor]]


SAME = Form("", lambda parts: parts[0], lambda value: [value])
"""The same numbers in the same places."""

TRANSPOSED = Form("transposed", lambda parts: parts[0].t(), lambda value: [value.t()])
"""A dense kernel [in, out], as flax keeps it, and [out, in]."""

HWIO = Form("transposed", lambda parts: parts[0].permute(3, 2, 0, 1), lambda value: [value.permute(2, 3, 1, 0)])
"""A convolution kernel [height, width, in, out], as TensorFlow and flax keep it, and [out, in, height, width]."""

CONVOLUTION = Form("flattened", lambda parts: parts[0].flatten(1), lambda value: [value[:, :, None, None]])
"""A matrix [out, in] that is kept as a 1x1 convolution: the head of networks that are convolutional to the end."""

STATISTICS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
"""The tensors of a batch normalisation, as torch names them."""


def joined(parts: int) -> Form:
    """Several matrices or vectors of the file, stacked along the rows: query, key and value."""
    return Form(f"joined of {parts}", lambda given: torch.cat(list(given)), lambda value: list(value.chunk(parts)))


@dataclass(frozen=True)
class Entry:
    """One tensor of the model, and the tensors of the file that make it."""

    ours: str
    theirs: tuple[str, ...]
    form: Form = SAME


def same(ours: str, theirs: str, *kinds: str) -> list[Entry]:
    """Entries of the same form for "`ours`.kind" and "`theirs`.kind"; weight and bias where no kind is named."""
    return [Entry(f"{ours}.{kind}", (f"{theirs}.{kind}",)) for kind in kinds or ("weight", "bias")]


def written(entries: Iterable[Entry], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The file's tensors by name, contiguous, made from the model's.

    Raises:
        KeyError: an entry's tensor is not among `tensors`.
    """
    made: dict[str, Tensor] = {}
    for entry in entries:
        parts = entry.form.write(tensors[entry.ours])
        made |= {name: part.contiguous() for name, part in zip(entry.theirs, parts, strict=True)}
    return made
