"""How flax keeps the kernels of attention and the scales of groups, both ways."""

from __future__ import annotations

import torch

from vitral.weights.mapping import SAME, Entry, Form

FLAT = Form("flattened", lambda parts: parts[0].flatten(), lambda value: [value])
"""Scale or bias of groups, [C], once kept as [1, 1, 1, C]."""

FLAT4 = Form("flattened", lambda parts: parts[0].flatten(), lambda value: [value[None, None, None]])
"""The same, kept as [1, 1, 1, C] to this day."""


def kernel(ours: str, theirs: str, form: Form) -> list[Entry]:
    """Entries of a dense layer or a convolution, its kernel in that form."""
    return [Entry(f"{ours}.weight", (f"{theirs}/kernel",), form), Entry(f"{ours}.bias", (f"{theirs}/bias",))]


def norm(ours: str, theirs: str, form: Form = SAME) -> list[Entry]:
    """Entries of a normalisation."""
    return [Entry(f"{ours}.weight", (f"{theirs}/scale",), form), Entry(f"{ours}.bias", (f"{theirs}/bias",), form)]


def heads_in(parts: int, num_heads: int) -> Form:
    """Kernels of query, key and value, [D, heads, D / heads] each, and the rows of all of them."""
    return Form(
        f"joined of {parts}",
        lambda given: torch.cat([kernel.flatten(1).t() for kernel in given]),
        lambda value: [matrix.t().unflatten(1, (num_heads, -1)) for matrix in value.chunk(parts)],
    )


def heads_bias(parts: int, num_heads: int) -> Form:
    """Biases of query, key and value, [heads, D / heads] each, one after the other."""
    return Form(
        f"joined of {parts}",
        lambda given: torch.cat([bias.flatten() for bias in given]),
        lambda value: [bias.unflatten(0, (num_heads, -1)) for bias in value.chunk(parts)],
    )


def heads_out(num_heads: int) -> Form:
    """The kernel behind attention, [heads, D / heads, D], and [D, D]."""
    return Form(
        "transposed",
        lambda parts: parts[0].flatten(0, 1).t(),
        lambda value: [value.t().unflatten(0, (num_heads, -1))],
    )


def layer_of(entry: Entry, layer: int) -> Entry:
    """The entry where all blocks are stacked along a first axis, as under flax's `scan`. Read only."""
    form = entry.form
    return Entry(
        entry.ours,
        entry.theirs,
        # a copy: a parameter must not keep the whole stack alive
        Form(form.name or "unstacked", lambda parts: form.read([part[layer] for part in parts]).clone(), form.write),
    )
