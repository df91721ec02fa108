"""Compact hybrids: a few encoder blocks behind a small residual network, for training on little data.

The hybrid of arXiv 2010.11929, section 3.1, in small: the tokens are the positions of a feature map, "patches" of 1x1.
The feature map is that of the small residual networks of arXiv 1512.03385, section 4.2: a 3x3 convolution, then stages
of basic blocks, each of which halves the map. So small, early convolutions are also what arXiv 2106.14881 puts in the
place of the patches of pixels, since a Vision Transformer then learns faster and from less. Everything behind them is
`vitral.models.vit`'s, with the mean of the tokens in place of a class token.

Letters as there, and:
    C  channels of a feature map        y, x  its rows and columns
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from vitral.errors import UsageError
from vitral.models.convolution import Conventions, ConvNorm, channels_last
from vitral.models.initial import he_normal, lecun_normal
from vitral.models.resnet import BasicBlock
from vitral.models.vit import VisionTransformer, ViTConfig


@dataclass(frozen=True)
class CompactConfig(ViTConfig):
    """The shape of a compact hybrid: that of its transformer, whose patches are measured in positions of the map."""

    pool: Literal["token", "gap", "map"] = "gap"
    stem: int = 32  # channels of the first convolution
    stem_stride: int = 1  # 1 keeps every pixel, for small pictures; 2 halves rows and columns
    stages: tuple[int, ...] = (64, 128, 256)  # channels of each stage; each halves rows and columns
    units: int = 1  # residual blocks of each stage
    norm_eps: float = 1e-5
    norm_momentum: float = 0.1

    def __post_init__(self) -> None:
        for name, least in (("stem", self.stem), ("units", self.units), ("stages", min(self.stages, default=0))):
            if least < 1:
                raise UsageError(f"{name} must be at least 1, not {getattr(self, name)}.")
        if self.stem_stride not in (1, 2):
            raise UsageError(f"stem_stride must be 1 or 2, not {self.stem_stride}.")
        super().__post_init__()

    @property
    def reduction(self) -> int:
        """Pixels, each way, for one position of the feature map."""
        return int(self.stem_stride * 2 ** len(self.stages))

    @property
    def stride(self) -> int:
        """Pixels, each way, for one token."""
        return self.reduction * self.patch_size

    @property
    def grid_size(self) -> tuple[int, int]:
        """Rows and columns of tokens at `image_size`."""
        return grid_of(self.image_size, self)

    @property
    def conventions(self) -> Conventions:
        """Padding and normalisation of every convolution."""
        return Conventions("symmetric", self.norm_eps, self.norm_momentum)


def grid_of(image_size: tuple[int, int], config: CompactConfig) -> tuple[int, int]:
    """Rows and columns of tokens; raises `UsageError` where the patches do not fill the feature map."""
    rows, columns = (math.ceil(side / config.reduction) for side in image_size)
    patch = config.patch_size
    if min(image_size) < 1 or rows % patch or columns % patch:
        nearest = [max(1, round(side / config.stride)) * config.stride for side in image_size]
        raise UsageError(
            f"image size {image_size[0]}x{image_size[1]} makes {rows}x{columns} features, which cannot be cut into "
            f"patches of {patch}x{patch}: the nearest that can is {nearest[0]}x{nearest[1]}."
        )
    return rows // patch, columns // patch


class Features(nn.Module):
    """A 3x3 convolution and stages of basic blocks; each stage begins by halving rows and columns."""

    def __init__(self, config: CompactConfig) -> None:
        super().__init__()
        like = config.conventions
        self.stem = ConvNorm((config.channels, config.stem), 3, config.stem_stride, activation="relu", like=like)
        self.stages = nn.ModuleList()
        before = config.stem
        for width in config.stages:
            stage = nn.Sequential()
            for unit in range(config.units):
                stage.append(BasicBlock((before, width), width, 1 if unit else 2, like))
                before = width
            self.stages.append(stage)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n C y x"]:
        x = self.stem(channels_last(images))
        for stage in self.stages:
            x = stage(x)
        return x


class CompactTransformer(VisionTransformer):
    """`VisionTransformer` on a small residual network's features instead of pixels.

    Pictures of another size than `config.image_size` are welcome as long as their features can be cut into patches.
    """

    config: CompactConfig

    def __init__(self, config: CompactConfig) -> None:
        super().__init__(config)
        # in place of the one for pixels
        self.patch_embedding = nn.Conv2d(config.stages[-1], config.width, config.patch_size, config.patch_size)
        self.convolutions = Features(config)
        initialise(self)

    def embed(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n t D"]:
        """Positions of the feature map to tokens with positions: Eq. 1 for the hybrid of section 3.1."""
        grid_of((images.shape[2], images.shape[3]), self.config)
        return super().embed(self.convolutions(images))

    def layer_index(self, name: str) -> int:
        """0 for the convolutions and the embedding, 1 to L for the blocks, L + 1 for the rest."""
        return 0 if name.startswith("convolutions.") else super().layer_index(name)


def initialise(model: CompactTransformer) -> None:
    """Give the convolutions and the embedding their initial distributions.

    convolutions    normal of variance 2 / fan_out (arXiv 1502.01852)
    normalisation   weight 1, bias 0; the last of each block weight 0 (arXiv 1706.02677, section 5.1)
    embedding       lecun normal, bias 0
    """
    lecun_normal(model.patch_embedding)
    for module in model.convolutions.modules():
        if isinstance(module, nn.Conv2d):
            he_normal(module)
        elif isinstance(module, BasicBlock):
            nn.init.zeros_(module.second.norm.weight)


# Variants ------------------------------------------------------------------------------------------

VARIANTS = {
    # R8, R14: weighted layers of the residual network, its last one not here; behind the stroke pixels of a token
    **{
        f"Compact-R{2 + 6 * units}/{8 * stride}": CompactConfig(
            1, 256, blocks, 512, 4, (side, side), stem_stride=stride, units=units
        )
        for units, blocks in ((1, 2), (2, 4))
        for stride, side in ((1, 32), (2, 128))
    }
}
