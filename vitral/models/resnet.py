"""The residual networks of "Deep Residual Learning for Image Recognition" (arXiv 1512.03385), version 1.5.

Letters used for shapes:
    n  pictures in the batch     c  colour channels     h, w  height and width in pixels, or of a map
    C  channels of a map         K  classes

Version 1.5 halves a map in the 3x3 convolution of a bottleneck, where the paper does it in the 1x1 before it
(arXiv 1706.02677, section 5.1); the published weights of torchvision and timm are of this form. Read it top to bottom:
configuration, blocks, the whole. Convolution with normalisation is in `convolution`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vitral.errors import UsageError
from vitral.models.convolution import Conventions, ConvNorm, channels_last, require_image
from vitral.models.initial import he_normal
from vitral.models.network import Network

BlockKind = Literal["basic", "bottleneck"]

EXPANSION: dict[str, int] = {"basic": 1, "bottleneck": 4}
"""Channels that leave a block, as a multiple of those of its 3x3 convolutions."""


@dataclass(frozen=True)
class ResNetConfig:
    """The shape of a residual network; with its weights it is all that is needed to rebuild the model."""

    blocks: tuple[int, int, int, int]  # of each stage, Table 1
    block: BlockKind = "bottleneck"  # Figure 5, left or right
    width: int = 64  # channels of the stem and of the first stage's 3x3 convolutions; each stage doubles it
    image_size: tuple[int, int] = (224, 224)  # height, width in pixels
    num_classes: int = 1000
    head_bias: float = 0.0
    channels: int = 3
    norm_eps: float = 1e-5
    norm_momentum: float = 0.1

    def __post_init__(self) -> None:
        for name in ("width", "num_classes", "channels"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, not {getattr(self, name)}.")
        if min(self.blocks) < 1:
            raise UsageError(f"each stage needs at least 1 block, not {self.blocks}.")
        require_image(self.image_size)

    @property
    def stride(self) -> int:
        """Pixels, each way, for one position of the last map."""
        return 32

    @property
    def stage_widths(self) -> tuple[int, ...]:
        """Channels that leave each stage."""
        return tuple(self.width * 2**s * EXPANSION[self.block] for s in range(len(self.blocks)))

    @property
    def conventions(self) -> Conventions:
        """Padding and normalisation of every convolution."""
        return Conventions("symmetric", self.norm_eps, self.norm_momentum)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: Figure 5, left."""

    def __init__(self, channels: tuple[int, int], width: int, stride: int, like: Conventions) -> None:
        super().__init__()
        self.first = ConvNorm((channels[0], width), 3, stride, activation="relu", like=like)
        self.second = ConvNorm((width, channels[1]), 3, activation="relu", like=like)
        self.shortcut = shortcut_of(channels, stride, like)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n C y x"]:
        return self.second(self.first(x), self.shortcut(x))


class Bottleneck(nn.Module):
    """1x1 that reduces the channels, 3x3, 1x1 that restores them, and a shortcut: Figure 5, right."""

    def __init__(self, channels: tuple[int, int], width: int, stride: int, like: Conventions) -> None:
        super().__init__()
        self.reduce = ConvNorm((channels[0], width), activation="relu", like=like)
        self.spatial = ConvNorm((width, width), 3, stride, activation="relu", like=like)
        self.restore = ConvNorm((width, channels[1]), activation="relu", like=like)
        self.shortcut = shortcut_of(channels, stride, like)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n C y x"]:
        return self.restore(self.spatial(self.reduce(x)), self.shortcut(x))


def shortcut_of(channels: tuple[int, int], stride: int, like: Conventions) -> nn.Module:
    """The input itself, or where the shape changes its projection: W_s of Eq. 2, option B of section 4.1."""
    if stride == 1 and channels[0] == channels[1]:
        return nn.Identity()
    return ConvNorm(channels, 1, stride, like=like)


class ResNet(Network):
    """Pictures of any size in, class scores out."""

    config: ResNetConfig

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__()
        self.config = config
        kind = BasicBlock if config.block == "basic" else Bottleneck
        self.stem = ConvNorm((config.channels, config.width), 7, 2, activation="relu", like=config.conventions)
        self.stages = nn.ModuleList()
        before = config.width
        for s, after in enumerate(config.stage_widths):
            stage = nn.Sequential()
            for b in range(config.blocks[s]):
                stride = 2 if s > 0 and b == 0 else 1
                stage.append(kind((before, after), config.width * 2**s, stride, config.conventions))
                before = after
            self.stages.append(stage)
        self.head = nn.Linear(before, config.num_classes)
        initialise(self)

    def encode(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n C y x"]:
        """Pictures to the last map: everything before the global average."""
        # For a single picture the kernels weigh more than the maps, and their order is the given one.
        x = images if images.shape[0] == 1 else channels_last(images)
        x = F.max_pool2d(self.stem(x), kernel_size=3, stride=2, padding=1)
        for stage in self.stages:
            x = stage(x)
        return x

    def pooled(self, encoded: Float[Tensor, "n C h w"]) -> Float[Tensor, "n C"]:
        """The average over all positions."""
        return encoded.mean(dim=(2, 3))

    @property
    def num_layers(self) -> int:
        """The stem, the stages, the head: blocks are too many for a rate that falls from one to the next."""
        return len(self.config.blocks) + 2

    def layer_index(self, name: str) -> int:
        """0 for the stem, 1 to 4 for the stages, 5 for the head."""
        if name.startswith("stages."):
            return int(name.split(".")[1]) + 1
        return 0 if name.startswith("stem.") else self.num_layers - 1


# Initial values ------------------------------------------------------------------------------------


def initialise(model: ResNet) -> None:
    """Give every parameter its usual initial distribution: `initialise_residual`; head weight 0, bias `head_bias`."""
    initialise_residual(model)
    nn.init.zeros_(model.head.weight)
    nn.init.constant_(model.head.bias, model.config.head_bias)


def initialise_residual(network: nn.Module) -> None:
    """Give all convolutions and residual blocks of a network their usual initial distributions.

    convolutions          normal of variance 2 / fan_out (arXiv 1502.01852)
    normalisation         weight 1, bias 0; the last of each branch weight 0 (arXiv 1706.02677, section 5.1)
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            he_normal(module)
        elif isinstance(module, BasicBlock):
            nn.init.zeros_(module.second.norm.weight)
        elif isinstance(module, Bottleneck):
            nn.init.zeros_(module.restore.norm.weight)


# Variants ------------------------------------------------------------------------------------------

VARIANTS = {
    # Table 1 of the paper
    "ResNet-18": ResNetConfig((2, 2, 2, 2), "basic"),
    "ResNet-34": ResNetConfig((3, 4, 6, 3), "basic"),
    "ResNet-50": ResNetConfig((3, 4, 6, 3)),
    "ResNet-101": ResNetConfig((3, 4, 23, 3)),
    "ResNet-152": ResNetConfig((3, 8, 36, 3)),
}
