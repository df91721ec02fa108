"""Run a `Model` over a labelled split: the one way, for training, `evaluate` and the API alike."""

from __future__ import annotations

import os
from collections.abc import Callable

from vitral.data.decode import decode
from vitral.data.preprocessing import prepare
from vitral.datasets.dataset import Split
from vitral.evaluators.classification import Evaluation, evaluate
from vitral.serving.predictor import Model


def threads(asked: int | None) -> int:
    """How many threads read pictures: as asked, else one per core that this process may use, at most 16."""
    return min(16, cores()) if asked is None else asked


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def evaluate_split(
    model: Model,
    split: Split,
    workers: int,
    max_pixels: int,
    stop: Callable[[], bool] = lambda: False,
) -> Evaluation | None:
    """Measure `model` on `split`, whose labels are positions in `model.classes`; `None` if `stop` became true."""
    return evaluate(
        model.batches(split.sources, lambda source: prepare(decode(source, max_pixels), model.preprocessing), workers),
        model.logits,
        split.labels,
        model.classes,
        model.multi_label,
        stop,
    )
