"""A model over any number of pictures, in order, with only a few of them in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from vitral.data.decode import decode
from vitral.data.loader import batches
from vitral.data.preprocessing import prepare
from vitral.datasets.pictures import Picture
from vitral.errors import UnreadableImageError, VitralError
from vitral.serving.predictor import BATCH_SIZE, Model

PREFETCH = 2
"""Batches made ahead."""

HELD = 1 << 28
"""Encoded bytes that one batch holds, besides its last picture: those of an archive are in memory while they wait."""


class Answer(NamedTuple):
    """What a model says of one picture: probabilities [classes], and features [width] where asked for; or why it can
    say nothing."""

    name: str
    probabilities: np.ndarray | None
    features: np.ndarray | None
    error: str | None


def answered(
    model: Model, pictures: Iterable[Picture], workers: int, max_pixels: int, features: bool = False
) -> Iterator[list[Answer]]:
    """Answers batch by batch, one for each picture, in the pictures' order.

    Args:
        workers: threads that read; 0 works in the caller's own.
        max_pixels: height times width above which nothing is decoded.

    Raises:
        VitralError: what `pictures` raised, after the answers to those that came before.
    """
    waiting: dict[int, Picture] = {}
    broken: list[VitralError] = []

    def numbered() -> Iterator[tuple[int, Picture]]:
        try:
            yield from enumerate(pictures)
        except VitralError as error:  # an archive that ends too early: what came before it is answered first
            broken.append(error)

    def ids() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        each = numbered()
        while block := _block(each):
            waiting.update(block)
            samples = np.array(list(block))
            yield np.zeros_like(samples), samples

    def make(_: int, sample: int) -> np.ndarray:
        picture = waiting[sample]
        if picture.error is not None:
            raise UnreadableImageError(picture.name, picture.error)
        return prepare(decode(picture.source, max_pixels), model.preprocessing)

    for batch in batches(ids(), make, model.preprocessing.crop, workers, PREFETCH):
        found = {
            sample: Answer(waiting.pop(sample).name, None, None, error.reason) for sample, error in batch.unreadable
        }
        if len(batch):
            logits, seen = (
                model.logits_and_representations(batch.images) if features else (model.logits(batch.images), None)
            )
            rows = model.probabilities_of(logits).numpy()
            for i, sample in enumerate(batch.samples.tolist()):
                row = None if seen is None else seen[i].numpy()
                found[sample] = Answer(waiting.pop(sample).name, rows[i], row, None)
        yield [found[sample] for sample in sorted(found)]
    for error in broken:
        raise error


def _block(each: Iterator[tuple[int, Picture]]) -> dict[int, Picture]:
    """The next batch: fewer pictures where they are large."""
    block: dict[int, Picture] = {}
    held = 0
    for sample, picture in each:
        block[sample] = picture
        held += len(picture.source) if isinstance(picture.source, bytes) else 0
        if len(block) == BATCH_SIZE or held >= HELD:
            break
    return block
