"""EfficientNet (arXiv 1905.11946): one small network, made wider, deeper and of larger input by the same rule.

Letters used for shapes:
    n  pictures in the batch     c  colour channels     h, w  height and width in pixels, or of a map
    C  channels of a map         K  classes

Read it top to bottom: configuration, the stages of the small network, blocks, the whole. Convolution with normalisation
is in `convolution`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vitral.errors import UsageError
from vitral.models.convolution import (
    Conventions,
    ConvNorm,
    Padding,
    channels_last,
    drop_branch,
    require_image,
)
from vitral.models.initial import he_normal
from vitral.models.network import Network


class Stage(NamedTuple):
    """Blocks of one kind; channels and layers are those of B0."""

    expansion: int  # channels within a block, as a multiple of those that enter it
    kernel_size: int
    stride: int  # of the first block
    channels: int
    layers: int


STAGES = (
    # Table 1, stages 2 to 8
    Stage(1, 3, 1, 16, 1),
    Stage(6, 3, 2, 24, 2),
    Stage(6, 5, 2, 40, 2),
    Stage(6, 3, 2, 80, 3),
    Stage(6, 5, 1, 112, 3),
    Stage(6, 5, 2, 192, 4),
    Stage(6, 3, 1, 320, 1),
)
STEM_CHANNELS, TOP_CHANNELS = 32, 1280  # Table 1, stages 1 and 9

SQUEEZE = 4
"""A squeeze has a quarter of the channels that enter the block (the authors' ratio of 0.25)."""

DIVISOR = 8
"""Numbers of channels are multiples of it."""


@dataclass(frozen=True)
class EfficientNetConfig:
    """The shape of an EfficientNet; with its weights it is all that is needed to rebuild the model."""

    width_factor: float  # of B0's channels
    depth_factor: float  # of B0's layers
    image_size: tuple[int, int] = (224, 224)  # height, width in pixels
    num_classes: int = 1000
    dropout: float = 0.2  # before the head
    stochastic_depth: float = 0.2  # block i of all L has i / L of it
    padding: Padding = "same"  # the authors'; "symmetric" is torchvision's
    norm_eps: float = 1e-3
    # The authors' 0.01 (a decay of 0.99) suits 350 epochs; torchvision and timm train to the same accuracy with 0.1.
    norm_momentum: float = 0.1
    head_bias: float = 0.0
    channels: int = 3

    def __post_init__(self) -> None:
        for name in ("num_classes", "channels"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, not {getattr(self, name)}.")
        for name in ("width_factor", "depth_factor"):
            if not 0 < getattr(self, name) <= 64:
                raise UsageError(f"{name} must be above 0 and at most 64, not {getattr(self, name):g}.")
        for name in ("dropout", "stochastic_depth"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 0 and below 1, not {getattr(self, name)}.")
        require_image(self.image_size)

    @property
    def stride(self) -> int:
        """Pixels, each way, for one position of the last map."""
        return 32

    @property
    def conventions(self) -> Conventions:
        """Padding and normalisation of every convolution."""
        return Conventions(self.padding, self.norm_eps, self.norm_momentum)

    def wide(self, channels: int) -> int:
        """Channels of B0 made wider: the nearest multiple of 8 that does not lose more than a tenth."""
        wanted = channels * self.width_factor
        nearest = max(DIVISOR, int(wanted + DIVISOR / 2) // DIVISOR * DIVISOR)
        return nearest + DIVISOR if nearest < 0.9 * wanted else nearest

    def deep(self, layers: int) -> int:
        """Layers of B0 made deeper, rounded up."""
        return math.ceil(layers * self.depth_factor)


class SqueezeExcite(nn.Module):
    """Each channel times a gate in [0, 1] that sees the averages of all of them (arXiv 1709.01507)."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.excite = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Float[Tensor, "n C h w"]) -> Float[Tensor, "n C h w"]:
        average = x.mean(dim=(2, 3), keepdim=True)
        return x * torch.sigmoid(self.excite(F.silu(self.squeeze(average))))


class InvertedBottleneck(nn.Module):
    """MBConv (arXiv 1801.04381): widen, one convolution per channel, squeeze-excite, narrow."""

    def __init__(self, channels: tuple[int, int], stage: Stage, stride: int, rate: float, like: Conventions) -> None:
        super().__init__()
        before, after = channels
        within = before * stage.expansion
        self.expand = ConvNorm((before, within), activation="silu", like=like) if within != before else nn.Identity()
        self.depthwise = ConvNorm((within, within), stage.kernel_size, stride, within, "silu", like)
        self.squeeze_excite = SqueezeExcite(within, max(1, before // SQUEEZE))
        self.project = ConvNorm((within, after), like=like)
        self.residual = stride == 1 and before == after
        self.rate = rate

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n C y x"]:
        y = self.squeeze_excite(self.depthwise(self.expand(x)))
        if not self.residual:
            return self.project(y)
        if self.training and self.rate > 0:
            return x + drop_branch(self.project(y), self.rate)
        return self.project(y, x)


class EfficientNet(Network):
    """Pictures of any size in, class scores out."""

    config: EfficientNetConfig

    def __init__(self, config: EfficientNetConfig) -> None:
        super().__init__()
        self.config = config
        like = config.conventions
        before = config.wide(STEM_CHANNELS)
        self.stem = ConvNorm((config.channels, before), 3, 2, activation="silu", like=like)
        self.stages = nn.ModuleList()
        count, total = 0, sum(config.deep(stage.layers) for stage in STAGES)
        for stage in STAGES:
            after = config.wide(stage.channels)
            blocks = nn.Sequential()
            for b in range(config.deep(stage.layers)):
                rate = config.stochastic_depth * count / total
                stride = stage.stride if b == 0 else 1
                blocks.append(InvertedBottleneck((before, after), stage, stride, rate, like))
                before, count = after, count + 1
            self.stages.append(blocks)
        top = config.wide(TOP_CHANNELS)
        self.top = ConvNorm((before, top), activation="silu", like=like)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(top, config.num_classes)
        initialise(self)

    def encode(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n C y x"]:
        """Pictures to the last map: everything before the global average."""
        x = self.stem(channels_last(images))
        for stage in self.stages:
            x = stage(x)
        return self.top(x)

    def pooled(self, encoded: Float[Tensor, "n C h w"]) -> Float[Tensor, "n C"]:
        """The average over all positions, with dropout."""
        return self.dropout(encoded.mean(dim=(2, 3)))

    @property
    def num_layers(self) -> int:
        """The stem, the stages, the top with the head: blocks are too many for a rate that falls at each."""
        return len(STAGES) + 2

    def layer_index(self, name: str) -> int:
        """0 for the stem, 1 to 7 for the stages, 8 for the top and the head."""
        if name.startswith("stages."):
            return int(name.split(".")[1]) + 1
        return 0 if name.startswith("stem.") else self.num_layers - 1


# Initial values ------------------------------------------------------------------------------------


def initialise(model: EfficientNet) -> None:
    """Give every parameter the authors' initial distribution.

    convolutions          normal of variance 2 / fan_out, counted within a group; bias 0
    normalisation         weight 1, bias 0
    head                  weight 0, bias `head_bias`
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            he_normal(module)
    nn.init.zeros_(model.head.weight)
    nn.init.constant_(model.head.bias, model.config.head_bias)


# Variants ------------------------------------------------------------------------------------------

VARIANTS = {
    # factors of width and depth, input size, dropout: the authors' code; L2 arXiv 1911.04252
    f"EfficientNet-{name}": EfficientNetConfig(width, depth, (side, side), dropout=dropout)
    for name, width, depth, side, dropout in (
        ("B0", 1.0, 1.0, 224, 0.2),
        ("B1", 1.0, 1.1, 240, 0.2),
        ("B2", 1.1, 1.2, 260, 0.3),
        ("B3", 1.2, 1.4, 300, 0.3),
        ("B4", 1.4, 1.8, 380, 0.4),
        ("B5", 1.6, 2.2, 456, 0.4),
        ("B6", 1.8, 2.6, 528, 0.5),
        ("B7", 2.0, 3.1, 600, 0.5),
        ("L2", 4.3, 5.3, 800, 0.5),
    )
}
