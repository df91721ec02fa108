"""Attention matrices beside the normal path: hooks that are there only while somebody looks.

Fused attention never makes the matrix. While looking, each layer's matrix is computed once more from the layer's
input, handed on, and forgotten: of a large network at a high resolution all of them together would not fit.

Letters: n pictures, k heads, t tokens, D width.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from vitral.errors import UsageError
from vitral.inspection.subject import name_of
from vitral.models import Network

LARGEST_MATRIX = 2**27
"""Bytes of one layer's attention matrices that are made at once."""


def attention_layers(network: Network) -> list[nn.Module]:
    """The self-attention of every block that sees the whole picture, from the first; [] if there is none."""
    blocks: Any = getattr(network, "blocks", ())
    found = [getattr(block, "attention", None) for block in blocks]
    return [layer for layer in found if isinstance(layer, nn.Module) and hasattr(layer, "weights")]


def require_attention(network: Network) -> list[nn.Module]:
    """`attention_layers`.

    Raises:
        UsageError: the network has none.
    """
    layers = attention_layers(network)
    if not layers:
        raise UsageError(
            f"{name_of(network)} has no attention over all of the picture: look with gradcam or occlusion."
        )
    return layers


def layer_number(layer: int, depth: int) -> int:
    """A layer from 0 to `depth` - 1; negative ones count from the last.

    Raises:
        UsageError: there is no such layer.
    """
    if not -depth <= layer < depth:
        raise UsageError(f"layer must be 0 to {depth - 1} (or -1 for the last), not {layer}: there are {depth}.")
    return layer % depth


def before(module: nn.Module, see: Callable[[Any], object]) -> Any:
    """Let `see` have the module's input before each of this thread's forward passes; the handle takes it away again.

    Others may run the same network in other threads meanwhile: theirs is not shown.
    """
    looker = threading.get_ident()

    def hook(_: nn.Module, given: tuple[Any, ...]) -> None:
        if threading.get_ident() == looker:
            see(given[0])

    return module.register_forward_pre_hook(hook)


def behind(module: nn.Module, see: Callable[[Any, Any], Tensor | None]) -> Any:
    """The same with the module's input and output; a tensor that `see` returns takes the output's place."""
    looker = threading.get_ident()
    return module.register_forward_hook(lambda _, x, y: see(x[0], y) if threading.get_ident() == looker else None)


@contextmanager
def hooked(handles: Sequence[Any]) -> Iterator[None]:
    """The hooks are there for as long as the block lasts."""
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def watched(network: Network, visit: Callable[[int, Tensor], object]) -> Iterator[None]:
    """While the block lasts, `visit(l, A)` gets the attention matrix [n, k, t, t] of layer l (0 onwards) of every
    forward pass, in order: row i says where token i looks."""

    def watch(number: int, layer: Any) -> Any:
        return before(layer, lambda x: visit(number, layer.weights(x)))

    with hooked([watch(number, layer) for number, layer in enumerate(require_attention(network))]):
        yield


@contextmanager
def with_matrices(network: Network) -> Iterator[list[Tensor]]:
    """While the block lasts, attention runs through its matrices, which the list collects: [n, k, t, t] each, parts
    of the graph, so that scores can be differentiated by them. The fused result is thrown away."""
    matrices: list[Tensor] = []

    def replace(layer: Any, x: Tensor) -> Tensor:
        _, _, v = layer.project(x)
        matrix = layer.weights(x)
        if not matrix.requires_grad:
            matrix.requires_grad_()
        matrices.append(matrix)
        return layer.out((matrix @ v).transpose(1, 2).flatten(2))

    def put_into(layer: Any) -> Any:
        return behind(layer, lambda x, _: replace(layer, x))

    with hooked([put_into(layer) for layer in require_attention(network)]):
        yield matrices


def portions(network: Network, images: Tensor) -> Iterator[Tensor]:
    """The pictures, as many at once as keep one layer's matrices below `LARGEST_MATRIX`."""
    patches = images.shape[2] * images.shape[3] / network.config.stride**2
    heads = getattr(network.config, "num_heads", 1)
    yield from images.split(max(1, int(LARGEST_MATRIX / (4 * heads * (patches + 1) ** 2))))


@torch.no_grad()
def encoded(network: Network, images: Tensor) -> Tensor:
    """The network's tokens [n, t, D], without a graph."""
    return network.encode(images)
