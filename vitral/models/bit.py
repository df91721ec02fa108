"""The ResNets of "Big Transfer" (BiT, arXiv 1912.11370): the baseline of arXiv 2010.11929.

ResNet-v2 (arXiv 1603.05027: normalisation and activation before each convolution) with group normalisation (arXiv
1803.08494) and standardised filters (arXiv 1903.10520) in place of batch normalisation.

Letters used for shapes:
    n  pictures in the batch    c     colour channels                     h, w  height and width in pixels
    C  channels of a map        y, x  rows and columns of a feature map   o, i  output and input channels of a filter
    R  channels of the last map                                           K     classes
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vitral.errors import UsageError
from vitral.models.initial import lecun_normal
from vitral.models.network import Network

GROUPS = 32
"""Groups of every group normalisation."""

GROUP_NORM_EPS = 1e-5

FILTER_VARIANCE_EPS = 1e-10
"""Added to a filter's variance, as the authors train. timm and Transformers add 1e-8, which shows in the scores where
filters are small: of deviations around 0.1 in the fifth digit, of 0.01 in the third."""

EXPANSION = 4
"""Channels that a residual unit puts out for one of its own."""


@dataclass(frozen=True)
class BiTConfig:
    """The shape of a BiT."""

    blocks: tuple[int, ...] = (3, 4, 6, 3)  # residual units of each stage
    width_factor: int = 1  # times 64 channels behind the root
    image_size: tuple[int, int] = (224, 224)  # height, width in pixels; any is taken
    num_classes: int = 1000
    head_bias: float = 0.0
    channels: int = 3
    filter_variance_eps: float = FILTER_VARIANCE_EPS

    def __post_init__(self) -> None:
        if not self.blocks or any(count < 1 for count in self.blocks):
            raise UsageError(f"a BiT needs stages of at least one residual unit: blocks cannot be {self.blocks}.")
        for name in ("width_factor", "num_classes", "channels"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, not {getattr(self, name)}.")
        if not 0 < self.filter_variance_eps < 1:
            raise UsageError(f"filter_variance_eps must be more than 0 and below 1, not {self.filter_variance_eps}.")
        if min(self.image_size) < 1:
            raise UsageError(f"an image has at least 1x1 pixels, not {self.image_size[0]}x{self.image_size[1]}.")

    @property
    def stride(self) -> int:
        """Pixels, each way, for one position of the last feature map."""
        return 4 * 2 ** (len(self.blocks) - 1)

    @property
    def feature_channels(self) -> int:
        """Channels of the last feature map."""
        return 64 * self.width_factor * EXPANSION * 2 ** (len(self.blocks) - 1)


class StdConv(nn.Conv2d):
    """A convolution without bias by standardised filters, padded by half the kernel."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, eps: float = FILTER_VARIANCE_EPS
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.eps = eps

    def standardised(self) -> Float[Tensor, "o i a b"]:
        """The filters with mean 0 and variance 1 each: a layer norm of every filter."""
        filters = self.weight.flatten(1)
        return F.layer_norm(filters, filters.shape[1:], eps=self.eps).view_as(self.weight)

    def forward(self, x: Float[Tensor, "n i y x"]) -> Float[Tensor, "n o v u"]:
        return F.conv2d(x, self.standardised(), None, self.stride, self.padding)


class NormRelu(nn.GroupNorm):
    """Group normalisation and ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__(GROUPS, channels, GROUP_NORM_EPS)

    def forward(self, x: Float[Tensor, "n C y x"]) -> Float[Tensor, "n C y x"]:
        return F.relu(super().forward(x), inplace=True)


class Root(nn.Module):
    """7x7 convolution and 3x3 maximum, each of stride 2."""

    def __init__(self, channels: int, width: int, eps: float = FILTER_VARIANCE_EPS) -> None:
        super().__init__()
        self.conv = StdConv(channels, width, 7, 2, eps)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n C y x"]:
        # Nothing activates before the maximum, so a padding of zeros, big_transfer's, is not one of -inf, which torch
        # and big_vision's later code have.
        return F.max_pool2d(F.pad(self.conv(images), (1, 1, 1, 1)), 3, stride=2)


class ResidualUnit(nn.Module):
    """Bottleneck with activations before the convolutions: 1x1, 3x3 (of the stride), 1x1 to four times the width."""

    def __init__(self, inputs: int, width: int, stride: int, eps: float = FILTER_VARIANCE_EPS) -> None:
        super().__init__()
        outputs = EXPANSION * width
        self.projects = inputs != outputs or stride != 1
        if self.projects:
            self.projection = StdConv(inputs, outputs, 1, stride, eps)
        self.norm1 = NormRelu(inputs)
        self.conv1 = StdConv(inputs, width, 1, eps=eps)
        self.norm2 = NormRelu(width)
        self.conv2 = StdConv(width, width, 3, stride, eps)
        self.norm3 = NormRelu(width)
        self.conv3 = StdConv(width, outputs, 1, eps=eps)

    def forward(self, x: Float[Tensor, "n i y x"]) -> Float[Tensor, "n o v u"]:
        y = self.norm1(x)
        shortcut = self.projection(y) if self.projects else x
        y = self.conv2(self.norm2(self.conv1(y)))
        return shortcut + self.conv3(self.norm3(y))


class BiT(Network):
    """Pictures in, class scores out: `forward` is `head(pooled(encode(images)))`. Pictures may have any size."""

    config: BiTConfig

    def __init__(self, config: BiTConfig) -> None:
        super().__init__()
        self.config = config
        width = 64 * config.width_factor
        self.root = Root(config.channels, width, config.filter_variance_eps)
        self.stages = nn.ModuleList()
        inputs = width
        for stage, count in enumerate(config.blocks):
            units = nn.Sequential()
            for unit in range(count):
                stride = 2 if stage and not unit else 1
                units.append(ResidualUnit(inputs, width << stage, stride, config.filter_variance_eps))
                inputs = EXPANSION * width << stage
            self.stages.append(units)
        self.norm = NormRelu(inputs)
        self.head = nn.Linear(inputs, config.num_classes)
        initialise(self)

    def encode(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n R y x"]:
        """The last feature map, normalised and activated."""
        x = self.root(images)
        for stage in self.stages:
            x = stage(x)
        return self.norm(x)

    def pooled(self, encoded: Float[Tensor, "n R y x"]) -> Float[Tensor, "n R"]:
        """The mean over all positions."""
        return encoded.mean(dim=(2, 3))

    @property
    def num_layers(self) -> int:
        """The root, every residual unit, and the rest."""
        return sum(self.config.blocks) + 2

    def layer_index(self, name: str) -> int:
        """0 for the root, then the residual units one by one, then the rest."""
        if name.startswith("stages."):
            stage, unit = (int(number) for number in name.split(".")[1:3])
            return 1 + sum(self.config.blocks[:stage]) + unit
        return 0 if name.startswith("root.") else self.num_layers - 1


def initialise(model: BiT) -> None:
    """Give every parameter the authors' initial distribution.

    filters    lecun normal         norms    weight 1, bias 0        head    weight 0, bias `head_bias`
    """
    for module in model.modules():
        if isinstance(module, StdConv):
            lecun_normal(module)
    nn.init.zeros_(model.head.weight)
    nn.init.constant_(model.head.bias, model.config.head_bias)


DEPTHS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3), 200: (3, 24, 36, 3)}
"""Residual units of each stage by the number of convolutions (arXiv 1603.05027)."""

SMALLER = {5: (1,), 8: (1, 1), 11: (1, 1, 1), 14: (1, 1, 1, 1), 26: (2, 2, 2, 2)}
"""Ours, for small pictures and little time, and big_vision's of 26: fewer units, then fewer stages."""

SHAPES = ((50, 1), (50, 2), (50, 3), (101, 1), (101, 3), (152, 1), (152, 2), (152, 4), (200, 3))
"""Depth and width factor of the published ones: section 3 of arXiv 1912.11370, Table 6 of arXiv 2010.11929."""

VARIANTS = {f"BiT-R{depth}x{factor}": BiTConfig(DEPTHS[depth], factor) for depth, factor in SHAPES}


def named(name: str) -> BiTConfig | None:
    """The shape of "BiT-R8x1" and its like: any depth that has a row above, at any width; `None` for other names."""
    match = re.fullmatch(r"BiT-R(\d{1,3})x([1-9])", name)
    blocks = (DEPTHS | SMALLER).get(int(match[1])) if match else None
    return BiTConfig(blocks, int(match[2])) if match and blocks else None
