"""What is minimised: over labels, over a teacher's answers, or over what is hidden of the pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from vitral.errors import require


@dataclass(frozen=True)
class LossConfig:
    """What is minimised."""

    name: Annotated[
        Literal["softmax", "sigmoid", "bce"],
        "cross-entropy over classes; one yes/no question per class, their sum; or their mean (bce: as DeiT III)",
    ] = "softmax"
    label_smoothing: Annotated[float, "share of the target spread over all classes"] = 0.0
    class_weights: Annotated[
        tuple[str, ...],
        "what the pictures of a class count: 'balanced' (rarer ones more), or 'rose=2,tulip=0.5' (the others 1)",
    ] = ()

    def __post_init__(self) -> None:
        require(
            0 <= self.label_smoothing < 1,
            f"label_smoothing must be at least 0 and below 1, not {self.label_smoothing:g}",
        )


@dataclass(frozen=True)
class DistillationConfig:
    """Learning from a trained model's answers beside the labels (arXiv 2012.12877)."""

    teacher: Annotated[str | None, "model folder or name whose answers are learned; its classes must cover ours"] = None
    kind: Annotated[
        Literal["none", "hard", "soft"], "learn the teacher's likeliest class, or all its probabilities"
    ] = "none"
    alpha: Annotated[float, "share of the teacher in the loss (the paper: 0.5 hard, 0.1 soft)"] = 0.5
    temperature: Annotated[float, "of soft: scores are divided by it (the paper: 3)"] = 3.0
    classes: Annotated[
        Literal["by-name", "in-order"],
        "how the teacher's classes are matched: by their names, or trusted to be ours in our order (for one that names "
        "none)",
    ] = "by-name"
    digest: Annotated[
        str | None, "of the teacher's weights, preprocessing and classes: another one is refused (filled in)"
    ] = None

    def __post_init__(self) -> None:
        require(0 <= self.alpha <= 1, f"alpha must be 0 to 1, not {self.alpha:g}")
        require(0 < self.temperature <= 1000, f"temperature must be above 0, not {self.temperature:g}")


@dataclass(frozen=True)
class PretrainingConfig:
    """Learning without labels, from pictures of which a part is hidden (arXiv 2111.06377; 2010.11929, B.1.2)."""

    objective: Annotated[
        Literal["none", "mae", "masked-patch"],
        "none: learn the labels; mae: make the hidden patches' pixels; masked-patch: name each hidden patch's colour",
    ] = "none"
    mask_ratio: Annotated[float, "share of the patches that is hidden (mae) or corrupted (masked-patch)"] = 0.75
    normalise_pixels: Annotated[bool, "of mae: each patch's pixels less their mean, divided by their deviation"] = True
    decoder_width: Annotated[int, "of mae: size of the decoder's tokens"] = 512
    decoder_depth: Annotated[int, "of mae: number of the decoder's blocks"] = 8
    decoder_heads: Annotated[int, "of mae: attention heads of the decoder"] = 16

    def __post_init__(self) -> None:
        require(0 < self.mask_ratio < 1, f"mask_ratio must be above 0 and below 1, not {self.mask_ratio:g}")
        for name in ("decoder_width", "decoder_depth", "decoder_heads"):
            require(1 <= getattr(self, name) <= 2**16, f"{name} must be 1 to 65536, not {getattr(self, name)}")
        require(
            self.decoder_width % 4 == 0,
            f"decoder_width must be a multiple of 4, which its positions need, not {self.decoder_width}",
        )
        require(
            self.decoder_width % self.decoder_heads == 0,
            f"decoder_width {self.decoder_width} cannot be split into {self.decoder_heads} decoder_heads: "
            "choose a multiple",
        )

    @property
    def is_off(self) -> bool:
        """Whether a run learns labels, as most do."""
        return self.objective == "none"
