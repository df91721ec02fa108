"""Progressive resolution: training pictures that grow while the run goes on, for early steps that cost less.

The size is a function of the step alone, so that a resume need not know of it. Networks take smaller pictures by their
own rule for positions; parameters, evaluation and the model that is kept are of the final size throughout.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from vitral.config import AugmentationConfig, Preprocessing, Size, sizes_by_share
from vitral.errors import UsageError, VitralError
from vitral.models import Network


@dataclass(frozen=True)
class Resolution:
    """Sizes of training pictures by step.

    Attributes:
        stages: each size in pixels, and the step before which it holds.
        final: what holds after the last of them.
    """

    stages: tuple[tuple[Size, int], ...]
    final: Size

    @classmethod
    def build(cls, words: tuple[str, ...], total: int, final: Size) -> Resolution:
        """Of shares of a run of `total` steps (`ScheduleConfig.resolution`); a step counts where it is begun."""
        return cls(tuple((size, round(share * total)) for size, share in sizes_by_share(words)), final)

    def size(self, step: int) -> Size:
        """Height and width in pixels of the pictures of the update made after `step` others."""
        return next((size for size, until in self.stages if step < until), self.final)

    def parts(self, step: int) -> Iterator[tuple[Size, int | None]]:
        """From `step` on, each size and for how many steps; the last without end."""
        for size, until in self.stages:
            if step < until:
                yield size, until - step
                step = until
        yield self.final, None

    def pixels(self, total: int) -> float:
        """Pixels that a run of `total` steps shows, as a share of those at the final size throughout."""
        shown, step = 0.0, 0
        for size, count in self.parts(0):
            steps = total - step if count is None else min(count, total - step)
            shown += steps * size[0] * size[1]
            step += steps
        return shown / (total * self.final[0] * self.final[1])

    def said(self, total: int) -> str:
        """The decision, for printing."""
        stages = ", ".join(f"{h}x{w} until step {until:,}" for (h, w), until in self.stages)
        return (
            f"training pictures grow: {stages}, then {self.final[0]}x{self.final[1]}; {self.pixels(total):.0%} of the "
            "pixels of a run at that size throughout"
        )


def require_sizes(network: Network, resolution: Resolution) -> None:
    """Try the network on pictures of each size, before hours are spent.

    Raises:
        UsageError: it cannot take them, or they are larger than those of the evaluation.
    """
    device = next(network.parameters()).device
    network.eval()
    for size, _ in resolution.stages:
        shown, final = f"{size[0]}x{size[1]}", f"{resolution.final[0]}x{resolution.final[1]}"
        if size[0] > resolution.final[0] or size[1] > resolution.final[1]:
            raise UsageError(
                f"training pictures of {shown} are larger than the model's {final}: "
                "a progressive resolution ends with the largest, as in 96:0.5,128:0.8,160."
            )
        try:
            with torch.no_grad():
                network(torch.zeros(1, 3, *size, device=device))
        except (VitralError, RuntimeError, ValueError, AssertionError) as error:
            reason = str(error).splitlines()[0].rstrip(".:") if str(error) else type(error).__name__
            raise UsageError(
                f"the network cannot be trained on pictures of {shown} ({reason}): choose other sizes with "
                "--progressive-resolution, or leave it out."
            ) from error


def at_size(
    size: Size, preprocessing: Preprocessing, augmentation: AugmentationConfig
) -> tuple[Preprocessing, AugmentationConfig]:
    """Both for pictures of another size: what they say in pixels grows or shrinks along."""
    if size == preprocessing.crop:
        return preprocessing, augmentation
    ratio = min(size) / min(preprocessing.crop)
    larger = augmentation.resize
    if isinstance(larger, tuple):
        larger = round(larger[0] * size[0] / preprocessing.crop[0]), round(larger[1] * size[1] / preprocessing.crop[1])
    elif larger is not None:
        larger = max(1, round(larger * ratio))
    padding = round(augmentation.padding * ratio)
    return preprocessing.at_size(size), replace(augmentation, resize=larger, padding=padding)
