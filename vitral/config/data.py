"""Where the pictures are and how they are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from vitral.errors import require

MAX_PIXELS = 89_478_485
"""Pixels of the largest picture that is decoded unless more are allowed: the limit of Pillow (`Image.MAX_IMAGE_PIXELS`,
a quarter of a gigabyte of RGB), against small files that unpack to more than the memory holds."""


@dataclass(frozen=True)
class DataConfig:
    """Where the pictures are and how they are read."""

    path: Annotated[str, "folder or table of pictures"] = ""
    path_column: Annotated[str | None, "column of a table that holds the picture's path"] = None
    label_column: Annotated[str | None, "column of a table that holds the label"] = None
    image_folder: Annotated[str | None, "folder that a table's paths start from; default: the table's own"] = None
    multi_label: Annotated[bool, "several labels per picture, separated by ';' in the label column"] = False
    validation_fraction: Annotated[float, "share of train to hold out where there is no validation split"] = 0.1
    balance: Annotated[
        float, "0 shows training pictures as often as they are there, 1 every class equally often, 0.5 is in between"
    ] = 0.0
    on_bad_image: Annotated[Literal["fail", "skip"], "an unreadable training picture stops the run, or is left out"] = (
        "fail"
    )
    max_pixels: Annotated[int, "largest picture that is decoded, in pixels"] = MAX_PIXELS
    scaled_decoding: Annotated[
        bool, "decode a large JPEG at 1/2, 1/4 or 1/8 where the cut keeps all pixels that the input has: other pixels"
    ] = False
    shrink: Annotated[
        int | None, "shorter side to which larger training pictures are brought before anything else: other pixels"
    ] = None

    def __post_init__(self) -> None:
        require(
            0 <= self.validation_fraction < 1,
            f"validation_fraction must be at least 0 and below 1, not {self.validation_fraction:g}",
        )
        require(0 <= self.balance <= 1, f"balance must be 0 to 1, not {self.balance:g}")
        require(
            not (self.multi_label and self.balance),
            "balance is for one label per picture: with several, weigh the loss (--loss.class-weights balanced).",
        )
        require(self.max_pixels >= 1, f"max_pixels must be at least 1, not {self.max_pixels}")
        require(
            self.shrink is None or 1 <= self.shrink <= 16384, f"shrink must be 1 to 16384 pixels, not {self.shrink}"
        )
