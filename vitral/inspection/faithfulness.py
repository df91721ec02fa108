"""Can a map be believed? Take away, or put in, the places that it calls important, and watch the answer.

Deletion and insertion, arXiv 1806.07421, section 4.1: if the map is right, the probability of the class falls at once
when its hottest pixels are deleted, and rises at once when they are put into a blurred picture. Both are judged beside
maps of chance, without which the areas say nothing.

Letters: s steps, c channels, h and w height and width, y and x rows and columns of a map.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vitral.inspection.methods import stretched
from vitral.inspection.occlusion import BATCH, Answer
from vitral.inspection.tokens import Grid

STEPS = 20
"""Equal portions of the pixels that are taken away or put in, one after the other (our choice)."""

CHANCES = 3
"""Maps of chance that are averaged (our choice)."""

BLUR_SIDE, BLUR_SIGMA = 11, 5.0
"""Pixels of the Gaussian window from which insertion starts: those of the paper's code, at 224 pixels."""


@dataclass(frozen=True)
class Curves:
    """Probabilities of the class [s + 1] while a `fraction` [s + 1] of the pixels, from 0 to 1, goes (`deletion`) or
    comes (`insertion`), hottest first."""

    fraction: np.ndarray
    deletion: np.ndarray
    insertion: np.ndarray

    def areas(self) -> dict[str, float]:
        """Areas under the curves in [0, 1]: of a good map `deletion` is smaller than chance's, `insertion` larger."""
        return {name: area(self.fraction, getattr(self, name)) for name in ("deletion", "insertion")}


def curves(answer: Answer, image: Float[Tensor, "c h w"], values: Float[Tensor, "y x"], steps: int = STEPS) -> Curves:
    """Deletion and insertion with a map.

    Args:
        answer: pictures [m, c, h, w] to the probability of the class [m].
    """
    heat = stretched(values[None], (image.shape[1], image.shape[2]))[0]
    fraction = np.linspace(0, 1, steps + 1)
    return Curves(fraction, deletion(answer, image, heat, steps), insertion(answer, image, heat, steps))


def chance_curves(
    answer: Answer, image: Float[Tensor, "c h w"], grid: Grid, steps: int = STEPS, seed: int = 0
) -> Curves:
    """The mean over `CHANCES` maps of chance with so many rows and columns."""
    rng = np.random.Generator(np.random.Philox(seed))
    drawn = torch.from_numpy(rng.random((CHANCES, *grid)))
    found = [curves(answer, image, values, steps) for values in drawn]
    return Curves(
        found[0].fraction,
        np.mean([one.deletion for one in found], axis=0),
        np.mean([one.insertion for one in found], axis=0),
    )


def deletion(answer: Answer, image: Float[Tensor, "c h w"], heat: np.ndarray, steps: int = STEPS) -> np.ndarray:
    """The answer [s + 1] while the hottest pixels become 0, the mean colour after normalisation."""
    return _replaced(answer, image, torch.zeros_like(image), heat, steps)


def insertion(answer: Answer, image: Float[Tensor, "c h w"], heat: np.ndarray, steps: int = STEPS) -> np.ndarray:
    """The answer [s + 1] while the hottest pixels of a blurred picture become sharp."""
    return _replaced(answer, blurred(image), image, heat, steps)


@torch.no_grad()
def _replaced(answer: Answer, start: Tensor, end: Tensor, heat: np.ndarray, steps: int) -> np.ndarray:
    order = torch.from_numpy(np.argsort(-heat.ravel(), kind="stable")).to(start.device)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=start.device)
    rank = rank.view(heat.shape)
    bounds = torch.linspace(0, len(order), steps + 1, device=start.device).round()
    mixed = (torch.where(rank < bound, end, start) for bound in bounds)
    found, batch = [], []
    for number, image in enumerate(mixed, start=1):
        batch.append(image)
        if len(batch) == BATCH or number == len(bounds):
            found.append(answer(torch.stack(batch)).float().cpu())
            batch.clear()
    return torch.cat(found).numpy()


def blurred(image: Float[Tensor, "c h w"]) -> Float[Tensor, "c h w"]:
    """The picture under a Gaussian window; its edge pixels are repeated beyond the edge."""
    places = torch.arange(BLUR_SIDE, dtype=image.dtype, device=image.device) - BLUR_SIDE // 2
    window = (-places.square() / (2 * BLUR_SIGMA**2)).exp()
    window = window / window.sum()
    margin = BLUR_SIDE // 2
    padded = F.pad(image[:, None], (margin, margin, margin, margin), mode="replicate")
    across = F.conv2d(padded, window.view(1, 1, 1, -1))
    return F.conv2d(across, window.view(1, 1, -1, 1))[:, 0]


def area(fraction: np.ndarray, curve: np.ndarray) -> float:
    """Area under a curve, by the trapezoidal rule."""
    return float(np.trapezoid(curve, fraction))
