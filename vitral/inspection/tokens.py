"""Which token stands for which place of the picture, and what the head reads.

Letters: n pictures, t tokens, p tokens before the patches (class token, DeiT's distillation token, registers),
y and x rows and columns of the grid of patches, t = p + y x.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from vitral.errors import UsageError
from vitral.models import Network
from vitral.models.deit import PREFIX, DistilledConfig
from vitral.models.vit import AttentionPool

Grid = tuple[int, int]


def grid_of(network: Network, images: Tensor) -> Grid:
    """Rows and columns of the network's deepest features for pictures [n, c, h, w]."""
    stride = network.config.stride
    return math.ceil(images.shape[2] / stride), math.ceil(images.shape[3] / stride)


def prefix_of(tokens: int, grid: Grid) -> int:
    """How many of the tokens stand before the patches."""
    prefix = tokens - grid[0] * grid[1]
    if prefix < 0:
        raise UsageError(f"{tokens} tokens do not lie on a grid of {grid[0]}x{grid[1]}: look with occlusion.")
    return prefix


def read_by_head(network: Network, encoded: Tensor, grid: Grid) -> Tensor:
    """How much of the head's input comes from each token: [n, t], rows sum to 1.

    The class token where that is pooled; the mean of DeiT's two; the mean of the patches; for attention pooling
    ("MAP") what its query looks at, as the mean over heads; half and half where the class token and the patches' mean
    stand side by side.

    Args:
        encoded: the network's normalised tokens [n, t, D].
    """
    n, t, _ = encoded.shape
    prefix = prefix_of(t, grid)
    first = torch.zeros(n, t, device=encoded.device)
    first[:, 0] = 1
    patches = torch.zeros(n, t, device=encoded.device)
    patches[:, prefix:] = 1 / (t - prefix)
    config: Any = network.config
    if isinstance(config, DistilledConfig):
        if config.teacher:
            first[:, :PREFIX] = 1 / PREFIX
        return first
    pool = getattr(config, "pool", "gap")  # BEiT's too: the patches' mean
    if pool == "map":
        return _looked_at(network.get_submodule("attention_pool"), encoded)
    if pool == "token_mean":
        return (first + patches) / 2
    return first if pool == "token" else patches


def _looked_at(pool: Any, encoded: Tensor) -> Tensor:
    """What the query of attention pooling looks at, as the mean over heads: [n, t]."""
    assert isinstance(pool, AttentionPool)
    q = pool.q(pool.probe).unflatten(-1, (pool.num_heads, -1)).transpose(1, 2)
    k = pool.kv(encoded).unflatten(-1, (2, pool.num_heads, -1))[:, :, 0].transpose(1, 2)
    return (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(dim=-1).mean(dim=1)[:, 0]


def on_grid(tokens: Tensor, grid: Grid) -> Tensor:
    """Values of tokens [..., t] without those before the patches, on the grid: [..., y, x]."""
    prefix = prefix_of(tokens.shape[-1], grid)
    return tokens[..., prefix:].unflatten(-1, grid)
