"""The classifier that is made of a masked autoencoder's encoder (arXiv 2111.06377).

Pre-training is in `vitral.models.masked_autoencoder`. Letters as in `vitral.models.vit`; t = N + 1 tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitral.errors import UsageError
from vitral.models import vit
from vitral.models.kernels import Gelu
from vitral.models.network import Network, layer_of
from vitral.models.positions import ResizeRule, mae_sincos2d, resize_positions, resized_table
from vitral.models.sizes import Patched, grid_of, require_shape
from vitral.models.vit import LAYER_NORM_EPS, EncoderBlock, drop_rates, embed_patches, through

TOKEN_STD = 0.02
"""Standard deviation of the class token at the start."""


@dataclass(frozen=True)
class MaeConfig(Patched):
    """The shape of MAE's encoder and classifier."""

    patch_size: int
    width: int
    depth: int
    mlp_dim: int
    num_heads: int
    image_size: tuple[int, int] = (224, 224)  # height, width in pixels
    num_classes: int = 1000
    pool: Literal["gap", "token"] = "gap"  # mean of the patches, then the norm; or the norm, then the class token
    gelu: Gelu = "exact"
    dropout: float = 0.0
    stochastic_depth: float = 0.0  # of the last block; 0.1 to 0.3 in fine-tuning (Table 9)
    head_bias: float = 0.0
    checkpoint_blocks: bool = False
    channels: int = 3
    position_resize: ResizeRule = "huggingface"
    layer_norm_eps: float = LAYER_NORM_EPS

    def __post_init__(self) -> None:
        require_shape(self)
        if self.width % 4:
            raise UsageError(f"MAE's positions need a width that 4 divides, not {self.width}.")


class MaeTransformer(Network):
    """MAE's encoder with a head: what is fine-tuned.

    The class token is in the sequence either way. Its positions start as pre-training's fixed table, and learn.
    """

    config: MaeConfig

    def __init__(self, config: MaeConfig) -> None:
        super().__init__()
        self.config = config
        width, patch = config.width, config.patch_size
        self.patch_embedding = nn.Conv2d(config.channels, width, kernel_size=patch, stride=patch)
        self.class_token = nn.Parameter(torch.empty(1, 1, width))
        with torch.device("cpu"):  # on "meta" even a table would need torch's compiler
            positions = mae_sincos2d(config.grid_size, width)
        self.position_embedding = nn.Parameter(torch.empty_like(positions, device=self.class_token.device))
        self.position_embedding.data.copy_(positions)
        self.dropout = nn.Dropout(config.dropout)
        rates = drop_rates(config.stochastic_depth, config.depth)
        self.blocks = nn.ModuleList(EncoderBlock(config, rate) for rate in rates)
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.head = nn.Linear(width, config.num_classes)
        initialise(self, self.patch_embedding, self.class_token)
        nn.init.zeros_(self.head.weight)
        nn.init.constant_(self.head.bias, config.head_bias)

    def embed(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n t D"]:
        """Patches to tokens behind the class token, with positions."""
        config = self.config
        x = embed_patches(images, self.patch_embedding)
        x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], dim=1)
        grid = grid_of((images.shape[2], images.shape[3]), config.patch_size)
        positions = resize_positions(self.position_embedding, config.grid_size, grid, config.position_resize)
        return self.dropout(x + positions)

    def encode(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n t D"]:
        """Pictures to tokens, the class token first; normalised where that is what is pooled."""
        x = through(self.blocks, self.embed(images), self.config.checkpoint_blocks and self.training)
        return self.norm(x) if self.config.pool == "token" else x

    def pooled(self, tokens: Float[Tensor, "n t D"]) -> Float[Tensor, "n D"]:
        """The class token; or the patches' mean, without it, normalised ("fc_norm", section A.1)."""
        return tokens[:, 0] if self.config.pool == "token" else self.norm(tokens[:, 1:].mean(dim=1))

    @property
    def num_layers(self) -> int:
        """The embedding, the blocks, and the rest."""
        return self.config.depth + 2

    def layer_index(self, name: str) -> int:
        """0 for the embedding, 1 to L for the blocks, L + 1 for the rest."""
        return layer_of(name, self.config.depth)

    @staticmethod
    def resized(tensors: Mapping[str, Tensor], old: MaeConfig, new: MaeConfig) -> dict[str, Tensor]:
        """Positions on another grid, by the rule of `new`."""
        return resized_table("position_embedding", tensors, old, new, 1)


def initialise(model: nn.Module, patch_embedding: nn.Conv2d, class_token: nn.Parameter) -> None:
    """The authors' initial values: xavier uniform for all matrices, the patches' too, zero biases, token N(0, 0.02)."""
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    nn.init.xavier_uniform_(patch_embedding.weight.data.flatten(1))
    nn.init.normal_(class_token, std=TOKEN_STD)


VARIANTS = {
    f"MAE-{size}/{patch}": MaeConfig(patch_size=patch, **vit.SIZES[size])
    for size, patch in (("B", 16), ("L", 16), ("H", 14))
}
