"""Where a patch stands: tables that are added to the tokens, and their interpolation to another grid.

Letters as in `vitral.models.vit`: N patches, t or u tokens, D width of a token; and p tables, for most networks one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vitral.errors import DataError


def sincos2d(grid_size: tuple[int, int], width: int) -> Float[Tensor, "1 N D"]:
    """Fixed two-dimensional positions as in MoCo v3 and arXiv 2205.01580: sin x, cos x, sin y, cos y."""
    return _sincos2d(grid_size, width, width // 4 - 1).to(torch.float32)[None]


def mae_sincos2d(grid_size: tuple[int, int], width: int) -> Float[Tensor, "1 t D"]:
    """The fixed positions of MAE's code (arXiv 2111.06377): as `sincos2d` with frequencies that end one step
    earlier, after a row of zeros for the class token."""
    table = _sincos2d(grid_size, width, width // 4)
    return torch.cat([table.new_zeros(1, width), table]).to(torch.float32)[None]


def _sincos2d(grid_size: tuple[int, int], width: int, steps: int) -> Float[Tensor, "N D"]:
    """In double precision, with frequencies 10,000^(-k / steps)."""
    y, x = torch.meshgrid(*(torch.arange(side, dtype=torch.float64) for side in grid_size), indexing="ij")
    omega = 1 / 10_000 ** (torch.arange(width // 4, dtype=torch.float64) / steps)
    angle_x, angle_y = x.flatten()[:, None] * omega, y.flatten()[:, None] * omega
    return torch.cat([angle_x.sin(), angle_x.cos(), angle_y.sin(), angle_y.cos()], dim=1)


ResizeRule = Literal["google", "timm", "timm-npz", "huggingface", "torchvision", "dinov2"]
"""Whose interpolation brings learned positions to another grid. They differ by up to a quarter of the table's norm."""

RESIZE: dict[str, dict[str, Any]] = {
    # Bilinear with the corners aligned, as scipy.ndimage.zoom(order=1) in the authors' code (section 3.2).
    "google": {"mode": "bilinear", "align_corners": True},
    "timm": {"mode": "bicubic", "align_corners": False, "antialias": True},
    "timm-npz": {"mode": "bilinear", "align_corners": False},  # what timm does with the authors' files
    "huggingface": {"mode": "bicubic", "align_corners": False},  # DeiT's and MAE's code too
    "torchvision": {"mode": "bicubic", "align_corners": True},
    "dinov2": {"mode": "bicubic", "align_corners": False},  # stretched by a tenth of a patch more, see below
}
"""Each rule as arguments of `torch.nn.functional.interpolate`."""

DINOV2_OFFSET = 0.1
"""Patches that DINOv2's code adds to the new grid's sides before it works out the scale: its files without registers
were made with it."""


def resize_positions(
    positions: Float[Tensor, "p t D"], old: tuple[int, int], new: tuple[int, int], rule: ResizeRule = "google"
) -> Float[Tensor, "p u D"]:
    """Interpolate learned positions to another grid (section 3.2 of the paper), by one of `RESIZE`.

    Rows before the grid (the class token's) are kept as they are; how many there are is counted,
    t - old[0] old[1].
    """
    if old == new:
        return positions
    prefix = positions.shape[1] - old[0] * old[1]
    grid = positions[:, prefix:].unflatten(1, old).permute(0, 3, 1, 2)
    # In double precision, so that no processor rounds it differently; the peers' rules as they compute them.
    exact = rule == "google" and grid.device.type != "mps"
    scale = tuple((to + DINOV2_OFFSET) / side for to, side in zip(new, old, strict=True))
    to_size: dict[str, Any] = {"scale_factor": scale} if rule == "dinov2" else {"size": new}
    grid = F.interpolate(grid.to(torch.float64 if exact else torch.float32), **to_size, **RESIZE[rule])
    grid = grid.permute(0, 2, 3, 1).flatten(1, 2).to(positions.dtype)
    return torch.cat([positions[:, :prefix], grid], dim=1)


@runtime_checkable  # the shape checks of the tests ask
class OnGrid(Protocol):
    """A configuration whose positions lie on a grid."""

    @property
    def image_size(self) -> tuple[int, int]: ...

    @property
    def grid_size(self) -> tuple[int, int]: ...

    @property
    def position_resize(self) -> ResizeRule: ...


def resized_table(name: str, tensors: Mapping[str, Tensor], old: OnGrid, new: OnGrid, prefix: int) -> dict[str, Tensor]:
    """`{name: tensors[name] on the grid of new}`, or nothing where there is nothing to do.

    Args:
        prefix: rows before the grid's.

    Raises:
        DataError: the table has not the rows that `old` makes.
    """
    if name not in tensors or old.grid_size == new.grid_size:
        return {}
    require_positions("positions", tensors[name].shape[1], prefix + old.grid_size[0] * old.grid_size[1], old)
    return {name: resize_positions(tensors[name], old.grid_size, new.grid_size, new.position_resize)}


def require_positions(what: str, found: int, wanted: int, config: OnGrid) -> None:
    """Refuse, with a `DataError`, weights whose positions are not as many as the image size of `config` makes."""
    if found != wanted:
        raise DataError(
            f"the weights have {found} {what} where image size {config.image_size[0]}x{config.image_size[1]} makes "
            f"{wanted}: config.json is wrong."
        )
