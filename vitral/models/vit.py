"""The Vision Transformer of "An Image is Worth 16x16 Words" (arXiv 2010.11929), Eq. 1 to 4.

Letters used for shapes, the paper's where it has one:
    n  pictures in the batch        c  colour channels           h, w  height and width in pixels
    P  patch size in pixels         N  patches = (h / P)(w / P)   t    tokens = N, or N + 1 with a class token
    D  width of a token             L  depth                     k    attention heads      K  classes

Read it top to bottom: configuration, patches, attention, block, pooling, the whole. Dense layers and attention are
in `kernels`, position tables in `positions`, the distributions that parameters start from in `initial`, what sizes
must be in `sizes`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vitral.errors import UsageError
from vitral.models.initial import lecun_normal, xavier_uniform
from vitral.models.kernels import Dense, Gelu, attend, dense
from vitral.models.network import Network, layer_of
from vitral.models.positions import ResizeRule, resize_positions, resized_table, sincos2d
from vitral.models.sizes import Patched, PlainShape, grid_of, require_shape

LAYER_NORM_EPS = 1e-6
"""flax's default, with which the authors trained; files of the Transformers library say 1e-12."""

POSITION_STD = 0.02
"""Standard deviation of learned positions at the start, as in the authors' code."""

MLP_BIAS_STD = 1e-6
"""Standard deviation of the MLP biases at the start, as in the authors' code."""


@dataclass(frozen=True)
class ViTConfig(Patched):
    """The shape of a Vision Transformer; with its weights it is all that is needed to rebuild the model."""

    patch_size: int
    width: int
    depth: int
    mlp_dim: int
    num_heads: int
    image_size: tuple[int, int] = (224, 224)  # height, width in pixels
    num_classes: int = 1000
    representation_size: int | None = None  # width of the tanh pre-logits layer; None leaves it out
    pool: Literal["token", "gap", "map"] = "token"
    positions: Literal["learned", "sincos2d", "none"] = "learned"
    gelu: Gelu = "tanh"
    dropout: float = 0.0
    stochastic_depth: float = 0.0  # of the last block; block l has l / (L - 1) of it (arXiv 2106.10270)
    head_bias: float = 0.0
    checkpoint_blocks: bool = False
    channels: int = 3
    position_resize: ResizeRule = "google"  # how learned positions are brought to another grid
    layer_norm_eps: float = LAYER_NORM_EPS

    def __post_init__(self) -> None:
        require_shape(self)
        if self.representation_size is not None and self.representation_size < 1:
            raise UsageError(f"representation_size must be none or at least 1, not {self.representation_size}.")
        if self.positions == "sincos2d" and (self.width % 4 or self.width < 8):
            raise UsageError(f"sincos2d positions need a width that 4 divides and of at least 8, not {self.width}.")

    @property
    def prefix_tokens(self) -> int:
        """Tokens before the patches: the class token, or none."""
        return 1 if self.pool == "token" else 0


def patchify(images: Float[Tensor, "n c h w"], patch_size: int) -> Float[Tensor, "n N cPP"]:
    """x to x_p of section 3.1: patches row by row, each flattened in the order channel, row, column."""
    rows = images.unflatten(3, (-1, patch_size)).unflatten(2, (-1, patch_size))  # n c rows P columns P
    return rows.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def embed_patches(images: Float[Tensor, "n c h w"], embedding: nn.Conv2d) -> Float[Tensor, "n N D"]:
    """x_p E of Eq. 1, with a bias."""
    # The convolution as the matrix product that it is. Unlike the convolution kernels, which are chosen by batch
    # size, it gives a picture the same bits in every batch.
    assert embedding.bias is not None
    return dense(patchify(images, embedding.kernel_size[0]), embedding.weight.flatten(1), embedding.bias)


# Encoder -------------------------------------------------------------------------------------------


class SelfAttention(nn.Module):
    """Multi-head self-attention, Eq. 5 to 8 (appendix A)."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = Dense(width, 3 * width)  # rows: all of q, all of k, all of v
        self.out = Dense(width, width)

    def project(self, x: Float[Tensor, "n t D"]) -> tuple[Tensor, Tensor, Tensor]:
        """[q, k, v] = z U_qkv (Eq. 5), each [n, k, t, D / k]."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        return q, k, v

    def forward(self, x: Float[Tensor, "n t D"]) -> Float[Tensor, "n t D"]:
        # `attend` is softmax(q k^T / sqrt(D_h)) v, Eq. 6 and 7; `out` is U_msa of Eq. 8.
        return self.out(attend(*self.project(x)).transpose(1, 2).flatten(2))

    def weights(self, x: Float[Tensor, "n t D"]) -> Float[Tensor, "n k t t"]:
        """The attention matrix A of Eq. 6, for looking at: row i says where token i looks."""
        q, k, _ = self.project(x)
        return (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(dim=-1)


class Mlp(nn.Module):
    """Dense, GELU, dense; dropout after each dense layer (section B.1)."""

    def __init__(self, width: int, mlp_dim: int, gelu: Gelu, dropout: float) -> None:
        super().__init__()
        self.fc1 = Dense(width, mlp_dim)
        self.fc2 = Dense(mlp_dim, width)
        self.gelu = gelu
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "n t D"]) -> Float[Tensor, "n t D"]:
        return self.dropout(self.fc2(self.dropout(self.fc1(x, self.gelu))))


class StochasticDepth(nn.Module):
    """Drop a residual branch for a whole picture with probability `rate`, and rescale the ones that stay."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Float[Tensor, "n t D"]) -> Float[Tensor, "n t D"]:
        if not self.training or self.rate == 0:
            return x
        keep = x.new_empty(x.shape[0], 1, 1).bernoulli_(1 - self.rate)
        return x * keep / (1 - self.rate)


class EncoderBlock(nn.Module):
    """Pre-norm encoder block: Eq. 2 and 3."""

    def __init__(self, config: PlainShape, drop_rate: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width, eps=config.layer_norm_eps)
        self.attention = SelfAttention(config.width, config.num_heads)
        self.norm2 = nn.LayerNorm(config.width, eps=config.layer_norm_eps)
        self.mlp = Mlp(config.width, config.mlp_dim, config.gelu, config.dropout)
        self.dropout = nn.Dropout(config.dropout)
        self.drop_branch = StochasticDepth(drop_rate)

    def forward(self, x: Float[Tensor, "n t D"]) -> Float[Tensor, "n t D"]:
        x = x + self.drop_branch(self.dropout(self.attention(self.norm1(x))))  # Eq. 2
        return x + self.drop_branch(self.mlp(self.norm2(x)))  # Eq. 3


def drop_rates(largest: float, depth: int) -> list[float]:
    """Stochastic depth of each block: block l of L has l / (L - 1) of the largest (arXiv 2106.10270)."""
    return [largest * i / max(1, depth - 1) for i in range(depth)]


def through(blocks: Iterable[nn.Module], x: Float[Tensor, "n t D"], recompute: bool) -> Float[Tensor, "n t D"]:
    """Tokens through all blocks; `recompute` makes each block anew in the backward pass, to save memory."""
    for block in blocks:
        x = checkpoint(block, x, use_reentrant=False) if recompute else block(x)
    return x


class AttentionPool(nn.Module):
    """Multi-head attention pooling ("MAP", arXiv 2106.04560): one learned query looks at all tokens."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.probe = nn.Parameter(torch.empty(1, 1, config.width))
        self.q = nn.Linear(config.width, config.width)
        self.kv = nn.Linear(config.width, 2 * config.width)
        self.out = nn.Linear(config.width, config.width)
        self.norm = nn.LayerNorm(config.width, eps=config.layer_norm_eps)
        self.mlp = Mlp(config.width, config.mlp_dim, config.gelu, 0.0)

    def forward(self, x: Float[Tensor, "n t D"]) -> Float[Tensor, "n D"]:
        q = self.q(self.probe.expand(x.shape[0], -1, -1)).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        k, v = self.kv(x).unflatten(-1, (2, self.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        pooled = self.out(attend(q, k, v).transpose(1, 2).flatten(2))
        return (pooled + self.mlp(self.norm(pooled)))[:, 0]


# The whole -----------------------------------------------------------------------------------------


class VisionTransformer(Network):
    """Pictures in, class scores out: `forward` is `head(pooled(encode(images)))`.

    Pictures of another size than `config.image_size` are welcome as long as the patch size divides them: learned
    positions are interpolated on the way.
    """

    config: ViTConfig

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.config = config
        grid, width = config.grid_size, config.width
        patch = config.patch_size
        self.patch_embedding = nn.Conv2d(config.channels, width, kernel_size=patch, stride=patch)
        if config.pool == "token":
            self.class_token = nn.Parameter(torch.empty(1, 1, width))
        if config.positions == "learned":
            rows = config.prefix_tokens + grid[0] * grid[1]
            self.position_embedding = nn.Parameter(torch.empty(1, rows, width))
        self.dropout = nn.Dropout(config.dropout)
        rates = drop_rates(config.stochastic_depth, config.depth)
        self.blocks = nn.ModuleList(EncoderBlock(config, rate) for rate in rates)
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        if config.pool == "map":
            self.attention_pool = AttentionPool(config)
        if config.representation_size is not None:
            self.pre_logits = nn.Linear(width, config.representation_size)
        self.head = nn.Linear(config.representation_size or width, config.num_classes)
        initialise(self)

    def embed(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n t D"]:
        """Patches to tokens with positions: Eq. 1."""
        grid = grid_of((images.shape[2], images.shape[3]), self.config.patch_size)
        return self.placed(embed_patches(images, self.patch_embedding), grid)

    def placed(self, x: Float[Tensor, "n N D"], grid: tuple[int, int]) -> Float[Tensor, "n t D"]:
        """Embedded patches, of so many rows and columns, with the class token and positions."""
        if self.config.positions == "sincos2d":  # the class token has no position here (arXiv 2205.01580)
            x = x + sincos2d(grid, self.config.width).to(x)
        if self.config.pool == "token":
            x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], dim=1)
        if self.config.positions == "learned":
            x = x + resize_positions(self.position_embedding, self.config.grid_size, grid, self.config.position_resize)
        return self.dropout(x)

    def encode(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n t D"]:
        """The encoder's normalised output, class token first where there is one."""
        x = through(self.blocks, self.embed(images), self.config.checkpoint_blocks and self.training)
        return self.norm(x)

    def pooled(self, tokens: Float[Tensor, "n t D"]) -> Float[Tensor, "n R"]:
        """One vector per picture: y of Eq. 4, then the tanh pre-logits layer where there is one."""
        if self.config.pool == "map":
            y = self.attention_pool(tokens)
        else:
            y = tokens[:, 0] if self.config.pool == "token" else tokens.mean(dim=1)
        return y if self.config.representation_size is None else torch.tanh(self.pre_logits(y))

    @property
    def num_layers(self) -> int:
        """The embedding, the blocks, and the rest."""
        return self.config.depth + 2

    def layer_index(self, name: str) -> int:
        """0 for the embedding, 1 to L for the blocks, L + 1 for the rest."""
        return layer_of(name, self.config.depth)

    @staticmethod
    def resized(tensors: Mapping[str, Tensor], old: ViTConfig, new: ViTConfig) -> dict[str, Tensor]:
        """Learned positions on another grid, by the rule of `new`."""
        return resized_table("position_embedding", tensors, old, new, old.prefix_tokens)


# Initial values ------------------------------------------------------------------------------------


def initialise(model: VisionTransformer) -> None:
    """Give every parameter the authors' initial distribution.

    patch embedding, pre_logits   lecun normal, bias 0      class token    0
    q, k, v, out                  xavier uniform, bias 0    positions      normal, std 0.02
    MLP                           xavier uniform, bias N(0, 1e-6)
    LayerNorm                     weight 1, bias 0          MAP probe      xavier uniform
    head                          weight 0, bias `head_bias`
    """
    lecun_normal(model.patch_embedding)
    for module in model.modules():
        if isinstance(module, SelfAttention):
            xavier_uniform(module.qkv, parts=3)
            xavier_uniform(module.out)
        elif isinstance(module, AttentionPool):
            xavier_uniform(module.q)
            xavier_uniform(module.kv, parts=2)
            xavier_uniform(module.out)
            nn.init.xavier_uniform_(module.probe.data[0])  # fan in 1, fan out D: flax's view of [1, 1, D]
        elif isinstance(module, Mlp):
            for layer in (module.fc1, module.fc2):
                xavier_uniform(layer)
                nn.init.normal_(layer.bias, std=MLP_BIAS_STD)
    if model.config.pool == "token":
        nn.init.zeros_(model.class_token)
    if model.config.positions == "learned":
        nn.init.normal_(model.position_embedding, std=POSITION_STD)
    if model.config.representation_size is not None:
        lecun_normal(model.pre_logits)
    nn.init.zeros_(model.head.weight)
    nn.init.constant_(model.head.bias, model.config.head_bias)


# Variants ------------------------------------------------------------------------------------------

SIZES: dict[str, dict[str, Any]] = {
    # Table 1 of the paper, DeiT's Ti and S, and big_vision's larger ones (arXiv 2106.04560, 2305.13035)
    "mu": {"width": 32, "depth": 1, "mlp_dim": 128, "num_heads": 2},
    "Ti": {"width": 192, "depth": 12, "mlp_dim": 768, "num_heads": 3},
    "S": {"width": 384, "depth": 12, "mlp_dim": 1536, "num_heads": 6},
    "M": {"width": 512, "depth": 12, "mlp_dim": 2048, "num_heads": 8},
    "B": {"width": 768, "depth": 12, "mlp_dim": 3072, "num_heads": 12},
    "L": {"width": 1024, "depth": 24, "mlp_dim": 4096, "num_heads": 16},
    "So400m": {"width": 1152, "depth": 27, "mlp_dim": 4304, "num_heads": 16},
    "H": {"width": 1280, "depth": 32, "mlp_dim": 5120, "num_heads": 16},
    "g": {"width": 1408, "depth": 40, "mlp_dim": 6144, "num_heads": 16},
    "G": {"width": 1664, "depth": 48, "mlp_dim": 8192, "num_heads": 16},
}

NAMES = (
    "ViT-Ti/16", "ViT-S/16", "ViT-S/32", "ViT-B/8", "ViT-B/16", "ViT-B/32", "ViT-L/16", "ViT-L/32", "ViT-H/14",
    "ViT-So400m/14", "ViT-g/14", "ViT-G/14",
)  # fmt: skip

VARIANTS = {
    name: ViTConfig(patch_size=int(name.split("/")[1]), **SIZES[name.split("/")[0].removeprefix("ViT-")])
    for name in NAMES
}
