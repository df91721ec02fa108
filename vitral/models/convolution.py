"""Convolution, batch normalisation and activation as one unit: what convolutional networks are built of.

Letters used for shapes: n pictures, i and o channels in and out, h and w height and width, y and x those after it.

Outside of training on a CPU the normalisation is folded into the kernel, and oneDNN, which comes with torch, adds the
shortcut and computes the activation while the numbers are in the cache. Elsewhere the unit is torch's own layers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vitral.errors import UsageError

Padding = Literal["symmetric", "same"]
"""Zeros around a map: as many on both sides, or TensorFlow's SAME, which puts an odd one at the bottom and right."""

Activation = Literal["none", "relu", "silu"]

ACTIVATE: dict[str, Callable[[Tensor], Tensor]] = {"none": lambda x: x, "relu": F.relu_, "silu": F.silu}
"""The ReLU in place: the gradients of addition and normalisation do not need their own results."""

ONEDNN_NAMES = {"none": "none", "relu": "relu", "silu": "swish"}

ONEDNN = (
    torch.backends.mkldnn.is_available()
    and torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
    and hasattr(torch.ops.mkldnn, "_convolution_pointwise")  # the compiler's own: its absence must only cost speed
)
"""Whether this machine's convolutions run through oneDNN."""


@dataclass(frozen=True)
class Conventions:
    """What published weights differ in: padding, and the batch normalisation's epsilon and momentum."""

    padding: Padding = "symmetric"
    norm_eps: float = 1e-5
    norm_momentum: float = 0.1  # share of the new batch in the running statistics


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation (arXiv 1502.03167) that takes a batch with one value per channel too.

    One value has no variance. Such a batch, one picture at one position (the rest of a split batch, say), is normalised
    by the running statistics, as outside of training, and leaves them alone.
    """

    def forward(self, x: Float[Tensor, "n i h w"]) -> Float[Tensor, "n i h w"]:
        if self.training and x.shape[0] * x.shape[2] * x.shape[3] == 1:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)


class ConvNorm(nn.Module):
    """Convolution without bias, batch normalisation, and an activation, before which a shortcut may be added."""

    def __init__(
        self,
        channels: tuple[int, int],
        kernel_size: int = 1,
        stride: int = 1,
        groups: int = 1,
        activation: Activation = "none",
        like: Conventions = Conventions(),
    ) -> None:
        super().__init__()
        # Of odd kernels at stride 1 the two paddings are the same.
        self.same = like.padding == "same" and stride > 1
        padding = 0 if self.same else kernel_size // 2
        self.conv = nn.Conv2d(*channels, kernel_size, stride, padding, groups=groups, bias=False)
        self.norm = BatchNorm(channels[1], like.norm_eps, like.norm_momentum)
        self.activation: Activation = activation

    def forward(
        self, x: Float[Tensor, "n i h w"], shortcut: Float[Tensor, "n o y x"] | None = None
    ) -> Float[Tensor, "n o y x"]:
        if self.same:
            x = pad_same(x, self.conv.kernel_size[0], self.conv.stride[0])
        if self._folds(x, shortcut):
            return self._folded(x, shortcut)
        y = self.norm(self.conv(x))
        y = y if shortcut is None else y + shortcut
        return ACTIVATE[self.activation](y)

    def _folds(self, x: Tensor, shortcut: Tensor | None) -> bool:
        """Whether oneDNN takes it, and the map is large enough that folding the kernel costs less than it saves."""
        weight, stride = self.conv.weight, self.conv.stride[0]
        return (
            ONEDNN
            and not (self.training or torch.is_grad_enabled())
            and not (torch.compiler.is_compiling() or torch.compiler.is_exporting())
            and x.device.type == "cpu"
            and x.dtype == weight.dtype == torch.float32
            and not torch.is_autocast_enabled("cpu")
            and (shortcut is None or self.activation != "silu")  # of a sum it takes no SiLU
            and x.numel() // x.shape[1] // stride**2 > weight[0].numel()
        )

    def _folded(self, x: Tensor, shortcut: Tensor | None) -> Tensor:
        conv, norm = self.conv, self.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        kernel = conv.weight * scale[:, None, None, None]
        bias = torch.addcmul(norm.bias, norm.running_mean, scale, value=-1)
        geometry = (conv.padding, conv.stride, conv.dilation, conv.groups)
        name = ONEDNN_NAMES[self.activation]
        y: Tensor
        if shortcut is None:
            y = torch.ops.mkldnn._convolution_pointwise(x, kernel, bias, *geometry, name, [], "")
        else:
            y = torch.ops.mkldnn._convolution_pointwise.binary(
                x, shortcut, kernel, bias, *geometry, "add", 1.0, None if name == "none" else name, [], ""
            )
        return y


def pad_same(x: Float[Tensor, "n i h w"], kernel_size: int, stride: int) -> Float[Tensor, "n i y x"]:
    """Zeros around a map such that ceil(size / stride) positions come out, an odd one at the bottom and right."""
    sides = []
    for size in (x.shape[3], x.shape[2]):
        total = max((-(-size // stride) - 1) * stride + kernel_size - size, 0)
        sides += [total // 2, total - total // 2]
    return F.pad(x, sides)


def channels_last(images: Tensor) -> Tensor:
    """The same numbers, those of one position side by side: the order in which convolutions are fastest."""
    if torch.compiler.is_exporting() or images.device.type == "mps":
        return images
    return images.contiguous(memory_format=torch.channels_last)


def drop_branch(x: Float[Tensor, "n i h w"], rate: float) -> Float[Tensor, "n i h w"]:
    """Stochastic depth in training: drop a whole picture's branch with probability `rate`, rescale those that stay."""
    return x * x.new_empty(x.shape[0], 1, 1, 1).bernoulli_(1 - rate) / (1 - rate)


def require_image(image_size: tuple[int, int]) -> None:
    """Raise `UsageError` for a size that is not at least one pixel each way."""
    if min(image_size) < 1:
        raise UsageError(f"image size must be at least 1x1, not {image_size[0]}x{image_size[1]}.")
