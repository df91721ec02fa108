"""The numbers of a file under the names of a model: strictly, every one accounted for, finite, in float32."""

from __future__ import annotations

import functools
import math
import threading
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence

import torch
from torch import Tensor, nn

from vitral.errors import DataError
from vitral.weights.mapping import Entry
from vitral.weights.parallel import numbers_in, side_by_side
from vitral.weights.report import LoadReport, other_shape, require_no_differences
from vitral.weights.stored import Stored

LONGEST_ENTRY = 3
"""Tensors of a file that are kept while more than one of ours may be made of them: query, key and value."""


def read_tensors(
    stored: Stored, entries: Sequence[Entry], left_out: Collection[str], report: LoadReport
) -> dict[str, Tensor]:
    """Every tensor of the file under the model's names, float32 where it is a fraction, in memory of its own.

    Args:
        left_out: names in the file that no entry needs.
        report: gets what was renamed and reformed; its source is named in errors.

    Raises:
        DataError: tensors missing or left over; one has not the form that its entry wants, or numbers that are not
            finite.
    """
    known = {name for entry in entries for name in entry.theirs} | set(left_out)
    missing = [name for entry in entries for name in entry.theirs if name not in stored.shapes]
    extra = [name for name in stored.shapes if name not in known]
    require_no_differences(report.source, missing, extra)
    numbers = _reader(stored, entries)
    made = side_by_side(lambda entry: _made(entry, numbers, report), entries, numbers_in(stored.shapes.values()))
    for entry in entries:
        if entry.form.name:
            report.reformed[entry.form.name] = report.reformed.get(entry.form.name, 0) + 1
        if entry.theirs != (entry.ours,):
            report.renamed.append((", ".join(entry.theirs), entry.ours))
    return {entry.ours: tensor for entry, tensor in zip(entries, made, strict=True)}


def _reader(stored: Stored, entries: Sequence[Entry]) -> Callable[[str], Tensor]:
    """Reads a tensor by name; one of which several entries are made, a stack, by one thread and not for each anew."""
    counts = Counter(name for entry in entries for name in entry.theirs)
    kept, alone = functools.lru_cache(maxsize=LONGEST_ENTRY)(stored.tensor), threading.Lock()

    def numbers(name: str) -> Tensor:
        if counts[name] == 1:
            return stored.tensor(name)
        with alone:
            return kept(name)

    return numbers


def _made(entry: Entry, numbers: Callable[[str], Tensor], report: LoadReport) -> Tensor:
    """The model's tensor of one entry."""
    try:
        value = entry.form.read([numbers(name) for name in entry.theirs])
    except (RuntimeError, IndexError) as error:
        raise DataError(
            f"{report.source}: {', '.join(entry.theirs)} cannot become {entry.ours} ({error}): the file is "
            f"not of layout {report.layout}."
        ) from error
    value = (value.to(torch.float32) if value.is_floating_point() else value).contiguous()
    if not _is_finite(value):
        raise DataError(
            f"{report.source}: {', '.join(entry.theirs)} has numbers that are infinite or not a number: the "
            f"training that wrote it had failed; take an earlier checkpoint, or download it again."
        )
    return value


def _is_finite(tensor: Tensor) -> bool:
    """Whether all numbers are finite; their sum shows it in one pass, unless it overflows."""
    return not tensor.is_floating_point() or math.isfinite(tensor.sum().item()) or bool(tensor.isfinite().all())


def require_equal(
    network: nn.Module, tensors: Mapping[str, Tensor], report: LoadReport, new_head: Sequence[str] = ()
) -> None:
    """Refuse tensors that are not, name by name and shape by shape, those of the network; of those of a new head none
    is needed.

    Raises:
        DataError: they are not; both sides are listed.
    """
    wanted = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    given = {name: tuple(value.shape) for name, value in tensors.items()}
    missing = [name for name in wanted if name not in given and name not in new_head]
    extra = [name for name in given if name not in wanted]
    other = [other_shape(n, given[n], wanted[n]) for n in given if wanted.get(n, given[n]) != given[n]]
    require_no_differences(report.source, missing, extra, other)
