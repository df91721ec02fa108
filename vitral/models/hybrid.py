"""The hybrids of arXiv 2010.11929 (section 3.1) and 2106.10270: a ViT whose patches are cut from a ResNet's features.

The ResNet is that of "Big Transfer" with its activations after the convolutions: group normalisation (arXiv
1803.08494) and standardised filters (arXiv 1903.10520) in place of batch normalisation. Everything behind it is
`vitral.models.vit`'s.

Letters as there, and:
    C  channels of a feature map        y, x  its rows and columns        o, i  output and input channels of a filter
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vitral.errors import UsageError
from vitral.models.bit import DEPTHS, SMALLER
from vitral.models.initial import lecun_normal
from vitral.models.vit import SIZES, VisionTransformer, ViTConfig

GROUPS = 32
"""Groups of every group normalisation."""

EXPANSION = 4
"""Channels that a residual unit puts out for one of its own."""


@dataclass(frozen=True)
class Epsilons:
    """What is added to divisors in the ResNet; the numbers are the authors', with which the weights were trained."""

    group_norm: float = 1e-6
    filter_std: float = 1e-5
    filter_variance: float = 0.0


@dataclass(frozen=True)
class HybridConfig(ViTConfig):
    """The shape of a hybrid: that of its transformer, whose patches are measured in positions of the feature map."""

    blocks: tuple[int, ...] = (3, 4, 6, 3)  # residual units of each stage; none leaves the root alone
    width_factor: int = 1  # times 64 channels behind the root
    group_norm_eps: float = Epsilons.group_norm
    filter_std_eps: float = Epsilons.filter_std  # added to a filter's standard deviation, as the authors do
    filter_variance_eps: float = Epsilons.filter_variance  # added under the root, as timm does

    def __post_init__(self) -> None:
        if any(count < 1 for count in self.blocks):
            raise UsageError(f"every stage needs at least one residual unit: blocks cannot be {self.blocks}.")
        if self.width_factor < 1:
            raise UsageError(f"width_factor must be at least 1, not {self.width_factor}.")
        for name in ("group_norm_eps", "filter_std_eps", "filter_variance_eps"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 0 and below 1, not {getattr(self, name)}.")
        super().__post_init__()

    @property
    def reduction(self) -> int:
        """Pixels, each way, for one position of the feature map: 4 behind the root, twice that behind each stage
        but the first."""
        return 4 * 2 ** max(0, len(self.blocks) - 1)

    @property
    def stride(self) -> int:
        """Pixels, each way, for one token."""
        return self.reduction * self.patch_size

    @property
    def grid_size(self) -> tuple[int, int]:
        """Rows and columns of tokens at `image_size`."""
        return grid_of(self.image_size, self)

    @property
    def epsilons(self) -> Epsilons:
        """What is added to divisors in the ResNet."""
        return Epsilons(self.group_norm_eps, self.filter_std_eps, self.filter_variance_eps)

    @property
    def feature_channels(self) -> int:
        """Channels of the feature map that patches are cut from."""
        root = 64 * self.width_factor
        return root * EXPANSION * 2 ** (len(self.blocks) - 1) if self.blocks else root


def grid_of(image_size: tuple[int, int], config: HybridConfig) -> tuple[int, int]:
    """Rows and columns of tokens; raises `UsageError` where the patches do not fill the feature map."""
    rows, columns = (math.ceil(side / config.reduction) for side in image_size)
    patch = config.patch_size
    if rows < patch or columns < patch or rows % patch or columns % patch:
        nearest = [max(1, round(side / config.stride)) * config.stride for side in image_size]
        raise UsageError(
            f"image size {image_size[0]}x{image_size[1]} makes {rows}x{columns} features, which cannot be cut into "
            f"patches of {patch}x{patch}: the nearest that can is {nearest[0]}x{nearest[1]}."
        )
    return rows // patch, columns // patch


# ResNet --------------------------------------------------------------------------------------------


class StdConv(nn.Conv2d):
    """A convolution without bias by standardised filters, padded as TensorFlow's "SAME": `ceil(side / stride)` out."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, epsilons: Epsilons = Epsilons()
    ) -> None:
        # With stride 1 the padding of an odd kernel is symmetric, and the convolution does it on its own.
        super().__init__(inputs, outputs, kernel, stride, kernel // 2 if stride == 1 else 0, bias=False)
        self.epsilons = epsilons

    def standardised(self) -> Float[Tensor, "o i a b"]:
        """The filters with mean 0 and standard deviation 1 each: Eq. 3 and 4 of arXiv 1903.10520."""
        centred = self.weight.flatten(1)
        centred = centred - centred.mean(dim=1, keepdim=True)
        std = torch.linalg.vector_norm(centred, dim=1, keepdim=True) / math.sqrt(centred.shape[1])
        if self.epsilons.filter_variance:
            std = (std.square() + self.epsilons.filter_variance).sqrt()
        return (centred / (std + self.epsilons.filter_std)).view_as(self.weight)

    def forward(self, x: Float[Tensor, "n i y x"]) -> Float[Tensor, "n o v u"]:
        kernel, stride = self.kernel_size[0], self.stride[0]
        if kernel > stride > 1:
            x = F.pad(x, (*same_padding(x.shape[3], kernel, stride), *same_padding(x.shape[2], kernel, stride)))
        return F.conv2d(x, self.standardised(), None, self.stride, self.padding)


def same_padding(side: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's "SAME" padding before and after: what is odd goes behind, so even sides are not symmetric."""
    total = max(0, (math.ceil(side / stride) - 1) * stride + kernel - side)
    return total // 2, total - total // 2


class GroupNorm(nn.GroupNorm):
    """Group normalisation with the authors' group count, and a ReLU behind it if asked for."""

    def __init__(self, channels: int, epsilons: Epsilons) -> None:
        super().__init__(GROUPS, channels, epsilons.group_norm)

    def forward(self, x: Float[Tensor, "n C y x"], relu: bool = False) -> Float[Tensor, "n C y x"]:
        y = super().forward(x)
        return F.relu(y, inplace=True) if relu else y


class Root(nn.Module):
    """7x7 convolution and 3x3 maximum, each of stride 2."""

    def __init__(self, channels: int, width: int, epsilons: Epsilons = Epsilons()) -> None:
        super().__init__()
        self.conv = StdConv(channels, width, 7, stride=2, epsilons=epsilons)
        self.norm = GroupNorm(width, epsilons)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n C y x"]:
        x = self.norm(self.conv(images), relu=True)
        # "SAME" once more, and what pads never is the maximum: one row before and behind an odd side, and behind
        # an even side the window that hangs over.
        return F.max_pool2d(x, 3, stride=2, padding=(x.shape[2] % 2, x.shape[3] % 2), ceil_mode=True)


class ResidualUnit(nn.Module):
    """Bottleneck with activations behind the convolutions: 1x1, 3x3 (of the stride), 1x1 to four times the width."""

    def __init__(self, inputs: int, width: int, stride: int, epsilons: Epsilons = Epsilons()) -> None:
        super().__init__()
        outputs = EXPANSION * width
        self.projects = inputs != outputs or stride != 1
        if self.projects:
            self.projection = StdConv(inputs, outputs, 1, stride, epsilons)
            self.projection_norm = GroupNorm(outputs, epsilons)
        self.conv1 = StdConv(inputs, width, 1, epsilons=epsilons)
        self.norm1 = GroupNorm(width, epsilons)
        self.conv2 = StdConv(width, width, 3, stride, epsilons)
        self.norm2 = GroupNorm(width, epsilons)
        self.conv3 = StdConv(width, outputs, 1, epsilons=epsilons)
        self.norm3 = GroupNorm(outputs, epsilons)

    def forward(self, x: Float[Tensor, "n i y x"]) -> Float[Tensor, "n o v u"]:
        shortcut = self.projection_norm(self.projection(x)) if self.projects else x
        y = self.norm1(self.conv1(x), relu=True)
        y = self.norm2(self.conv2(y), relu=True)
        y = self.norm3(self.conv3(y))
        return F.relu(shortcut + y, inplace=True)


class ResNet(nn.Module):
    """Root and stages; every stage but the first halves rows and columns and doubles the width."""

    def __init__(self, config: HybridConfig) -> None:
        super().__init__()
        width = 64 * config.width_factor
        self.root = Root(config.channels, width, config.epsilons)
        self.stages = nn.ModuleList()
        inputs = width
        for stage, count in enumerate(config.blocks):
            units = nn.Sequential()
            for unit in range(count):
                stride = 2 if stage and not unit else 1
                units.append(ResidualUnit(inputs, width << stage, stride, config.epsilons))
                inputs = EXPANSION * width << stage
            self.stages.append(units)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n C y x"]:
        x = self.root(images)
        for stage in self.stages:
            x = stage(x)
        return x


# The whole -----------------------------------------------------------------------------------------


class HybridTransformer(VisionTransformer):
    """`VisionTransformer` on a ResNet's features instead of pixels.

    Pictures of another size than `config.image_size` are welcome as long as their features can be cut into patches.
    """

    config: HybridConfig

    def __init__(self, config: HybridConfig) -> None:
        super().__init__(config)
        patch = config.patch_size
        # in place of the one for pixels
        self.patch_embedding = nn.Conv2d(config.feature_channels, config.width, kernel_size=patch, stride=patch)
        self.resnet = ResNet(config)
        initialise(self)

    def embed(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n t D"]:
        """Patches of the feature map to tokens with positions: Eq. 1 for the hybrid of section 3.1."""
        grid_of((images.shape[2], images.shape[3]), self.config)
        return super().embed(self.resnet(images))

    def layer_index(self, name: str) -> int:
        """0 for the ResNet and the embedding, 1 to L for the blocks, L + 1 for the rest."""
        return 0 if name.startswith("resnet.") else super().layer_index(name)


def initialise(model: HybridTransformer) -> None:
    """Give the ResNet and the embedding the authors' initial distributions.

    filters      lecun normal         last norm of a residual unit    weight 0: the unit starts as its shortcut
    embedding    lecun normal, bias 0
    """
    lecun_normal(model.patch_embedding)
    for module in model.resnet.modules():
        if isinstance(module, StdConv):
            lecun_normal(module)
        elif isinstance(module, ResidualUnit):
            nn.init.zeros_(module.norm3.weight)


# Variants ------------------------------------------------------------------------------------------

RESNETS: dict[str, dict[str, Any]] = {
    # Appendix B of arXiv 2106.10270. The root alone reduces 4 times, so the patches of R+ViT-Ti/16, 8x8, are of 32
    # pixels in truth: its published weights have 7x7 positions at 224 pixels.
    "R+ViT-Ti/16": {"blocks": (), "patch_size": 8},
    "R26+ViT-S/32": {"blocks": (2, 2, 2, 2), "patch_size": 1},
    "R26+ViT-B/32": {"blocks": (2, 2, 2, 2), "patch_size": 1},
    "R50+ViT-B/16": {"blocks": (3, 4, 9), "patch_size": 1},  # stage 4's units are in stage 3 (arXiv 2010.11929, 3.1)
    "R50+ViT-B/32": {"blocks": (3, 4, 6, 3), "patch_size": 1},  # this and L/16: Table 6 there, never published
    "R50+ViT-L/16": {"blocks": (3, 4, 9), "patch_size": 1},
    "R50+ViT-L/32": {"blocks": (3, 4, 6, 3), "patch_size": 1},
}

VARIANTS = {
    name: HybridConfig(**SIZES[name.partition("ViT-")[2].partition("/")[0]], **resnet)
    for name, resnet in RESNETS.items()
}


def named(name: str) -> HybridConfig | None:
    """The shape of "R50+ViT-B/32" and its like: any of BiT's ResNets before any ViT; `None` for other names.

    Where tokens are to stand closer than the ResNet's last positions, the units of its last stage move to the one
    before (section 3.1 of arXiv 2010.11929).
    """
    match = re.fullmatch(r"R(\d{1,3})\+ViT-(\w+)/(\d{1,3})", name)
    blocks = (DEPTHS | SMALLER).get(int(match[1])) if match else None
    if match is None or blocks is None or match[2] not in SIZES:
        return None
    stride = int(match[3])
    while len(blocks) > 1 and 4 * 2 ** (len(blocks) - 1) > stride:
        blocks = (*blocks[:-2], blocks[-2] + blocks[-1])
    patch, rest = divmod(stride, 4 * 2 ** (len(blocks) - 1))
    if rest or not patch:
        return None
    return HybridConfig(patch_size=patch, blocks=blocks, **SIZES[match[2]])
