"""BEiT: "BERT Pre-Training of Image Transformers" (arXiv 2106.08254), the network that is fine-tuned.

Letters as in `vitral.models.vit`; t = N + 1 tokens, the class token first. What differs from the plain ViT, in
the authors' code (microsoft/unilm):
    positions    none are added to the tokens: every block's attention has a bias by relative position
    q, k, v      k has no bias: it would only shift all logits of a row
    LayerScale   a learned factor per channel on each residual branch (arXiv 2103.17239)
    pooling      the mean of the patches, then the norm (section 2.6); the class token only takes part in attention
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitral.errors import UsageError
from vitral.models.kernels import Dense, attend, dense
from vitral.models.network import Network, layer_of
from vitral.models.relative_positions import offsets, relative_bias, require_offsets, resized_geometric
from vitral.models.sizes import Patched, require_shape
from vitral.models.vit import LAYER_NORM_EPS, Mlp, StochasticDepth, drop_rates, embed_patches, through

WEIGHT_STD = 0.02
"""Standard deviation of dense kernels and the class token at the start, as in the authors' code."""

CLASS_OFFSETS = 3
"""Last rows of a bias table: from the class token to a patch, from a patch to it, from it to itself."""


@dataclass(frozen=True)
class BEiTConfig(Patched):
    """The shape of a BEiT; with its weights it is all that is needed to rebuild the model."""

    patch_size: int
    width: int
    depth: int
    mlp_dim: int
    num_heads: int
    image_size: tuple[int, int] = (224, 224)  # height, width in pixels
    num_classes: int = 1000
    layer_scale: float = 0.1  # every factor at the start: 0.1 in B, 1e-5 in L, as the authors train them
    dropout: float = 0.0
    stochastic_depth: float = 0.0  # of the last block; block l has l / (L - 1) of it
    head_bias: float = 0.0
    checkpoint_blocks: bool = False
    channels: int = 3
    layer_norm_eps: float = LAYER_NORM_EPS

    def __post_init__(self) -> None:
        require_shape(self)


class RelativeAttention(nn.Module):
    """Multi-head self-attention with a bias by relative position."""

    def __init__(self, config: BEiTConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.grid = config.grid_size
        self.relative_positions = nn.Parameter(torch.empty(offsets(self.grid) + CLASS_OFFSETS, config.num_heads))
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=False)  # rows: all of q, all of k, all of v
        self.q_bias = nn.Parameter(torch.empty(config.width))
        self.v_bias = nn.Parameter(torch.empty(config.width))
        self.out = Dense(config.width, config.width)

    def bias(self) -> Float[Tensor, "k t t"]:
        """What is added to the logits: row i for the token that looks, column j for the one that is looked at."""
        among = relative_bias(self.relative_positions[:-CLASS_OFFSETS], self.grid)
        from_class, to_class, itself = self.relative_positions[-CLASS_OFFSETS:, :, None, None].unbind(0)
        patches = among.shape[1]
        below = torch.cat([to_class.expand(-1, patches, 1), among], dim=2)
        first = torch.cat([itself, from_class.expand(-1, 1, patches)], dim=2)
        return torch.cat([first, below], dim=1)

    def forward(self, x: Float[Tensor, "n t D"]) -> Float[Tensor, "n t D"]:
        qkv_bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        qkv = dense(x, self.qkv.weight, qkv_bias).unflatten(-1, (3, self.num_heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        return self.out(attend(q, k, v, self.bias()[None]).transpose(1, 2).flatten(2))


class BEiTBlock(nn.Module):
    """Pre-norm block with LayerScale."""

    def __init__(self, config: BEiTConfig, drop_rate: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width, eps=config.layer_norm_eps)
        self.attention = RelativeAttention(config)
        self.scale1 = nn.Parameter(torch.empty(config.width))
        self.norm2 = nn.LayerNorm(config.width, eps=config.layer_norm_eps)
        self.mlp = Mlp(config.width, config.mlp_dim, "exact", config.dropout)
        self.scale2 = nn.Parameter(torch.empty(config.width))
        self.dropout = nn.Dropout(config.dropout)
        self.drop_branch = StochasticDepth(drop_rate)

    def forward(self, x: Float[Tensor, "n t D"]) -> Float[Tensor, "n t D"]:
        x = torch.addcmul(x, self.scale1, self.drop_branch(self.dropout(self.attention(self.norm1(x)))))
        return torch.addcmul(x, self.scale2, self.drop_branch(self.mlp(self.norm2(x))))


class BEiT(Network):
    """Pictures in, class scores out: `forward` is `head(pooled(encode(images)))`.

    Pictures are of `config.image_size`: the bias tables are for its grid.
    """

    config: BEiTConfig

    def __init__(self, config: BEiTConfig) -> None:
        super().__init__()
        self.config = config
        width, patch = config.width, config.patch_size
        self.patch_embedding = nn.Conv2d(config.channels, width, kernel_size=patch, stride=patch)
        self.class_token = nn.Parameter(torch.empty(1, 1, width))
        self.dropout = nn.Dropout(config.dropout)
        rates = drop_rates(config.stochastic_depth, config.depth)
        self.blocks = nn.ModuleList(BEiTBlock(config, rate) for rate in rates)
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.head = nn.Linear(width, config.num_classes)
        initialise(self)

    def encode(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n t D"]:
        """The last block's tokens, class token first.

        Raises:
            UsageError: pictures of another size.
        """
        height, width = self.config.image_size
        if images.shape[2] != height or images.shape[3] != width:
            raise UsageError(
                f"this BEiT looks at pictures of {height}x{width}, not {images.shape[2]}x{images.shape[3]}: "
                "build it with that image_size, which resizes its relative positions."
            )
        x = embed_patches(images, self.patch_embedding)
        x = self.dropout(torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], dim=1))
        return through(self.blocks, x, self.config.checkpoint_blocks and self.training)

    def pooled(self, tokens: Float[Tensor, "n t D"]) -> Float[Tensor, "n D"]:
        """The mean of the patches' tokens, normalised."""
        return self.norm(tokens[:, 1:].mean(dim=1))

    @property
    def num_layers(self) -> int:
        """The embedding, the blocks, and the rest."""
        return self.config.depth + 2

    def layer_index(self, name: str) -> int:
        """0 for the embedding, 1 to L for the blocks, L + 1 for the rest."""
        return layer_of(name, self.config.depth)

    @staticmethod
    def resized(tensors: Mapping[str, Tensor], old: BEiTConfig, new: BEiTConfig) -> dict[str, Tensor]:
        """Relative positions on another grid; those with the class token stay as they are."""
        found: dict[str, Tensor] = {}
        if old.grid_size == new.grid_size:
            return found
        for name, table in tensors.items():
            if name.endswith(".relative_positions"):
                require_offsets(name, table, offsets(old.grid_size) + CLASS_OFFSETS, old.grid_size)
                among = resized_geometric(table[:-CLASS_OFFSETS], old.grid_size, new.grid_size)
                found[name] = torch.cat([among, table[-CLASS_OFFSETS:]])
        return found


# Initial values ------------------------------------------------------------------------------------


def initialise(model: BEiT) -> None:
    """Give every parameter the authors' initial distribution.

    dense kernels              normal, std 0.02, bias 0     bias tables        0
    out and fc2 of block l     that over sqrt(2 l)          LayerScale         `layer_scale`
    class token                normal, std 0.02             patch embedding    torch's own for a convolution
    head                       weight 0, bias `head_bias`   norm               weight 1, bias 0
    """
    for module in model.blocks.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=WEIGHT_STD)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, RelativeAttention):
            for parameter in (module.q_bias, module.v_bias, module.relative_positions):
                nn.init.zeros_(parameter)
    for depth, block in enumerate(model.blocks, start=1):
        assert isinstance(block, BEiTBlock)
        for layer in (block.attention.out, block.mlp.fc2):
            layer.weight.data /= math.sqrt(2 * depth)
        for scale in (block.scale1, block.scale2):
            nn.init.constant_(scale, model.config.layer_scale)
    nn.init.trunc_normal_(model.class_token, std=WEIGHT_STD)
    nn.init.zeros_(model.head.weight)
    nn.init.constant_(model.head.bias, model.config.head_bias)


# Variants ------------------------------------------------------------------------------------------

SIZES: dict[str, dict[str, Any]] = {
    # section 2.5, and the authors' larger one
    "B": {"width": 768, "depth": 12, "mlp_dim": 3072, "num_heads": 12, "layer_scale": 0.1},
    "L": {"width": 1024, "depth": 24, "mlp_dim": 4096, "num_heads": 16, "layer_scale": 1e-5},
}

VARIANTS = {f"BEiT-{name}/16": BEiTConfig(patch_size=16, **size) for name, size in SIZES.items()}
