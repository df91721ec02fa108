"""What the sizes of transformers of patches must be, and what follows from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from vitral.errors import UsageError
from vitral.models.kernels import Gelu


class Patched:
    """What a configuration says where pictures are cut into square patches."""

    image_size: tuple[int, int]  # height, width in pixels
    patch_size: int

    @property
    def grid_size(self) -> tuple[int, int]:
        """Rows and columns of patches at `image_size`."""
        return grid_of(self.image_size, self.patch_size)

    @property
    def stride(self) -> int:
        """Pixels, each way, for one token."""
        return self.patch_size


@runtime_checkable  # the shape checks of the tests ask
class BlockShape(Protocol):
    """What a configuration says of its encoder blocks, plain or scaled."""

    @property
    def width(self) -> int: ...

    @property
    def num_heads(self) -> int: ...

    @property
    def mlp_dim(self) -> int: ...

    @property
    def gelu(self) -> Gelu: ...

    @property
    def dropout(self) -> float: ...


@runtime_checkable
class PlainShape(BlockShape, Protocol):
    """What a configuration says of the blocks of a plain ViT."""

    @property
    def layer_norm_eps(self) -> float: ...


def require_shape(config: Any) -> None:
    """Refuse, with a `UsageError`, sizes that make no ViT; `config` has the fields that all of them share."""
    require_positive(config, ("patch_size", "width", "depth", "mlp_dim", "num_heads", "num_classes", "channels"))
    require_heads(config.width, config.num_heads)
    require_rates(config)
    if hasattr(config, "layer_norm_eps") and not 0 < config.layer_norm_eps < 1:
        raise UsageError(f"layer_norm_eps must be more than 0 and below 1, not {config.layer_norm_eps}.")
    _ = config.grid_size  # refuses a size that cannot be cut into patches


def require_positive(config: Any, names: Sequence[str]) -> None:
    """Refuse those of the fields that are not at least 1."""
    for name in names:
        if getattr(config, name) < 1:
            raise UsageError(f"{name} must be at least 1, not {getattr(config, name)}.")


def require_heads(width: int, num_heads: int) -> None:
    """Refuse a width that the heads do not divide."""
    if width % num_heads:
        raise UsageError(f"width {width} cannot be split into {num_heads} heads: choose a multiple.")


def require_rates(config: Any, names: Sequence[str] = ("dropout", "stochastic_depth")) -> None:
    """Refuse those of the fields that are no share of what is dropped."""
    for name in names:
        if not 0 <= getattr(config, name) < 1:
            raise UsageError(f"{name} must be at least 0 and below 1, not {getattr(config, name)}.")


def grid_of(image_size: tuple[int, int], patch_size: int) -> tuple[int, int]:
    """Rows and columns of patches; raises `UsageError` where the patch size does not divide the picture."""
    height, width = image_size
    if height < patch_size or width < patch_size or height % patch_size or width % patch_size:
        nearest = [max(patch_size, round(side / patch_size) * patch_size) for side in image_size]
        raise UsageError(
            f"image size {height}x{width} is not divisible by patch size {patch_size}: "
            f"the nearest that is, is {nearest[0]}x{nearest[1]}."
        )
    return height // patch_size, width // patch_size
