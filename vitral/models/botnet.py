"""BoTNet (arXiv 2101.11605): a ResNet whose last stage looks with self-attention instead of 3x3 convolutions.

Letters used for shapes:
    n  pictures in the batch     c  colour channels         h, w  height and width in pixels, or of a map
    C  channels of a map         k  attention heads         d  width of a head     t = h w  positions of a map

Read it top to bottom: configuration, attention with relative positions, block, the whole. The rest of the network is
that of `resnet`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vitral.errors import DataError, UsageError
from vitral.models.convolution import BatchNorm, Conventions, ConvNorm
from vitral.models.initial import he_normal
from vitral.models.resnet import ResNet, ResNetConfig, shortcut_of

BEFORE = 16
"""Pixels, each way, for one position of the map that enters the last stage."""


@dataclass(frozen=True)
class BoTNetConfig:
    """The shape of a BoTNet; with its weights it is all that is needed to rebuild the model."""

    blocks: tuple[int, int, int, int]  # of each stage; the last stage's are those with attention (Table 1)
    num_heads: int = 4
    last_stride: int = 2  # of the last stage; 1 is the paper's BoTNet-S1
    width: int = 64  # channels of the stem and of the first stage's 3x3 convolutions; each stage doubles it
    image_size: tuple[int, int] = (224, 224)  # height, width in pixels
    num_classes: int = 1000
    head_bias: float = 0.0
    channels: int = 3
    norm_eps: float = 1e-5
    norm_momentum: float = 0.1

    def __post_init__(self) -> None:
        _ = self.trunk  # its own rules
        if self.last_stride not in (1, 2):
            raise UsageError(f"last_stride must be 1 or 2, not {self.last_stride}.")
        if self.num_heads < 1 or self.width * 8 % self.num_heads:
            raise UsageError(f"{self.width * 8} channels cannot be split into {self.num_heads} heads: take a divisor.")

    @property
    def trunk(self) -> ResNetConfig:
        """The ResNet that it would be without attention."""
        return ResNetConfig(
            self.blocks, "bottleneck", self.width, self.image_size, self.num_classes, self.head_bias, self.channels,
            self.norm_eps, self.norm_momentum,
        )  # fmt: skip

    @property
    def stride(self) -> int:
        """Pixels, each way, for one position of the last map."""
        return BEFORE * self.last_stride

    def map_size(self, block: int) -> tuple[int, int]:
        """Rows and columns that attention block number `block` of the last stage looks at."""
        pixels = BEFORE if block == 0 else self.stride  # the first block looks before it halves
        return math.ceil(self.image_size[0] / pixels), math.ceil(self.image_size[1] / pixels)


# Attention -----------------------------------------------------------------------------------------


def resize_offsets(table: Float[Tensor, "offsets d"], count: int) -> Float[Tensor, "count d"]:
    """A table of offsets -(s - 1) to s - 1 for a map of another side: linear, ends onto ends and 0 onto 0."""
    if len(table) == count:
        return table
    return F.interpolate(table.t()[None].float(), size=count, mode="linear", align_corners=True)[0].t().to(table.dtype)


def by_pair(table: Float[Tensor, "offsets d"], side: int) -> Float[Tensor, "side side d"]:
    """Row i, column j: the table's row for offset j - i, where row 0 stands for -(side - 1)."""
    places = torch.arange(side, device=table.device)
    return resize_offsets(table, 2 * side - 1)[places[None, :] - places[:, None] + side - 1]


class RelativeAttention(nn.Module):
    """Self-attention over all positions of a map, with relative positions of rows and of columns: Figure 4."""

    def __init__(self, channels: int, num_heads: int, map_size: tuple[int, int]) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Conv2d(channels, 3 * channels, 1, bias=False)  # all of q, all of k, all of v
        width = channels // num_heads
        self.row_offsets = nn.Parameter(torch.empty(2 * map_size[0] - 1, width))  # R_h
        self.column_offsets = nn.Parameter(torch.empty(2 * map_size[1] - 1, width))  # R_w
        # Positions and content start out of the same size.
        nn.init.normal_(self.row_offsets, std=width**-0.5)
        nn.init.normal_(self.column_offsets, std=width**-0.5)

    def project(self, x: Float[Tensor, "n C h w"]) -> tuple[Tensor, Tensor, Tensor]:
        """q, k, v, each [n, k, h w, d]."""
        q, k, v = self.qkv(x).flatten(2).unflatten(1, (3, self.num_heads, -1)).transpose(3, 4).unbind(1)
        return q, k, v

    def positions(self, q: Float[Tensor, "n k t d"], map_size: tuple[int, int]) -> Float[Tensor, "n k t t"]:
        """q r^T of Figure 4, r = R_h + R_w, divided by sqrt(d) as q k^T is, like in the authors' code."""
        h, w = map_size
        grid = (q * q.shape[-1] ** -0.5).unflatten(2, (h, w))
        rows = torch.einsum("nkyxd,yzd->nkyxz", grid, by_pair(self.row_offsets, h).to(q.dtype))
        columns = torch.einsum("nkyxd,xzd->nkyxz", grid, by_pair(self.column_offsets, w).to(q.dtype))
        return (rows[..., :, None] + columns[..., None, :]).flatten(4).flatten(2, 3)

    def forward(self, x: Float[Tensor, "n C h w"]) -> Float[Tensor, "n C h w"]:
        q, k, v = self.project(x)
        size = (x.shape[2], x.shape[3])
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=self.positions(q, size))
        return y.transpose(2, 3).flatten(1, 2).unflatten(2, size)

    def weights(self, x: Float[Tensor, "n C h w"]) -> Float[Tensor, "n k t t"]:
        """The attention matrix, for looking at: row i says where position i looks."""
        q, k, _ = self.project(x)
        content = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        return (content + self.positions(q, (x.shape[2], x.shape[3]))).softmax(dim=-1)


class AttentionBottleneck(nn.Module):
    """A ResNet's bottleneck with attention in the place of its 3x3 convolution: Figure 1, right."""

    def __init__(
        self, channels: tuple[int, int], config: BoTNetConfig, map_size: tuple[int, int], stride: int, like: Conventions
    ) -> None:
        super().__init__()
        width = 8 * config.width
        self.reduce = ConvNorm((channels[0], width), activation="relu", like=like)
        self.attention = RelativeAttention(width, config.num_heads, map_size)
        # Attention has no stride, so an average halves its result (section 3); the last of an odd side stands alone.
        self.pool = nn.AvgPool2d(stride, stride, ceil_mode=True) if stride > 1 else nn.Identity()
        self.norm = BatchNorm(width, like.norm_eps, like.norm_momentum)
        self.restore = ConvNorm((width, channels[1]), activation="relu", like=like)
        self.shortcut = shortcut_of(channels, stride, like)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n C y x"]:
        y = self.pool(self.attention(self.reduce(x)))
        return self.restore(F.relu_(self.norm(y)), self.shortcut(x))


# The whole -----------------------------------------------------------------------------------------


class BoTNet(ResNet):
    """Pictures in, class scores out.

    Pictures of another size than `config.image_size` are welcome: relative positions are interpolated on the way.
    """

    config: BoTNetConfig  # type: ignore[assignment]

    def __init__(self, config: BoTNetConfig) -> None:
        trunk = config.trunk
        super().__init__(trunk)
        self.config = config
        before, after = trunk.stage_widths[2:]
        last = nn.Sequential()
        for b in range(config.blocks[3]):
            stride = config.last_stride if b == 0 else 1
            block = AttentionBottleneck((before, after), config, config.map_size(b), stride, trunk.conventions)
            nn.init.zeros_(block.restore.norm.weight)  # as in the trunk
            last.append(block)
            before = after
        for module in last.modules():
            if isinstance(module, nn.Conv2d):
                he_normal(module)
        self.stages[3] = last

    @staticmethod
    def resized(tensors: Mapping[str, Tensor], old: BoTNetConfig, new: BoTNetConfig) -> dict[str, Tensor]:
        """Relative positions for maps of another size."""
        found: dict[str, Tensor] = {}
        for b in range(old.blocks[3]):
            for axis, kind in enumerate(("row_offsets", "column_offsets")):
                name = f"stages.3.{b}.attention.{kind}"
                was, wanted = (2 * config.map_size(b)[axis] - 1 for config in (old, new))
                if name not in tensors or was == wanted:
                    continue
                if len(tensors[name]) != was:
                    raise DataError(
                        f"the weights have {len(tensors[name])} offsets in {name} where image size "
                        f"{old.image_size[0]}x{old.image_size[1]} makes {was}: config.json is wrong."
                    )
                found[name] = resize_offsets(tensors[name], wanted)
        return found


# Variants ------------------------------------------------------------------------------------------

VARIANTS = {
    "BoTNet-50": BoTNetConfig((3, 4, 6, 3)),  # Table 1
    "BoTNet-S1-50": BoTNetConfig((3, 4, 6, 3), last_stride=1),
}
