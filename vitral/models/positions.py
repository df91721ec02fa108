"""Where a patch stands: tables that are added to the tokens, and their interpolation to another grid.

Letters as in `vitral.models.vit`: N patches, t or u tokens, D width of a token.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def sincos2d(grid_size: tuple[int, int], width: int) -> Float[Tensor, "1 N D"]:
    """Fixed two-dimensional positions as in MoCo v3 and arXiv 2205.01580: sin x, cos x, sin y, cos y."""
    y, x = torch.meshgrid(*(torch.arange(side, dtype=torch.float64) for side in grid_size), indexing="ij")
    omega = 1 / 10_000 ** (torch.arange(width // 4, dtype=torch.float64) / (width // 4 - 1))
    angle_x, angle_y = x.flatten()[:, None] * omega, y.flatten()[:, None] * omega
    table = torch.cat([angle_x.sin(), angle_x.cos(), angle_y.sin(), angle_y.cos()], dim=1)
    return table.to(torch.float32)[None]


def resize_positions(
    positions: Float[Tensor, "1 t D"], old: tuple[int, int], new: tuple[int, int]
) -> Float[Tensor, "1 u D"]:
    """Interpolate learned positions to another grid (section 3.2 of the paper).

    Bilinear with the corners aligned, as `scipy.ndimage.zoom(order=1)` in the authors' code. Rows before the
    grid (the class token's) are kept as they are; how many there are is counted, t - old[0] old[1].
    """
    if old == new:
        return positions
    prefix = positions.shape[1] - old[0] * old[1]
    grid = positions[:, prefix:].unflatten(1, old).permute(0, 3, 1, 2)
    exact = grid.to(torch.float32 if grid.device.type == "mps" else torch.float64)
    grid = F.interpolate(exact, size=new, mode="bilinear", align_corners=True)
    grid = grid.permute(0, 2, 3, 1).flatten(1, 2).to(positions.dtype)
    return torch.cat([positions[:, :prefix], grid], dim=1)
