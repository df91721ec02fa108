"""DeiT's distilled Vision Transformer (arXiv 2012.12877): a second token, with its own head, learns from a teacher.

Letters as in `vitral.models.vit`; t = N + 2 tokens: class, distillation, patches. DeiT without the distillation token
is the plain ViT with the exact GELU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitral.models import vit
from vitral.models.initial import normal_dense
from vitral.models.kernels import Gelu
from vitral.models.network import Network, layer_of
from vitral.models.positions import ResizeRule, resize_positions, resized_table
from vitral.models.sizes import Patched, grid_of, require_shape
from vitral.models.vit import LAYER_NORM_EPS, POSITION_STD, EncoderBlock, drop_rates, embed_patches, through

PREFIX = 2
"""Tokens before the patches: class and distillation."""


@dataclass(frozen=True)
class DistilledConfig(Patched):
    """The shape of a distilled Vision Transformer."""

    patch_size: int
    width: int
    depth: int
    mlp_dim: int
    num_heads: int
    image_size: tuple[int, int] = (224, 224)  # height, width in pixels
    num_classes: int = 1000
    gelu: Gelu = "exact"
    dropout: float = 0.0
    stochastic_depth: float = 0.0  # of the last block; 0.1 in the paper's recipe (Table 9)
    head_bias: float = 0.0
    checkpoint_blocks: bool = False
    channels: int = 3
    position_resize: ResizeRule = "huggingface"  # bicubic, as the authors fine-tune at 384 (section 3)
    layer_norm_eps: float = LAYER_NORM_EPS
    teacher: bool = True  # whether the distillation token has a head; without, it only takes part in attention

    def __post_init__(self) -> None:
        require_shape(self)


class DistilledVisionTransformer(Network):
    """Pictures in, class scores out: the mean of what the class token's head and the distillation token's say.

    Section 4 adds the two heads' softmax; the authors' code averages their scores, and so does `forward`, in training
    as well: the plain losses teach both heads at once. A distillation loss asks `both_scores`.
    """

    config: DistilledConfig
    HEADS: tuple[str, ...] = ("head", "distillation_head")  # type: ignore[misc] # of one with a single head, the first

    def __init__(self, config: DistilledConfig) -> None:
        super().__init__()
        self.config = config
        self.HEADS = type(self).HEADS if config.teacher else ("head",)
        width, patch = config.width, config.patch_size
        self.patch_embedding = nn.Conv2d(config.channels, width, kernel_size=patch, stride=patch)
        self.class_token = nn.Parameter(torch.empty(1, 1, width))
        self.distillation_token = nn.Parameter(torch.empty(1, 1, width))
        rows = PREFIX + config.grid_size[0] * config.grid_size[1]
        self.position_embedding = nn.Parameter(torch.empty(1, rows, width))
        self.dropout = nn.Dropout(config.dropout)
        rates = drop_rates(config.stochastic_depth, config.depth)
        self.blocks = nn.ModuleList(EncoderBlock(config, rate) for rate in rates)
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.head = nn.Linear(width, config.num_classes)
        if config.teacher:
            self.distillation_head = nn.Linear(width, config.num_classes)
        initialise(self)

    def embed(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n t D"]:
        """Patches to tokens, the two learned ones before them, each with its position."""
        config = self.config
        x = embed_patches(images, self.patch_embedding)
        prefix = torch.cat([self.class_token, self.distillation_token], dim=1)
        x = torch.cat([prefix.expand(x.shape[0], -1, -1), x], dim=1)
        grid = grid_of((images.shape[2], images.shape[3]), config.patch_size)
        positions = resize_positions(self.position_embedding, config.grid_size, grid, config.position_resize)
        return self.dropout(x + positions)

    def encode(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n t D"]:
        """Pictures to normalised tokens, the class token first, the distillation token second."""
        x = through(self.blocks, self.embed(images), self.config.checkpoint_blocks and self.training)
        return self.norm(x)

    def pooled(self, tokens: Float[Tensor, "n t D"]) -> Float[Tensor, "n D"]:
        """The mean of the two tokens that the heads see; the class token, where it alone has a head."""
        return tokens[:, :PREFIX].mean(dim=1) if self.config.teacher else tokens[:, 0]

    def both_scores(self, tokens: Float[Tensor, "n t D"]) -> tuple[Float[Tensor, "n K"], Float[Tensor, "n K"]]:
        """Scores of the class token's head, which learns from labels, and of the other's, from the teacher (Fig. 2)."""
        return self.head(tokens[:, 0]), self.distillation_head(tokens[:, 1])

    def classify(self, tokens: Float[Tensor, "n t D"]) -> Float[Tensor, "n K"]:
        """The mean of both heads' scores."""
        if not self.config.teacher:
            return self.head(tokens[:, 0])
        labels, teacher = self.both_scores(tokens)
        return (labels + teacher) / 2

    @property
    def num_layers(self) -> int:
        """The embedding, the blocks, and the rest."""
        return self.config.depth + 2

    def layer_index(self, name: str) -> int:
        """0 for the embedding, 1 to L for the blocks, L + 1 for the rest."""
        return layer_of(name, self.config.depth)

    @staticmethod
    def resized(tensors: Mapping[str, Tensor], old: DistilledConfig, new: DistilledConfig) -> dict[str, Tensor]:
        """Positions on another grid, by the rule of `new`."""
        return resized_table("position_embedding", tensors, old, new, PREFIX)


def initialise(model: DistilledVisionTransformer) -> None:
    """The authors' initial values: normal of std 0.02 for dense layers, tokens and positions; zero biases and heads."""
    normal_dense(model)
    for table in (model.class_token, model.distillation_token, model.position_embedding):
        nn.init.normal_(table, std=POSITION_STD)
    for name in model.HEADS:
        nn.init.zeros_(model.get_parameter(f"{name}.weight"))
        nn.init.constant_(model.get_parameter(f"{name}.bias"), model.config.head_bias)


VARIANTS = {f"DeiT-{size}-distilled/16": DistilledConfig(patch_size=16, **vit.SIZES[size]) for size in ("Ti", "S", "B")}
