"""Vision Transformers with LayerScale: DeiT III (arXiv 2204.07118) and DINOv2 (arXiv 2304.07193), the latter with or
without registers (arXiv 2309.16588).

Letters as in `vitral.models.vit`; t = 1 + r + N tokens: class, r registers, patches. What differs from the plain ViT:
    LayerScale   a learned factor per channel before each branch is added (arXiv 2103.17239, Eq. 5)
    class token  may come without a position of its own
    registers    tokens without positions, that only the other tokens read
    SwiGLU       in place of the GELU's MLP in the giant
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vitral.errors import UsageError
from vitral.models import vit
from vitral.models.initial import normal_dense
from vitral.models.kernels import Dense, Gelu
from vitral.models.network import Network, layer_of
from vitral.models.positions import ResizeRule, resize_positions, resized_table
from vitral.models.sizes import BlockShape, Patched, grid_of, require_shape
from vitral.models.vit import (
    LAYER_NORM_EPS,
    POSITION_STD,
    Mlp,
    SelfAttention,
    StochasticDepth,
    drop_rates,
    embed_patches,
    through,
)

CLASS_STD = 1e-6
"""Standard deviation of DINOv2's class token and registers at the start."""


@dataclass(frozen=True)
class LayerScaleConfig(Patched):
    """The shape of a Vision Transformer with LayerScale."""

    patch_size: int
    width: int
    depth: int
    mlp_dim: int  # of SwiGLU: the width of the product
    num_heads: int
    image_size: tuple[int, int] = (224, 224)  # height, width in pixels
    num_classes: int = 1000
    pool: Literal["token", "token_mean"] = "token"  # what the head sees; token_mean: the patches' mean beside it
    registers: int = 0
    class_position: bool = True  # whether the class token has a row in the position table
    mlp: Literal["gelu", "swiglu"] = "gelu"
    gelu: Gelu = "exact"
    layer_scale: float = 1e-5  # initial value of every factor
    dropout: float = 0.0
    stochastic_depth: float = 0.0  # of the last block
    head_bias: float = 0.0
    checkpoint_blocks: bool = False
    channels: int = 3
    position_resize: ResizeRule = "huggingface"

    def __post_init__(self) -> None:
        require_shape(self)
        if self.registers < 0:
            raise UsageError(f"registers must be 0 or more, not {self.registers}.")


@runtime_checkable  # the shape checks of the tests ask
class ScaledShape(BlockShape, Protocol):
    """What a configuration says of its scaled blocks."""

    @property
    def mlp(self) -> Literal["gelu", "swiglu"]: ...

    @property
    def layer_scale(self) -> float: ...


class SwiGlu(nn.Module):
    """w3 (silu(w1 x) * w2 x) of arXiv 2002.05202, Eq. 6, with w1 and w2 in one matrix."""

    def __init__(self, width: int, mlp_dim: int, dropout: float) -> None:
        super().__init__()
        self.w12 = Dense(width, 2 * mlp_dim)  # rows: all of w1, all of w2
        self.w3 = Dense(mlp_dim, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "n t D"]) -> Float[Tensor, "n t D"]:
        gate, value = self.w12(x).chunk(2, dim=-1)
        return self.dropout(self.w3(F.silu(gate) * value))


class ScaledBlock(nn.Module):
    """Pre-norm encoder block whose branches are scaled channel by channel."""

    def __init__(self, config: ScaledShape, drop_rate: float) -> None:
        super().__init__()
        width = config.width
        self.norm1 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.attention = SelfAttention(width, config.num_heads)
        self.scale1 = nn.Parameter(torch.full((width,), config.layer_scale))
        self.norm2 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.mlp = (
            SwiGlu(width, config.mlp_dim, config.dropout)
            if config.mlp == "swiglu"
            else Mlp(width, config.mlp_dim, config.gelu, config.dropout)
        )
        self.scale2 = nn.Parameter(torch.full((width,), config.layer_scale))
        self.drop_branch = StochasticDepth(drop_rate)

    def forward(self, x: Float[Tensor, "n t D"]) -> Float[Tensor, "n t D"]:
        x = x + self.drop_branch(self.scale1 * self.attention(self.norm1(x)))
        return x + self.drop_branch(self.scale2 * self.mlp(self.norm2(x)))


class LayerScaleTransformer(Network):
    """Pictures in, class scores out, of any size that the patch size divides."""

    config: LayerScaleConfig

    def __init__(self, config: LayerScaleConfig) -> None:
        super().__init__()
        self.config = config
        width, patch = config.width, config.patch_size
        self.patch_embedding = nn.Conv2d(config.channels, width, kernel_size=patch, stride=patch)
        self.class_token = nn.Parameter(torch.empty(1, 1, width))
        if config.registers:
            self.registers = nn.Parameter(torch.empty(1, config.registers, width))
        rows = config.class_position + config.grid_size[0] * config.grid_size[1]
        self.position_embedding = nn.Parameter(torch.empty(1, rows, width))
        self.dropout = nn.Dropout(config.dropout)
        rates = drop_rates(config.stochastic_depth, config.depth)
        self.blocks = nn.ModuleList(ScaledBlock(config, rate) for rate in rates)
        self.norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.head = nn.Linear(width if config.pool == "token" else 2 * width, config.num_classes)
        initialise(self)

    def embed(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n t D"]:
        """Patches with their positions, behind the class token and the registers, which have none."""
        config = self.config
        x = embed_patches(images, self.patch_embedding)
        grid = grid_of((images.shape[2], images.shape[3]), config.patch_size)
        positions = resize_positions(self.position_embedding, config.grid_size, grid, config.position_resize)
        prefix: Tensor = self.class_token
        if config.class_position:
            prefix, positions = prefix + positions[:, :1], positions[:, 1:]
        if config.registers:
            prefix = torch.cat([prefix, self.registers], dim=1)
        return self.dropout(torch.cat([prefix.expand(x.shape[0], -1, -1), x + positions], dim=1))

    def encode(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n t D"]:
        """Pictures to normalised tokens: class, registers, patches row by row."""
        x = through(self.blocks, self.embed(images), self.config.checkpoint_blocks and self.training)
        return self.norm(x)

    def pooled(self, tokens: Float[Tensor, "n t D"]) -> Float[Tensor, "n R"]:
        """The class token; beside it the mean of the patches, for DINOv2's linear classifiers (section 7.1)."""
        if self.config.pool == "token":
            return tokens[:, 0]
        return torch.cat([tokens[:, 0], tokens[:, 1 + self.config.registers :].mean(dim=1)], dim=1)

    @property
    def num_layers(self) -> int:
        """The embedding, the blocks, and the rest."""
        return self.config.depth + 2

    def layer_index(self, name: str) -> int:
        """0 for the embedding, 1 to L for the blocks, L + 1 for the rest."""
        return layer_of(name, self.config.depth)

    @staticmethod
    def resized(tensors: Mapping[str, Tensor], old: LayerScaleConfig, new: LayerScaleConfig) -> dict[str, Tensor]:
        """Positions on another grid, by the rule of `new`."""
        return resized_table("position_embedding", tensors, old, new, int(old.class_position))


def initialise(model: LayerScaleTransformer) -> None:
    """The authors' initial values: normal of std 0.02 for dense layers and positions; zero biases and head.

    The class token starts as DINOv2's, nearly zero; DeiT III's starts as its positions do.
    """
    normal_dense(model)
    nn.init.normal_(model.position_embedding, std=POSITION_STD)
    nn.init.normal_(model.class_token, std=CLASS_STD if model.config.class_position else POSITION_STD)
    if model.config.registers:
        nn.init.normal_(model.registers, std=CLASS_STD)
    nn.init.zeros_(model.head.weight)
    nn.init.constant_(model.head.bias, model.config.head_bias)


# Variants ------------------------------------------------------------------------------------------

DEIT3: dict[str, Any] = {"class_position": False, "layer_scale": 1e-4}
DINOV2: dict[str, Any] = {"patch_size": 14, "image_size": (518, 518), "position_resize": "dinov2"}

GIANT: dict[str, Any] = {"width": 1536, "depth": 40, "mlp_dim": 4096, "num_heads": 24, "mlp": "swiglu"}
"""DINOv2's g (Table 17): heads of 64, and two thirds of 4 D inside its SwiGLU."""

VARIANTS = {
    **{f"DeiT-III-{size}/16": LayerScaleConfig(patch_size=16, **vit.SIZES[size], **DEIT3) for size in "SMBL"},
    "DeiT-III-H/14": LayerScaleConfig(patch_size=14, **vit.SIZES["H"], **DEIT3),
    **{f"DINOv2-{size}/14": LayerScaleConfig(**vit.SIZES[size], **DINOV2) for size in "SBL"},
    "DINOv2-g/14": LayerScaleConfig(**GIANT, **DINOV2),
}
