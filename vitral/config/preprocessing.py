"""From decoded pixels to the model's input."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal, TypeAlias, get_args

from vitral.errors import require

Size: TypeAlias = tuple[int, int]
"""Height and width in pixels."""

Interpolation: TypeAlias = Literal["nearest", "bilinear", "bicubic"]


@dataclass(frozen=True)
class Preprocessing:
    """From decoded pixels to the model's input; part of the artefact, the same for every verb.

    The picture (turned upright by its EXIF orientation) is resized, cut at its centre to `crop`, and each
    channel becomes `(value / 255 - mean) / std`.
    """

    crop: Annotated[Size, "height and width of the model's input in pixels"] = (224, 224)
    resize: Annotated[
        int | Size | None,
        "shorter side before the cut, in pixels; HEIGHTxWIDTH squashes to it; none leaves the picture's size",
    ] = 256
    interpolation: Annotated[Interpolation, "of the resize, with antialiasing"] = "bilinear"
    mean: Annotated[tuple[float, float, float], "per channel, of values in [0, 1]"] = (0.5, 0.5, 0.5)
    std: Annotated[tuple[float, float, float], "per channel, of values in [0, 1]"] = (0.5, 0.5, 0.5)

    def __post_init__(self) -> None:
        resize = () if self.resize is None else self.resize if isinstance(self.resize, tuple) else (self.resize,)
        sizes = (*self.crop, *resize)
        require(all(1 <= size <= 16384 for size in sizes), f"picture sizes must be 1 to 16384 pixels, not {sizes}")
        require(all(1e-6 <= value < 1e9 for value in self.std), f"std must be 1e-6 or more per channel, not {self.std}")
        require(all(abs(value) < 1e9 for value in self.mean), f"mean must be three numbers, not {self.mean}")
        known = get_args(Interpolation)
        require(self.interpolation in known, f"interpolation is one of {', '.join(known)}, not {self.interpolation!r}")

    def at_size(self, size: Size) -> Preprocessing:
        """The same for another input size: a shorter side grows along, a squash squashes to it."""
        if size == self.crop:
            return self
        grown = round(self.resize * min(size) / min(self.crop)) if isinstance(self.resize, int) else self.resize
        return replace(self, crop=size, resize=size if isinstance(grown, tuple) else grown)
