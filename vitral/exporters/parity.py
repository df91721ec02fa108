"""Is an exported file the same function as the model? It is asked on pictures before anybody gets the file."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from vitral.backends import Backend
from vitral.errors import DataError
from vitral.serving.predictor import Model

SYNTHETIC = 16
"""Made-up pictures that are compared where the user gives none."""


class Tolerance(NamedTuple):
    """How far probabilities may be from the model's: of each picture the class that is farthest counts, and of the
    pictures the farthest one ("largest") or their mean. `limit` is absolute, and relative to the probability."""

    limit: float
    over: Literal["largest", "mean"]


TOLERANCES = {
    "float32": Tolerance(1e-5, "largest"),
    "float16": Tolerance(5e-3, "largest"),
    "bfloat16": Tolerance(5e-2, "largest"),
    "int8-weights": Tolerance(0.05, "mean"),
    "int8-dynamic": Tolerance(0.15, "mean"),
    "int8-static": Tolerance(0.15, "mean"),
}
"""By kind of precision. In int8 single pictures that the model is unsure of may change much, so the mean counts; how
many answers stay right is a question for labelled pictures."""


@dataclass(frozen=True)
class Parity:
    """What was found.

    Attributes:
        pictures: how many were compared.
        largest, mean: over the pictures, of the farthest probability's distance / (1 + the model's probability).
        same_answer: share of the pictures with the same likeliest class.
        limit, over: the tolerance.
    """

    pictures: int
    largest: float
    mean: float
    same_answer: float
    limit: float
    over: str

    @property
    def holds(self) -> bool:
        """Whether the file may be kept. (A comparison with what is not a number is false.)"""
        return (self.largest if self.over == "largest" else self.mean) <= self.limit

    def line(self) -> str:
        """One line that says it."""
        return (
            f"parity on {self.pictures} pictures: probabilities differ by {self.largest:.1e} at most, "
            f"{self.mean:.1e} on average ({self.over} allowed: {self.limit:.0e}); {self.same_answer:.1%} same answers"
        )


def compare(model: Model, exported: Backend, pixels: np.ndarray, kind: str, limit: float | None = None) -> Parity:
    """Compare a file with the torch network on pixels [n, height, width, 3] uint8: the first alone, the others at once.

    Args:
        limit: in the place of the one in `TOLERANCES`.
    """
    expected = model.with_backend(None).probabilities_of(model.with_backend(None).logits(pixels)).numpy()
    parts = [part for part in (pixels[:1], pixels[1:]) if len(part)]
    found = np.concatenate([exported.outputs(part)["probabilities"] for part in parts])
    allowed = TOLERANCES[kind]
    distance = (np.abs(found - expected) / (1 + expected)).max(axis=1)
    return Parity(
        pictures=len(pixels),
        largest=float(distance.max()),
        mean=float(distance.mean()),
        same_answer=float((found.argmax(axis=1) == expected.argmax(axis=1)).mean()),
        limit=allowed.limit if limit is None else limit,
        over=allowed.over,
    )


def require(parity: Parity, what: str) -> None:
    """Refuse a file that is another function.

    Raises:
        DataError: it is.
    """
    if not parity.holds:
        found = parity.largest if parity.over == "largest" else parity.mean
        raise DataError(
            f"{what} gives other probabilities than the model ({parity.over} difference {found:.2g} on "
            f"{parity.pictures} pictures, {parity.limit:g} allowed): nothing was written. Choose another format or "
            f"precision, or allow more with --tolerance."
        )


def synthetic(size: tuple[int, int], count: int = SYNTHETIC) -> np.ndarray:
    """Made-up pixels [count, height, width, 3] uint8, always the same: slopes, waves and blocks of many colours, with
    noise on every other picture."""
    rng = np.random.default_rng(0)
    height, width = size
    y, x = np.meshgrid(np.linspace(0, 1, height), np.linspace(0, 1, width), indexing="ij")
    made = []
    for k in range(count):
        slope, wave, place = rng.normal(size=(3, 3)), rng.uniform(1, 20, size=(2, 3)), rng.uniform(size=4)
        picture = slope[0] * y[..., None] + slope[1] * x[..., None]
        picture += np.sin(wave[0] * y[..., None] + wave[1] * x[..., None])
        inside = (np.abs(y - place[0]) < place[2] / 2) & (np.abs(x - place[1]) < place[3] / 2)
        picture[inside] += 2 * slope[2]
        picture = 127.5 + 60 * picture + (k % 2) * rng.normal(scale=30, size=picture.shape)
        made.append(np.clip(picture, 0, 255).astype(np.uint8))
    return np.stack(made)


def as_record(parity: Parity) -> dict[str, object]:
    """For export.json."""
    return dataclasses.asdict(parity)
