"""The arrays of a JAX checkpoint: a tree whose branches are joined by "/", of which the model is one part."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from vitral.errors import DataError
from vitral.weights.stored import Stored

PREFIXES = ("", "opt/target/", "params/", "params/img/", "img/")
"""Where the model may stand: alone, beside an optimizer of flax or optax, or as the tower for images."""

OPTIMIZER = re.compile(
    r"(opt|optimizer|opt_state|state|states|chrono)/|.*/(momentum|grad_ema|grad_sq_ema|mu|nu)$|(.*/)?(step|count)$"
)
TEXT = re.compile(r"(params/)?(txt/.*|t|b)")


@dataclass(frozen=True)
class Tree:
    """The part of a file that stands below `prefix`, by names without it."""

    stored: Stored
    prefix: str

    def __contains__(self, name: object) -> bool:
        return f"{self.prefix}{name}" in self.stored.shapes

    @property
    def names(self) -> list[str]:
        """All that stand there."""
        return [name[len(self.prefix) :] for name in self.stored.shapes if name.startswith(self.prefix)]

    def shape(self, name: str, dimensions: int) -> tuple[int, ...]:
        """The shape of an array that must be there.

        Raises:
            DataError: it is not, or has not so many dimensions.
        """
        shape = self.stored.shapes.get(f"{self.prefix}{name}")
        if shape is None:
            raise DataError(f"it has no {self.prefix}{name}: it is not whole, copy or download it again.")
        if len(shape) != dimensions:
            raise DataError(
                f"{self.prefix}{name} has shape {list(shape)}, where {dimensions} dimensions were expected."
            )
        return shape

    def left_out(self) -> dict[str, str]:
        """What stands beside the model, with the reasons; what has none is not among it."""
        found = {}
        for name in self.stored.shapes:
            if name.startswith(self.prefix) and not (self.prefix == "" and OPTIMIZER.match(name)):
                continue
            if OPTIMIZER.match(name):
                found[name] = "state of the training, which goes on from other steps here"
            elif TEXT.fullmatch(name):
                found[name] = "of the model for texts that was trained along"
        return found


def count(tree: Tree, pattern: str) -> int:
    """How many numbers fill the group of `pattern` among the names, without a gap from 0 or 1 on."""
    found = {int(match[1]) for name in tree.names if (match := re.match(pattern, name))}
    if found and found != set(range(min(found), min(found) + len(found))):
        raise DataError(f"of {pattern} it has numbers {sorted(found)}: some are missing, copy or download it again.")
    return len(found)


def square(positions: int, stride: int, size: tuple[int, int] | None, beside: int = 0) -> tuple[int, int] | None:
    """The image size whose patches are that many positions, `beside` of them not in the grid; `None` if none is.

    A grid is a square unless the caller says otherwise. Nothing is rounded.

    Args:
        stride: pixels, each way, for one position.
        size: height and width of the input where they are known.
    """
    patches = positions - beside
    if size is not None:
        return size if math.ceil(size[0] / stride) * math.ceil(size[1] / stride) == patches else None
    side = math.isqrt(max(0, patches))
    return (side * stride, side * stride) if side and side * side == patches else None


def not_square(positions: int, size: tuple[int, int] | None) -> DataError:
    """The error where positions fit no grid."""
    if size is not None:
        return DataError(f"its {positions} positions do not fit the image size {size[0]}x{size[1]}.")
    return DataError(
        f"its {positions} positions make no square grid: write the input size into a config.json beside the file, "
        f'like {{"layout": "google", "model": {{"image_size": [224, 160]}}}}.'
    )
