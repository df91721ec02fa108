"""Pictures for a report: which are shown, as small JPEGs with their names, labels and answers."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import torch

from vitral.data.thumbnail import preview
from vitral.datasets.dataset import Split
from vitral.evaluators.classification import Evaluation, guesses, truths
from vitral.evaluators.examples import confused, least_sure, worst
from vitral.serving.predictor import Model

SIDE = 144
"""Pixels of the longer side of a picture on the page."""

WORST, UNSURE, PAIRS, OF_PAIR = 24, 24, 20, 4
"""Pictures, or pairs of classes and pictures of each, that are shown."""

BUDGET = 4_000_000
"""Characters of all pictures together; where they would take more, fewer are shown."""

TOP = 3
"""Answers that are given for a picture."""


class Gallery:
    """Gathers pictures until the budget is spent."""

    def __init__(self, model: Model, split: Split, result: Evaluation, root: Path | None, max_pixels: int) -> None:
        self.model, self.split, self.result, self.max_pixels = model, split, result, max_pixels
        self.root = f"{root}{os.sep}" if root else ""
        self.left = BUDGET
        self.shown: dict[int, dict[str, Any]] = {}

    def entries(self, samples: list[int]) -> list[dict[str, Any]]:
        """Those of the pictures that the budget still pays for."""
        return [entry for sample in samples if (entry := self._entry(sample)) is not None]

    def _entry(self, sample: int) -> dict[str, Any] | None:
        if sample not in self.shown:
            data = preview(self.split.sources[sample], self.max_pixels, SIDE)
            image = base64.b64encode(data).decode() if data is not None else ""
            self.shown[sample] = {**self._answered(sample), "image": image}
        entry = self.shown[sample]
        if len(entry["image"]) > self.left:
            return None
        self.left -= len(entry["image"])
        return entry

    def _answered(self, sample: int) -> dict[str, Any]:
        row = torch.from_numpy(self.result.logits[sample][None])
        answers = self.model.best(self.model.probabilities_of(row).numpy()[0], TOP)
        source = self.split.sources[sample]
        name = os.fsdecode(source) if isinstance(source, str | os.PathLike) else f"picture {sample}"
        return {
            "picture": name.removeprefix(self.root),
            "labels": [self.model.classes[k] for k in self.split.labels[sample] if k >= 0],
            "guesses": [[guess.label, round(guess.probability, 4)] for guess in answers],
        }


def gallery(
    model: Model, split: Split, result: Evaluation, name: str, root: Path | None, max_pixels: int
) -> dict[str, Any]:
    """What a report shows of a measured split.

    Args:
        name: of the split.
        root: folder that pictures' names are shown without.

    Returns:
        `split`, and `worst`, `unsure` and `confused` (a list of pairs, each with its `pictures`); a picture is its
        name (`picture`), `labels`, `guesses` (names with probabilities) and `image` (a JPEG in base64).
    """
    made = Gallery(model, split, result, root, max_pixels)
    logits, labels = result.logits, split.labels
    pairs = []
    if not model.multi_label:
        truth, guess = truths(labels), guesses(logits)
        for pair in result.metrics["confused"][:PAIRS]:
            places = model.classes.index(pair["label"]), model.classes.index(pair["guess"])
            pairs.append({**pair, "pictures": made.entries(confused(truth, guess, logits, places, OF_PAIR))})
    return {
        "split": name,
        "confused": [pair for pair in pairs if pair["pictures"]],
        "worst": made.entries(worst(logits, labels, WORST, model.multi_label)),
        "unsure": [] if model.multi_label else made.entries(least_sure(logits, labels, UNSURE)),
    }
