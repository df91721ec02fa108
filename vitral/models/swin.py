"""Swin: "Hierarchical Vision Transformer using Shifted Windows" (arXiv 2103.14030).

Letters used for shapes:
    n  pictures in the batch     c  colour channels     h, w  height and width in pixels
    t  tokens = rows x columns of a stage's grid        D  width of a token     k  attention heads
    s  tokens in a window        W  windows in a grid   K  classes

Tokens attend within windows; every other block moves the windows by half their size (section 3.2). Between stages
2 x 2 neighbours become one token of twice the width (section 3.1). Read it top to bottom: configuration, windows,
attention, block, merging, stage, the whole.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vitral.errors import UsageError
from vitral.models.kernels import Dense, attend
from vitral.models.network import Network
from vitral.models.relative_positions import Window, offsets, relative_bias, require_offsets, resized_bicubic
from vitral.models.sizes import grid_of, require_heads, require_positive, require_rates
from vitral.models.vit import Mlp, StochasticDepth, drop_rates, embed_patches

LAYER_NORM_EPS = 1e-5
"""torch's default, with which the authors trained."""

WEIGHT_STD = 0.02
"""Standard deviation of dense kernels and bias tables at the start, as in the authors' code."""

APART = -100.0
"""Added to the attention logits of two tokens that only the cyclic shift made neighbours, as in the authors' code."""

MLP_RATIO = 4
"""alpha of section 3.3: the MLP's width over the token's."""

Grid = tuple[int, int]


@dataclass(frozen=True)
class SwinConfig:
    """The shape of a Swin Transformer; with its weights it is all that is needed to rebuild the model."""

    width: int  # C of section 3.3: of a token in the first stage; it doubles from stage to stage
    depths: tuple[int, ...]  # blocks of each stage
    num_heads: tuple[int, ...]  # of each stage
    window_size: int = 7  # M of section 3.3, in tokens; a grid that is not larger is one window
    patch_size: int = 4
    image_size: tuple[int, int] = (224, 224)  # height, width in pixels
    num_classes: int = 1000
    dropout: float = 0.0
    stochastic_depth: float = 0.0  # of the last block; block l has l / (L - 1) of it (appendix A2.1)
    head_bias: float = 0.0
    checkpoint_blocks: bool = False
    channels: int = 3

    def __post_init__(self) -> None:
        require_positive(self, ("width", "window_size", "patch_size", "num_classes", "channels"))
        if not self.depths or len(self.depths) != len(self.num_heads) or min(self.depths + self.num_heads) < 1:
            raise UsageError(
                f"depths {self.depths} and num_heads {self.num_heads} must name one number, of at least 1, per stage."
            )
        for width, heads in zip(self.widths, self.num_heads, strict=True):
            require_heads(width, heads)
        require_rates(self)
        grid_of(self.image_size, self.patch_size)

    @property
    def stride(self) -> int:
        """Pixels, each way, for one token of the last stage."""
        return self.patch_size * 2 ** (len(self.depths) - 1)

    @property
    def widths(self) -> tuple[int, ...]:
        """Width of a token in each stage."""
        return tuple(self.width * 2**i for i in range(len(self.depths)))

    @property
    def windows(self) -> tuple[Window, ...]:
        """Rows and columns of each stage's windows at `image_size`: `window_size`, or the whole of a smaller grid."""
        rows, columns = grid_of(self.image_size, self.patch_size)
        found = []
        for _ in self.depths:
            found.append((min(rows, self.window_size), min(columns, self.window_size)))
            rows, columns = math.ceil(rows / 2), math.ceil(columns / 2)
        return tuple(found)


# Windows -------------------------------------------------------------------------------------------


def strangers(grid: Grid, window: Window, shift: Window, device: torch.device) -> Bool[Tensor, "W s s"]:
    """Pairs of tokens in a shifted window that do not stand side by side in the picture (section 3.2, Fig. 4).

    Args:
        grid: rows and columns, multiples of the window's.
    """
    rows, columns = (_differ(side, size, moved, device) for side, size, moved in zip(grid, window, shift, strict=True))
    apart = rows[:, None, :, None, :, None] | columns[None, :, None, :, None, :]
    return apart.flatten(4, 5).flatten(2, 3).flatten(0, 1)


def _differ(side: int, size: int, moved: int, device: torch.device) -> Bool[Tensor, "windows size size"]:
    """Along one side: the last `moved` tokens came from the other end, so they are strangers in the last window."""
    came = torch.arange(side, device=device).unflatten(0, (-1, size)) >= side - moved
    return came[:, :, None] != came[:, None, :]


class WindowAttention(nn.Module):
    """Multi-head self-attention within windows, Eq. 4."""

    def __init__(self, width: int, num_heads: int, window: Window) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.window = window
        self.relative_positions = nn.Parameter(torch.empty(offsets(window), num_heads))
        self.qkv = Dense(width, 3 * width)  # rows: all of q, all of k, all of v
        self.out = Dense(width, width)

    def forward(
        self, x: Float[Tensor, "n t D"], grid: Grid, shift: Window, apart: Bool[Tensor, "W s s"] | None
    ) -> Float[Tensor, "n t D"]:
        """Tokens that have each seen those of their window.

        Args:
            grid: rows and columns of the tokens.
            shift: rows and columns by which the windows stand away from the grid's corner.
            apart: pairs that may not see each other, where there are any.
        """
        return self.out(self._joined(self._seen(self._cut(x, grid, shift), apart), grid, shift))

    def _cut(
        self, x: Float[Tensor, "n t D"], grid: Grid, shift: Window
    ) -> Float[Tensor, "3 n down across k high wide d"]:
        """Queries, keys and values by windows."""
        high, wide = self.window
        x = x.unflatten(1, grid)
        if (
            grid[0] % high or grid[1] % wide
        ):  # zeros behind the norm, before the shift, as the authors pad for detection
            x = F.pad(x, (0, 0, 0, -grid[1] % wide, 0, -grid[0] % high))
        if any(shift):
            x = x.roll((-shift[0], -shift[1]), (1, 2))
        qkv = self.qkv(x).unflatten(3, (3, self.num_heads, -1)).unflatten(2, (-1, wide)).unflatten(1, (-1, high))
        return qkv.permute(5, 0, 1, 3, 6, 2, 4, 7)

    def _seen(
        self, qkv: Float[Tensor, "3 n down across k high wide d"], apart: Bool[Tensor, "W s s"] | None
    ) -> Float[Tensor, "n down across k high wide d"]:
        """Eq. 4 in every window."""
        bias = relative_bias(self.relative_positions, self.window)[None]
        if apart is None:  # windows are as good as pictures
            q, k, v = qkv.flatten(5, 6).flatten(1, 3).unbind(0)
        else:  # windows differ by what is apart in them: they are as good as heads, so that pictures share the bias
            q, k, v = qkv.flatten(5, 6).flatten(2, 4).unbind(0)
            bias = (bias + (apart * APART).to(bias.dtype)[:, None]).flatten(0, 1)[None]
        y = attend(q, k, v, bias)  # n W, k, s, d or n, W k, s, d
        return y.reshape(-1, *qkv.shape[2:4], self.num_heads, *self.window, y.shape[-1])

    def _joined(
        self, y: Float[Tensor, "n down across k high wide d"], grid: Grid, shift: Window
    ) -> Float[Tensor, "n t D"]:
        """The windows put together again: `_cut` undone."""
        y = y.permute(0, 1, 4, 2, 5, 3, 6).flatten(5, 6).flatten(3, 4).flatten(1, 2)
        if any(shift):
            y = y.roll(shift, (1, 2))
        return y[:, : grid[0], : grid[1]].flatten(1, 2)


class SwinBlock(nn.Module):
    """Pre-norm block, Eq. 3; an odd one has its windows shifted."""

    def __init__(self, config: SwinConfig, stage: int, shifted: bool, drop_rate: float) -> None:
        super().__init__()
        width = config.widths[stage]
        self.shifted = shifted
        self.norm1 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.attention = WindowAttention(width, config.num_heads[stage], config.windows[stage])
        self.norm2 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.mlp = Mlp(width, MLP_RATIO * width, "exact", config.dropout)
        self.dropout = nn.Dropout(config.dropout)
        self.drop_branch = StochasticDepth(drop_rate)

    def forward(
        self, x: Float[Tensor, "n t D"], grid: Grid, shift: Window, apart: Bool[Tensor, "W s s"] | None
    ) -> Float[Tensor, "n t D"]:
        if not self.shifted:
            shift, apart = (0, 0), None
        x = x + self.drop_branch(self.dropout(self.attention(self.norm1(x), grid, shift, apart)))
        return x + self.drop_branch(self.mlp(self.norm2(x)))


# Stages --------------------------------------------------------------------------------------------


class PatchMerging(nn.Module):
    """2 x 2 neighbours to one token of twice the width (section 3.1); odd sides get a row or column of zeros."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * width, eps=LAYER_NORM_EPS)
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: Float[Tensor, "n t D"], grid: Grid) -> Float[Tensor, "n u E"]:
        x = x.unflatten(1, grid)
        if grid[0] % 2 or grid[1] % 2:
            x = F.pad(x, (0, 0, 0, grid[1] % 2, 0, grid[0] % 2))
        x = x.unflatten(2, (-1, 2)).unflatten(1, (-1, 2))  # n, rows, 2, columns, 2, D
        return self.reduction(self.norm(x.permute(0, 1, 3, 4, 2, 5).flatten(3).flatten(1, 2)))


class Stage(nn.Module):
    """Merging, but in the first stage, and blocks."""

    def __init__(self, config: SwinConfig, stage: int, rates: list[float]) -> None:
        super().__init__()
        self.window = config.windows[stage]
        self.checkpoint_blocks = config.checkpoint_blocks
        self.merging = PatchMerging(config.widths[stage - 1]) if stage else None
        self.blocks = nn.ModuleList(SwinBlock(config, stage, i % 2 == 1, rate) for i, rate in enumerate(rates))

    def forward(self, x: Float[Tensor, "n t D"], grid: Grid) -> tuple[Float[Tensor, "n u E"], Grid]:
        """Tokens and their grid, into the stage's own."""
        if self.merging is not None:
            x, grid = self.merging(x, grid), (math.ceil(grid[0] / 2), math.ceil(grid[1] / 2))
        # One window across is not shifted: all of it sees all of it already.
        down, across = (size // 2 if side > size else 0 for side, size in zip(grid, self.window, strict=True))
        apart = None
        if down or across:
            padded = tuple(side + -side % size for side, size in zip(grid, self.window, strict=True))
            apart = strangers((padded[0], padded[1]), self.window, (down, across), x.device)
        for block in self.blocks:
            if self.checkpoint_blocks and self.training:
                x = checkpoint(block, x, grid, (down, across), apart, use_reentrant=False)
            else:
                x = block(x, grid, (down, across), apart)
        return x, grid


class SwinTransformer(Network):
    """Pictures in, class scores out: `forward` is `head(pooled(encode(images)))`.

    Pictures of another size than `config.image_size` are welcome as long as the patch size divides them: windows keep
    their size, and a grid that they do not fill is padded, as in the authors' code for detection, torchvision and
    Transformers. (timm shifts before it pads, so its numbers differ where a shifted grid needs padding.)
    """

    config: SwinConfig

    def __init__(self, config: SwinConfig) -> None:
        super().__init__()
        self.config = config
        patch = config.patch_size
        self.patch_embedding = nn.Conv2d(config.channels, config.width, kernel_size=patch, stride=patch)
        self.patch_norm = nn.LayerNorm(config.width, eps=LAYER_NORM_EPS)
        self.dropout = nn.Dropout(config.dropout)
        rates = drop_rates(config.stochastic_depth, sum(config.depths))
        self.stages = nn.ModuleList(
            Stage(config, stage, rates[end - depth : end])
            for stage, (depth, end) in enumerate(zip(config.depths, accumulate(config.depths), strict=True))
        )
        self.norm = nn.LayerNorm(config.widths[-1], eps=LAYER_NORM_EPS)
        self.head = nn.Linear(config.widths[-1], config.num_classes)
        initialise(self)

    def encode(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n t D"]:
        """The last stage's tokens, normalised."""
        size = (images.shape[2], images.shape[3])
        if size == self.config.image_size:
            size = self.config.image_size  # plain numbers: a compiler that leaves sizes open need not follow all below
        grid = grid_of(size, self.config.patch_size)
        x = self.dropout(self.patch_norm(embed_patches(images, self.patch_embedding)))
        for stage in self.stages:
            x, grid = stage(x, grid)
        return self.norm(x)

    def pooled(self, tokens: Float[Tensor, "n t D"]) -> Float[Tensor, "n D"]:
        """The mean of the tokens (section 3.1)."""
        return tokens.mean(dim=1)

    @property
    def num_layers(self) -> int:
        """The embedding, the blocks, and the rest."""
        return sum(self.config.depths) + 2

    def layer_index(self, name: str) -> int:
        """0 for the embedding, 1 to L for the blocks, L + 1 for the rest; merging counts with the block before it."""
        parts = name.split(".")
        if parts[0] == "stages":
            before = sum(self.config.depths[: int(parts[1])])
            return before if parts[2] == "merging" else before + int(parts[3]) + 1
        return 0 if parts[0] in ("patch_embedding", "patch_norm") else sum(self.config.depths) + 1

    @staticmethod
    def resized(tensors: Mapping[str, Tensor], old: SwinConfig, new: SwinConfig) -> dict[str, Tensor]:
        """Relative positions of windows of another size."""
        found = {}
        for stage, (before, after) in enumerate(zip(old.windows, new.windows, strict=False)):
            for block in range(old.depths[stage]):
                name = f"stages.{stage}.blocks.{block}.attention.relative_positions"
                if before != after and name in tensors:
                    require_offsets(name, tensors[name], offsets(before), before)
                    found[name] = resized_bicubic(tensors[name], before, after)
        return found


# Initial values ------------------------------------------------------------------------------------


def initialise(model: SwinTransformer) -> None:
    """Give every parameter the authors' initial distribution.

    dense kernels      normal, std 0.02, bias 0        LayerNorm    weight 1, bias 0
    bias tables        normal, std 0.02                head         weight 0, bias `head_bias`
    patch embedding    torch's own for a convolution
    """
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=WEIGHT_STD)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, WindowAttention):
            nn.init.trunc_normal_(module.relative_positions, std=WEIGHT_STD)
    nn.init.zeros_(model.head.weight)
    nn.init.constant_(model.head.bias, model.config.head_bias)


# Variants ------------------------------------------------------------------------------------------

SIZES: dict[str, dict[str, Any]] = {
    # section 3.3
    "T": {"width": 96, "depths": (2, 2, 6, 2), "num_heads": (3, 6, 12, 24)},
    "S": {"width": 96, "depths": (2, 2, 18, 2), "num_heads": (3, 6, 12, 24)},
    "B": {"width": 128, "depths": (2, 2, 18, 2), "num_heads": (4, 8, 16, 32)},
    "L": {"width": 192, "depths": (2, 2, 18, 2), "num_heads": (6, 12, 24, 48)},
}

VARIANTS = {f"Swin-{name}": SwinConfig(**size) for name, size in SIZES.items()}
