"""Compact hybrids: encoder blocks, one or a few, behind early convolutions, for training from nothing on few pictures.

Section 3.1 of arXiv 2010.11929 forms tokens from the feature map of a convolutional network; here it is one so small
that minutes on a processor teach it something: a 3x3 convolution and basic blocks as in the small residual networks of
arXiv 1512.03385, section 4.2. A last 3x3 convolution of stride 2 makes the tokens: convolutions of this kind in the
place of patches are what arXiv 2106.14881 finds to learn faster, and less sensitive to how they are trained.

Two things differ from `vitral.models.vit`, since in a short training each is worth points. The branches of a block
begin at a tenth (LayerScale, arXiv 2103.17239), so that at first the convolutions learn through them undisturbed. And
nothing is normalised before the mean of the tokens: a token counts as much as its features are strong, where a norm
would give an empty corner the weight of the object.

Letters as there, and:
    C  channels of a feature map        y, x  its rows and columns
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitral.errors import UsageError
from vitral.models.convolution import Conventions, ConvNorm, channels_last
from vitral.models.initial import xavier_uniform
from vitral.models.kernels import Gelu
from vitral.models.layerscale import ScaledBlock
from vitral.models.network import Network, layer_of
from vitral.models.positions import ResizeRule, resize_positions, resized_table
from vitral.models.resnet import BasicBlock, initialise_residual
from vitral.models.sizes import require_heads, require_positive, require_rates
from vitral.models.vit import POSITION_STD, Mlp, SelfAttention, drop_rates, through


@dataclass(frozen=True)
class CompactConfig:
    """The shape of a compact hybrid; with its weights it is all that is needed to rebuild the model."""

    width: int
    depth: int
    mlp_dim: int
    num_heads: int
    image_size: tuple[int, int] = (32, 32)  # height, width in pixels
    num_classes: int = 1000
    stem: int = 32  # channels of the first convolution
    stem_stride: int = 1  # 1 keeps every pixel, for small pictures; 2 halves rows and columns
    stages: tuple[int, ...] = (64, 128)  # channels of each residual stage; each halves rows and columns
    units: int = 1  # residual blocks of each stage
    layer_scale: float = 0.1  # initial value of every factor
    mlp: Literal["gelu", "swiglu"] = "gelu"
    gelu: Gelu = "tanh"
    dropout: float = 0.0
    stochastic_depth: float = 0.0  # of the last block
    head_bias: float = 0.0
    checkpoint_blocks: bool = False
    channels: int = 3
    position_resize: ResizeRule = "google"
    norm_eps: float = 1e-5
    norm_momentum: float = 0.1

    def __post_init__(self) -> None:
        require_positive(self, ("width", "depth", "mlp_dim", "num_heads", "num_classes", "channels", "stem", "units"))
        require_heads(self.width, self.num_heads)
        require_rates(self)
        if min(self.stages, default=1) < 1:
            raise UsageError(f"every stage needs at least one channel: stages cannot be {self.stages}.")
        if self.stem_stride not in (1, 2):
            raise UsageError(f"stem_stride must be 1 or 2, not {self.stem_stride}.")
        if min(self.image_size) < 1:
            raise UsageError(f"image size must be at least 1x1, not {self.image_size[0]}x{self.image_size[1]}.")

    @property
    def stride(self) -> int:
        """Pixels, each way, for one token."""
        return int(self.stem_stride * 2 ** (len(self.stages) + 1))

    @property
    def grid_size(self) -> tuple[int, int]:
        """Rows and columns of tokens at `image_size`."""
        return self.grid_of(self.image_size)

    @property
    def prefix_tokens(self) -> int:
        """Tokens before those of the grid: none."""
        return 0

    @property
    def conventions(self) -> Conventions:
        """Padding and normalisation of every convolution."""
        return Conventions("symmetric", self.norm_eps, self.norm_momentum)

    def grid_of(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of tokens: every halving rounds up."""
        return math.ceil(image_size[0] / self.stride), math.ceil(image_size[1] / self.stride)


class Tokenizer(nn.Module):
    """Convolutions from pixels to a map of tokens, halving rows and columns in each stage and at the end."""

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
        self.last = ConvNorm((before, config.width), 3, 2, activation="relu", like=like)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n D y x"]:
        x = self.stem(channels_last(images))
        for stage in self.stages:
            x = stage(x)
        return self.last(x)


class CompactTransformer(Network):
    """Pictures of any size in, class scores out: learned positions are interpolated on the way."""

    config: CompactConfig

    def __init__(self, config: CompactConfig) -> None:
        super().__init__()
        self.config = config
        rows, columns = config.grid_size
        self.tokenizer = Tokenizer(config)
        self.position_embedding = nn.Parameter(torch.empty(1, rows * columns, config.width))
        self.dropout = nn.Dropout(config.dropout)
        rates = drop_rates(config.stochastic_depth, config.depth)
        self.blocks = nn.ModuleList(ScaledBlock(config, rate) for rate in rates)
        self.head = nn.Linear(config.width, config.num_classes)
        initialise(self)

    def embed(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n t D"]:
        """Positions of the feature map to tokens, row by row, with their positions: Eq. 1 for a hybrid."""
        config = self.config
        grid = config.grid_of((images.shape[2], images.shape[3]))
        x = self.tokenizer(images).flatten(2).transpose(1, 2)
        return self.dropout(
            x + resize_positions(self.position_embedding, config.grid_size, grid, config.position_resize)
        )

    def encode(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n t D"]:
        """Pictures to tokens."""
        return through(self.blocks, self.embed(images), self.config.checkpoint_blocks and self.training)

    def pooled(self, tokens: Float[Tensor, "n t D"]) -> Float[Tensor, "n D"]:
        """The mean of the tokens."""
        return tokens.mean(dim=1)

    @property
    def num_layers(self) -> int:
        """The convolutions, the blocks, and the head."""
        return self.config.depth + 2

    def layer_index(self, name: str) -> int:
        """0 for what makes tokens, 1 to L for the blocks, L + 1 for the head."""
        return 0 if name.startswith("tokenizer.") else layer_of(name, self.config.depth)

    @staticmethod
    def resized(tensors: Mapping[str, Tensor], old: CompactConfig, new: CompactConfig) -> dict[str, Tensor]:
        """Learned positions on another grid, by the rule of `new`."""
        return resized_table("position_embedding", tensors, old, new, 0)


# Initial values ------------------------------------------------------------------------------------


def initialise(model: CompactTransformer) -> None:
    """Give every parameter its initial distribution.

    tokenizer       as a residual network's, see `vitral.models.resnet`
    q, k, v, out    xavier uniform, bias 0      MLP    xavier uniform, bias 0
    positions       normal, std 0.02            head   weight 0, bias `head_bias`
    """
    initialise_residual(model.tokenizer)
    for module in model.blocks.modules():
        if isinstance(module, SelfAttention):
            xavier_uniform(module.qkv, parts=3)
            xavier_uniform(module.out)
        elif isinstance(module, Mlp):
            xavier_uniform(module.fc1)
            xavier_uniform(module.fc2)
    nn.init.normal_(model.position_embedding, std=POSITION_STD)
    nn.init.zeros_(model.head.weight)
    nn.init.constant_(model.head.bias, model.config.head_bias)


# Variants ------------------------------------------------------------------------------------------

VARIANTS = {
    # R6, R10: convolutions one behind the other, the shortcuts' aside; behind the stroke pixels of a token
    f"Compact-R{2 + 4 * units}/{8 * stride}": CompactConfig(
        256, blocks, 512, 4, (side, side), stem_stride=stride, units=units
    )
    for units, blocks in ((1, 1), (2, 4))
    for stride, side in ((1, 32), (2, 128))
}
