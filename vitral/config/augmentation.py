"""How a training picture is varied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from vitral.config.preprocessing import Size
from vitral.errors import require


@dataclass(frozen=True)
class AugmentationConfig:
    """How a training picture is varied. Off where 0.

    Sources: Inception crop of arXiv 1409.4842 (area uniform, where the authors' TensorFlow kernel draws the height
    uniformly; resized with antialiasing, theirs without); RandAugment and Mixup strengths as in arXiv
    2106.10270, section 3; CutMix arXiv 1905.04899; random erasing arXiv 1708.04896; 3-Augment arXiv 2204.07118.
    """

    crop: Annotated[
        Literal["inception", "resize-random", "none"],
        "inception: random area and shape; resize-random: resize, then cut at a random place; none: as in evaluation",
    ] = "inception"
    min_area: Annotated[float, "smallest area of an inception crop, as a share of the picture"] = 0.05
    resize: Annotated[
        int | Size | None, "of resize-random, as that of the preprocessing; default: the same as in evaluation"
    ] = None
    padding: Annotated[int, "pixels added to each side before a resize-random cut"] = 0
    padding_mode: Annotated[Literal["zero", "reflect"], "what the padding shows: black, or the picture mirrored"] = (
        "zero"
    )
    flip: Annotated[bool, "mirror half of the pictures left to right"] = True
    repeats: Annotated[
        int, "views of a picture that follow each other, so that an epoch holds fewer pictures (arXiv 2012.12877: 3)"
    ] = 1
    three_augment: Annotated[bool, "make each picture grey, solarized or blurred, one of the three (3-Augment)"] = False
    check_flip: Annotated[
        bool, "with first_look: mirror none where the held-out pictures are other classes once they are mirrored"
    ] = False
    randaugment_layers: Annotated[int, "RandAugment operations per picture"] = 0
    randaugment_magnitude: Annotated[float, "RandAugment strength, 0 to 10 (the papers go up to 20)"] = 0.0
    colour_jitter: Annotated[float, "largest relative change of brightness, contrast and saturation"] = 0.0
    erasing: Annotated[float, "probability of erasing a random rectangle"] = 0.0
    mixup: Annotated[float, "alpha of Mixup's Beta distribution"] = 0.0
    cutmix: Annotated[float, "alpha of CutMix's Beta distribution; with Mixup on, each batch uses one of the two"] = 0.0

    def __post_init__(self) -> None:
        require(0 < self.min_area <= 1, f"min_area must be above 0 and at most 1, not {self.min_area:g}")
        sides = self.resize if isinstance(self.resize, tuple) else (self.resize or 1,)
        require(all(1 <= side <= 16384 for side in sides), f"resize must be 1 to 16384 pixels, not {self.resize}")
        require(
            self.resize is None or self.crop == "resize-random",
            "augmentation.resize goes with --augmentation.crop resize-random: add that, or leave it out.",
        )
        require(0 <= self.padding <= 1024, f"padding must be 0 to 1024 pixels, not {self.padding}")
        require(1 <= self.repeats <= 64, f"repeats must be 1 to 64, not {self.repeats}")
        require(
            0 <= self.randaugment_layers <= 16,
            f"randaugment_layers must be 0 to 16, not {self.randaugment_layers}",
        )
        require(
            0 <= self.randaugment_magnitude <= 30,
            f"randaugment_magnitude must be 0 to 30, not {self.randaugment_magnitude:g}",
        )
        require(0 <= self.colour_jitter <= 1, f"colour_jitter must be 0 to 1, not {self.colour_jitter:g}")
        require(0 <= self.erasing <= 1, f"erasing must be a probability, not {self.erasing:g}")
        require(0 <= self.mixup <= 100, f"mixup must be 0 to 100, not {self.mixup:g}")
        require(0 <= self.cutmix <= 100, f"cutmix must be 0 to 100, not {self.cutmix:g}")

    @property
    def is_off(self) -> bool:
        """Whether a training picture looks the same every time, as in evaluation."""
        others = (
            self.randaugment_layers,
            self.colour_jitter,
            self.erasing,
            self.mixup,
            self.cutmix,
            self.three_augment,
        )
        return self.crop == "none" and not self.flip and not any(others)
