"""Transformers' names for what its encoders share, on disk and in memory.

Since version 5 a model in memory has other names than its file (`attention.q_proj` for `attention.attention.query`),
so `torch.save(model.state_dict(), ...)` leaves files with names of the second kind. Both are read; files are written
with the first, which every version opens.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from vitral.weights.mapping import Entry, joined, same
from vitral.weights.stored import Stored

Renaming = Sequence[tuple[str, str]]
"""Regular expressions over a name on disk, and what they become in memory, applied in order."""

ATTENTION = (
    (r"\.attention\.(?:attention|self)\.query\.", ".attention.q_proj."),
    (r"\.attention\.(?:attention|self)\.key\.", ".attention.k_proj."),
    (r"\.attention\.(?:attention|self)\.value\.", ".attention.v_proj."),
    (r"\.attention\.output\.dense\.", ".attention.o_proj."),
)
MLP = ((r"\.intermediate\.dense\.", ".mlp.fc1."), (r"\.output\.dense\.", ".mlp.fc2."))
LAYERS = ((r"(^|\.)encoder\.layer\.", r"\1layers."),)


def is_in_memory(stored: Stored | None) -> bool:
    """Whether the names of a file are those of a model in memory."""
    return stored is not None and any(".attention.q_proj." in name for name in stored.shapes)


def prefix_of(stored: Stored | None, prefix: str) -> str:
    """What the names of the network without its head begin with: nothing where it was saved by itself."""
    return prefix if stored is None or any(name.startswith(prefix) for name in stored.shapes) else ""


def renamed(entries: Sequence[Entry], renaming: Renaming) -> list[Entry]:
    """Entries with names on disk, to the same with names in memory."""

    def in_memory(name: str) -> str:
        for pattern, replacement in renaming:
            name = re.sub(pattern, replacement, name)
        return name

    return [Entry(entry.ours, tuple(map(in_memory, entry.theirs)), entry.form) for entry in entries]


def block(ours: str, theirs: str) -> list[Entry]:
    """One pre-norm encoder block with dense layers that all have biases."""
    found = same(f"{ours}.norm1", f"{theirs}.layernorm_before") + same(f"{ours}.norm2", f"{theirs}.layernorm_after")
    for kind in ("weight", "bias"):
        parts = tuple(f"{theirs}.attention.attention.{part}.{kind}" for part in ("query", "key", "value"))
        found.append(Entry(f"{ours}.attention.qkv.{kind}", parts, joined(3)))
    found += same(f"{ours}.attention.out", f"{theirs}.attention.output.dense")
    return (
        found
        + same(f"{ours}.mlp.fc1", f"{theirs}.intermediate.dense")
        + same(f"{ours}.mlp.fc2", f"{theirs}.output.dense")
    )
