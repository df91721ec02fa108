"""The position embeddings that the paper compares (arXiv 2010.11929, section D.4 and Table 8).

learned      one vector for each token, in the order of the rows ("1-D", the paper's choice)
learned2d    one for each row and one for each column, of D / 2 numbers each, put one behind the other
relative     keys for the distance i - j of two tokens in that order; what a query says of them is added to its
             attention logits. They are in every layer.
sincos2d     fixed, see `positions`
none         a bag of patches

They are added behind the stem, at the input of every layer (a table for each), or there with one table for all.

Letters as in `vitral.models.vit`, and: p tables, a number of tokens along an axis, o = 2t - 1 distances.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vitral.errors import UsageError
from vitral.models.kernels import attend
from vitral.models.positions import require_positions, resize_positions, resized_table, sincos2d
from vitral.models.sizes import grid_of
from vitral.models.vit import (
    POSITION_STD,
    SelfAttention,
    VisionTransformer,
    ViTConfig,
    embed_patches,
    initialise,
    through,
)

OWN_KINDS = ("learned2d", "relative")
"""Kinds of positions that only this family has."""


@dataclass(frozen=True)
class PositionedConfig(ViTConfig):
    """The shape of a Vision Transformer with any of the positions above, at any of the places."""

    positions: Literal["learned", "learned2d", "relative", "sincos2d", "none"] = "learned"  # type: ignore[assignment]
    positions_at: Literal["stem", "every", "shared"] = "stem"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.positions == "learned2d" and self.width % 2:
            raise UsageError(f"learned2d positions need an even width, not {self.width}.")
        if self.positions in ("relative", "none") and self.positions_at != "stem":
            raise UsageError(
                f"positions {self.positions} have no place to choose: leave positions_at {self.positions_at} out."
            )

    @property
    def tables(self) -> int:
        """Tables of positions that are learned."""
        return self.depth if self.positions_at == "every" else 1


def like(config: Any) -> PositionedConfig:
    """A plain ViT's shape in this family.

    Raises:
        UsageError: it is another network's.
    """
    if type(config) not in (ViTConfig, PositionedConfig):
        family = type(config).__name__.removesuffix("Config")
        raise UsageError(
            f"positions learned2d and relative, and --model.positions-at, are for plain ViTs, not for {family}: name "
            "one with --model, like ViT-Ti/16."
        )
    return PositionedConfig(**{f.name: getattr(config, f.name) for f in fields(config)})


class RelativeAttention(SelfAttention):
    """Self-attention in which a query also looks at how far away a key is."""

    def __init__(self, width: int, num_heads: int, tokens: int) -> None:
        super().__init__(width, num_heads)
        self.relative_keys = nn.Parameter(torch.empty(num_heads, 2 * tokens - 1, width // num_heads))

    def logits_by_distance(self, q: Float[Tensor, "n k t d"]) -> Float[Tensor, "n k t t"]:
        """q_i r_(i - j) / sqrt(D_h), to be added to those of the contents."""
        n, k, t, _ = q.shape
        if 2 * t - 1 != self.relative_keys.shape[1]:
            raise UsageError(
                f"relative positions are learned for one image size, of {(self.relative_keys.shape[1] + 1) // 2} "
                f"tokens, and these are {t}: bring the pictures to the model's own size."
            )
        by_distance = q @ self.relative_keys.transpose(-2, -1) / math.sqrt(q.shape[-1])  # n k t o
        at = torch.arange(t, device=q.device)
        distance = at[:, None] - at + t - 1
        return by_distance.gather(-1, distance.expand(n, k, t, t))

    def forward(self, x: Float[Tensor, "n t D"]) -> Float[Tensor, "n t D"]:
        q, k, v = self.project(x)
        return self.out(attend(q, k, v, self.logits_by_distance(q)).transpose(1, 2).flatten(2))

    def weights(self, x: Float[Tensor, "n t D"]) -> Float[Tensor, "n k t t"]:
        """The attention matrix."""
        q, k, _ = self.project(x)
        contents = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        return (contents + self.logits_by_distance(q)).softmax(dim=-1)


class PositionedTransformer(VisionTransformer):
    """`VisionTransformer` with other positions."""

    config: PositionedConfig

    def __init__(self, config: PositionedConfig) -> None:
        super().__init__(config)
        (rows, columns), tables, prefix = config.grid_size, config.tables, config.prefix_tokens
        if config.positions == "learned":
            self.position_embedding = nn.Parameter(torch.empty(tables, prefix + rows * columns, config.width))
        elif config.positions == "learned2d":
            self.position_rows = nn.Parameter(torch.empty(tables, rows, config.width // 2))
            self.position_columns = nn.Parameter(torch.empty(tables, columns, config.width // 2))
            if prefix:
                self.position_class = nn.Parameter(torch.empty(tables, prefix, config.width))
        elif config.positions == "relative":
            for block in self.blocks:
                block.attention = RelativeAttention(config.width, config.num_heads, prefix + rows * columns)
        initialise(self)
        for name, parameter in self.named_parameters():
            if name.startswith("position_") or name.endswith("relative_keys"):
                nn.init.normal_(parameter, std=POSITION_STD)

    def position_tables(self, grid: tuple[int, int]) -> Float[Tensor, "p t D"] | None:
        """What is added to the tokens, one table or one for each layer; `None` where nothing is."""
        config = self.config
        if config.positions == "learned":
            return resize_positions(self.position_embedding, config.grid_size, grid, config.position_resize)
        if config.positions == "learned2d":
            down = _along(self.position_rows, grid[0])[:, :, None].expand(-1, -1, grid[1], -1)
            across = _along(self.position_columns, grid[1])[:, None].expand(-1, grid[0], -1, -1)
            table = torch.cat([across, down], dim=3).flatten(1, 2)
            return torch.cat([self.position_class, table], dim=1) if config.prefix_tokens else table
        if config.positions == "sincos2d":
            return F.pad(sincos2d(grid, config.width).to(self.head.weight), (0, 0, config.prefix_tokens, 0))
        return None

    def embed(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n t D"]:
        """Patches to tokens: Eq. 1, with positions if they are added here."""
        x = embed_patches(images, self.patch_embedding)
        if self.config.pool == "token":
            x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], dim=1)
        if self.config.positions_at == "stem":
            table = self.position_tables(self._grid(images))
            x = x if table is None else x + table
        return self.dropout(x)

    def encode(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n t D"]:
        """The encoder's normalised output, class token first where there is one."""
        if self.config.positions_at == "stem":
            return super().encode(images)
        x = self.embed(images)
        tables = self.position_tables(self._grid(images))
        assert tables is not None
        for i, block in enumerate(self.blocks):
            x = through([block], x + tables[i % len(tables)], self.config.checkpoint_blocks and self.training)
        return self.norm(x)

    def _grid(self, images: Float[Tensor, "n c h w"]) -> tuple[int, int]:
        return grid_of((images.shape[2], images.shape[3]), self.config.patch_size)

    def layer_index(self, name: str) -> int:
        """0 for the embedding and the positions, 1 to L for the blocks, L + 1 for the rest."""
        return 0 if name.startswith("position_") else super().layer_index(name)

    @staticmethod
    def resized(tensors: Mapping[str, Tensor], old: Any, new: Any) -> dict[str, Tensor]:
        """Positions of each table on another grid, by the rule of `new`; relative ones cannot be brought there."""
        if old.grid_size == new.grid_size:
            return {}
        if old.positions == "relative":
            raise UsageError(
                f"relative positions are learned for one image size, {old.image_size[0]}x{old.image_size[1]}: leave "
                "--image-size out."
            )
        made = resized_table("position_embedding", tensors, old, new, old.prefix_tokens)
        for name, before, after in zip(
            ("position_rows", "position_columns"), old.grid_size, new.grid_size, strict=True
        ):
            if name in tensors:
                require_positions(name, tensors[name].shape[1], before, old)
                made[name] = _along(tensors[name], after).contiguous()
        return made


def _along(tables: Float[Tensor, "p a H"], side: int) -> Float[Tensor, "p b H"]:
    """An axis at another length: linearly between its ends, as the rule "google" does in two dimensions."""
    if tables.shape[1] == side:
        return tables
    return F.interpolate(tables.transpose(1, 2), size=side, mode="linear", align_corners=True).transpose(1, 2)
