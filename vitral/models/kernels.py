"""The two heavy operations, dense layer and attention, each by the kernel that suits the device.

On x86 processors torch's path for a float32 dense layer writes the bias into the result, multiplies onto it, and
sweeps over the memory once more for the GELU. oneDNN, which comes with torch, does all three while the numbers are in
the cache. Everywhere else (GPU, other precisions, export, training under torch.compile) the layer is torch's.

Outside of training a picture gets the same bits whatever else is in its batch.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

Gelu = Literal["tanh", "exact"]
"""GELU by its tanh approximation, as the authors' code (flax's default), or by the error function."""

APPROXIMATE = {"tanh": "tanh", "exact": "none"}
"""torch's words for the two."""


ALIGNED_ROWS = 32
"""Queries that fill one block of torch's CPU attention."""

LEAST_ROWS = 128
"""Rows below which oneDNN takes other kernels (the one in torch 2.11 up to 83 rows of 588 numbers): no dense layer
gets fewer outside of training."""

ONEDNN = (
    torch.backends.mkldnn.is_available()
    and torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
    and hasattr(torch.ops.mkldnn, "_linear_pointwise")  # the compiler's own: its absence must only cost speed
)
"""Whether this machine's dense layers run through oneDNN."""


class Dense(nn.Linear):
    """A linear layer, with a GELU behind it if asked for."""

    def forward(self, x: Float[Tensor, "*rows in"], gelu: Gelu | None = None) -> Float[Tensor, "*rows out"]:
        return dense(x, self.weight, self.bias, gelu)


def dense(
    x: Float[Tensor, "*rows in"],
    weight: Float[Tensor, "out in"],
    bias: Float[Tensor, " out"],
    gelu: Gelu | None = None,
) -> Float[Tensor, "*rows out"]:
    """x W^T + b, then GELU if asked for."""
    onednn = _onednn_takes(x, weight)
    if onednn and torch.compiler.is_compiling():
        return _opaque(x, weight, bias, gelu or "")
    if onednn and not torch.is_grad_enabled():
        rows = x.shape[:-1].numel()
        if rows >= LEAST_ROWS:
            return _onednn(x, weight, bias, gelu)
        # Few rows take other kernels, which round differently: there are always enough.
        enough = F.pad(x.reshape(-1, x.shape[-1]), (0, 0, 0, LEAST_ROWS - rows))
        return _onednn(enough, weight, bias, gelu)[:rows].view(*x.shape[:-1], weight.shape[0])
    y: Tensor = _Dense.apply(x, weight, bias) if onednn else F.linear(x, weight, bias)  # type: ignore[no-untyped-call]
    return y if gelu is None else F.gelu(y, approximate=APPROXIMATE[gelu])


def attend(
    q: Float[Tensor, "n k t d"],
    k: Float[Tensor, "n k u d"],
    v: Float[Tensor, "n k u d"],
    bias: Float[Tensor, "#n k t u"] | None = None,
) -> Float[Tensor, "n k t d"]:
    """softmax(q k^T / sqrt(d) + bias) v in one kernel: Eq. 6 and 7."""
    rows = q.shape[2]
    if torch.compiler.is_compiling() or torch.is_grad_enabled() or q.device.type != "cpu" or rows >= ALIGNED_ROWS:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    # With fewer queries than a block the kernel's scratch memory is not aligned, and sums depend on which thread,
    # so on which place in the batch, a picture falls.
    more = (0, 0, 0, ALIGNED_ROWS - rows)
    wide = None if bias is None else F.pad(bias, more)
    return F.scaled_dot_product_attention(F.pad(q, more), k, v, attn_mask=wide)[:, :, :rows]


class _Dense(torch.autograd.Function):
    """The layer with its gradients; written with torch's operations, so that it can be differentiated again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _onednn(x, weight, bias, None)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        gradient = gradients[0].flatten(0, -2)
        x_needed, weight_needed, bias_needed = ctx.needs_input_grad
        return (
            _times(gradient, weight).view_as(x) if x_needed else None,
            gradient.t() @ x.flatten(0, -2) if weight_needed else None,
            gradient.sum(dim=0) if bias_needed else None,
        )


def _times(gradient: Tensor, weight: Tensor) -> Tensor:
    """`gradient @ weight`; by torch's product where that has to be differentiated once more."""
    return gradient @ weight if torch.is_grad_enabled() else _onednn(gradient, weight.t(), None, None)


@torch.library.custom_op("vitral::dense", mutates_args=())
def _opaque(x: Tensor, weight: Tensor, bias: Tensor, gelu: str) -> Tensor:
    """The same for the compiler, which would take oneDNN's operation apart."""
    return _onednn(x, weight, bias, gelu or None)  # type: ignore[arg-type]


@_opaque.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor, gelu: str) -> Tensor:  # noqa: ARG001
    return x.new_empty(*x.shape[:-1], weight.shape[0])


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None, gelu: Gelu | None) -> Tensor:
    name, approximate = ("none", "") if gelu is None else ("gelu", APPROXIMATE[gelu])
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, name, [], approximate)
    return y


def _onednn_takes(x: Tensor, weight: Tensor) -> bool:
    return (
        ONEDNN
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and not torch.compiler.is_exporting()  # an exported model must not depend on it
        and not (torch.compiler.is_compiling() and torch.is_grad_enabled())  # the compiler derives gradients itself
        and not torch.is_autocast_enabled("cpu")
    )
