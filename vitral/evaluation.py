"""Run a `Model` over a labelled split: the one way, for training, `evaluate` and the API alike."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from vitral.data.decode import decode
from vitral.data.preprocessing import prepare
from vitral.datasets.dataset import TEST, VALIDATION, Dataset, Source, Split
from vitral.errors import DataError
from vitral.evaluators.calibration import calibration, confidences, ece_interval
from vitral.evaluators.classification import Answers, Evaluation, gather, guesses, hits, measure, truths
from vitral.evaluators.conformal import try_sets
from vitral.evaluators.features import Probing
from vitral.evaluators.intervals import balanced_interval, precision_interval, share_interval
from vitral.evaluators.probe import hold_out
from vitral.evaluators.real import real_hits
from vitral.evaluators.selective import abstain_threshold, selective
from vitral.evaluators.temperature import LEAST_PICTURES, fit_temperature, known_rows, multi_hot
from vitral.serving.predictor import BATCH_SIZE, Model
from vitral.training.distributed import ALONE, Group


def threads(asked: int | None, group: Group = ALONE) -> int:
    """How many threads read pictures: as asked, else one per core that is this process's share, at most 16."""
    return min(16, max(1, cores() // group.local_size)) if asked is None else asked


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def evaluate_split(
    model: Model,
    split: Split,
    workers: int,
    max_pixels: int,
    stop: Callable[[], bool] = lambda: False,
    group: Group = ALONE,
) -> Evaluation | None:
    """Measure `model` on `split`, whose labels are positions in `model.classes`.

    Args:
        group: who shares the work; the bits of a Vision Transformer's numbers do not depend on how many they are.

    Returns:
        `None` if `stop` became true, and to a process that does not lead.
    """
    sources = _own(split, group)
    read = model.batches(
        sources, lambda source: prepare(decode(source, max_pixels, briefly=True), model.preprocessing), workers
    )
    own = gather(model.over(read, model.logits), len(sources), len(model.classes), stop)
    if own is None:
        return None
    answers = Answers(*_together(*own, len(split), group))
    return measure(answers, split.labels, model.classes, model.multi_label) if group.leads else None


def only_present(model: Model, split: Split) -> tuple[Model, Split]:
    """The model when only classes that `split` has pictures of may be the answer, and the split for it."""
    present = sorted({k for labels in split.labels for k in labels if k >= 0})
    places = {k: place for place, k in enumerate(present)}
    labels = [tuple(places.get(k, k) for k in of_picture) for of_picture in split.labels]
    return model.among(present), Split(split.sources, labels)


def trust(model: Model, logits: np.ndarray, labels: Sequence[tuple[int, ...]]) -> dict[str, Any]:
    """How far the numbers of an evaluation, and the model's own probabilities, can be trusted.

    Returns:
        `intervals`: `low` and `high` of the 95 % interval of each headline number; `calibration`, see
        `vitral.evaluators.calibration`; and, with one label per picture, `selective`.
    """
    intervals = {name: share_interval(right) for name, right in hits(logits, labels, model.multi_label).items()}
    claimed = confidences(logits, labels, model.temperature, model.multi_label)
    made: dict[str, Any] = {"intervals": intervals}
    if model.multi_label:
        wanted = multi_hot(labels, len(model.classes))
        there = wanted.any(axis=0)
        scores = np.where(np.isnan(logits[:, :1]), -np.inf, logits)
        if there.any():
            ends = precision_interval(scores[:, there], wanted[:, there])
            if ends["low"] < ends["high"]:  # resamples that are all alike say nothing of the next picture
                intervals["mean_average_precision"] = ends
    elif len(claimed.confidence):
        truth = truths(labels)
        intervals["balanced_accuracy"] = balanced_interval(truth, guesses(logits) == truth)
        made["selective"] = selective(claimed.confidence, claimed.right)
    if len(claimed.confidence):
        intervals["ece"] = ece_interval(claimed)
    return made | {"calibration": calibration(logits, labels, model.temperature, model.multi_label)}


def on_request(
    model: Model,
    logits: np.ndarray,
    labels: Sequence[tuple[int, ...]],
    real: Sequence[tuple[int, ...]] | None,
    abstain_at: float | None,
    coverage: float | None,
) -> dict[str, Any]:
    """What `evaluate` measures when asked to, of a model that gives a picture one label.

    Args:
        real: ReaL labels of each picture; they give `real_top1`, `real_count` and `intervals`.
        abstain_at: wanted accuracy; gives `abstain`, see `vitral.evaluators.selective`.
        coverage: wanted of sets of classes; gives `conformal`, see `vitral.evaluators.conformal`.
    """
    made: dict[str, Any] = {}
    if real is not None:
        right = real_hits(logits, real)
        if not len(right):
            raise DataError("not one of the pictures has a ReaL label: leave --real out, or measure other pictures.")
        made |= {"real_top1": float(right.mean()), "real_count": len(right)}
        made["intervals"] = {"real_top1": share_interval(right)}
    if abstain_at is not None:
        found = confidences(logits, labels, model.temperature)
        line = abstain_threshold(found.confidence, found.right, abstain_at) if len(found.right) else None
        made["abstain"] = {"wanted": abstain_at, **(line._asdict() if line else {"threshold": None})}
    if coverage is not None:
        rows = known_rows(logits, labels)
        probabilities = model.probabilities_of(torch.from_numpy(logits[rows]).double()).numpy()
        truth = truths(labels)[rows]
        made["conformal"] = {"wanted": coverage, "methods": try_sets(probabilities, truth, coverage)}
    return made


def calibrate(model: Model, logits: np.ndarray, labels: Sequence[tuple[int, ...]], split: str) -> tuple[Model, str]:
    """The same model with the temperature that fits held-out pictures, and a sentence that says so."""
    count = len(known_rows(logits, labels))
    temperature = fit_temperature(logits, labels, model.multi_label)
    fitted = {"temperature": 1.0 if temperature is None else temperature, "split": split, "fitted_on": count}
    metrics = model.metrics | {"calibration": fitted}
    calibrated = model.with_metrics(metrics)
    pictures = f"{count:,} {split} pictures"
    if temperature is None:
        return calibrated, (
            f"probabilities as they come: {pictures} are too few to fit a temperature, which takes {LEAST_PICTURES}: "
            "hold more out with --data.validation-fraction, or `vitral evaluate MODEL PICTURES --fit-temperature` on "
            "others"
        )
    sure = "less" if temperature > 1 else "more"
    return calibrated, (
        f"temperature {temperature:.3f}, fitted on {pictures}: probabilities become {sure} sure, answers stay the same"
    )


def right_of(model: Model, logits: np.ndarray, labels: Sequence[tuple[int, ...]]) -> np.ndarray:
    """Whether each picture [pictures] is answered rightly; with several labels, whether all of them are right."""
    return hits(logits, labels, model.multi_label)["exact_match" if model.multi_label else "top1"]


Represented = dict[str, tuple[np.ndarray, dict[int, str]]]
"""By split, what the head sees of its pictures, and why some could not be read: see `represent_split`."""


def represent(model: Model, dataset: Dataset, workers: int, max_pixels: int, group: Group = ALONE) -> Represented:
    """What the head sees of all pictures of a data set, each looked at once.

    Args:
        group: who shares the work; only the process that leads is given more than its own part.
    """
    return {
        name: represent_split(model, split, workers, max_pixels, group=group) for name, split in dataset.splits.items()
    }


def probing(dataset: Dataset, represented: Represented) -> tuple[Probing, str, dict[str, str]]:
    """Features of a data set with one label per picture, in the parts that probes ask for.

    Probes learn from train and validation and are measured on test; settings are chosen on validation. Without a
    test split they are measured on validation, and settings are chosen on a fifth of train.

    Returns:
        the features, the name of the split that is measured, and why pictures could not be read, by path: those of
        train and validation are left out, those of test count as wrong.
    """
    tested = TEST if TEST in dataset.splits else VALIDATION
    features, labels, readable = {}, {}, {}
    unreadable: dict[str, str] = {}
    for name, split in dataset.splits.items():
        features[name], bad = represented[name]
        labels[name] = truths(split.labels)
        readable[name] = ~np.isin(np.arange(len(split)), list(bad))
        unreadable |= {str(split.sources[sample]): reason for sample, reason in bad.items()}
    learnt = [name for name in dataset.splits if name != tested]
    train = np.concatenate([features[name][readable[name]] for name in learnt])
    train_labels = np.concatenate([labels[name][readable[name]] for name in learnt])
    if VALIDATION in learnt:
        held_out = np.concatenate([np.full(readable[name].sum(), name == VALIDATION) for name in learnt])
    else:
        held_out = hold_out(train_labels)
    wanted = np.where(readable[tested], labels[tested], -1)
    made = Probing(train, train_labels, held_out, features[tested], wanted, len(dataset.classes))
    return made, tested, unreadable


def represent_split(
    model: Model,
    split: Split,
    workers: int,
    max_pixels: int,
    tell: Callable[[int], object] = int,
    read: Callable[[Source], np.ndarray] | None = None,
    group: Group = ALONE,
) -> tuple[np.ndarray, dict[int, str]]:
    """What the head sees of each picture [pictures, width] float32, and why some could not be read (rows of 0).

    Args:
        tell: is told, after each batch, how many pictures are done.
        read: makes a picture's pixels; the model's own preprocessing by default.
        group: who shares the work; only the process that leads is given more than its own part.
    """

    def usual(source: Source) -> np.ndarray:
        return prepare(decode(source, max_pixels, briefly=True), model.preprocessing)

    sources = _own(split, group)
    found: np.ndarray | None = None
    unreadable: dict[int, str] = {}
    for batch, seen in model.over(model.batches(sources, read or usual, workers), model.representations):
        unreadable |= {sample: error.reason for sample, error in batch.unreadable}
        if len(batch):
            rows = seen.numpy()
            found = np.zeros((len(sources), rows.shape[1]), dtype=np.float32) if found is None else found
            found[batch.samples] = rows
            tell(int(batch.samples.max()) + 1)
    own = np.zeros((len(sources), 1), dtype=np.float32) if found is None else found
    return _together(own, unreadable, len(split), group)


# Several processes ---------------------------------------------------------------------------------


def _own(split: Split, group: Group) -> Sequence[Source]:
    """The pictures that are this process's to look at."""
    if group.size == 1:
        return split.sources
    return [split.sources[k] for k in group.dealt(len(split), BATCH_SIZE)]


def _together(
    own: np.ndarray, unreadable: dict[int, str], count: int, group: Group
) -> tuple[np.ndarray, dict[int, str]]:
    """Rows [count, width] float32 of all processes' pictures, in the order of the split, and why some have none.

    Args:
        own: rows of this process's pictures, of width 1 if it could read none of them.
        unreadable: why, by their positions among its pictures.
        count: pictures of all.

    Returns:
        to a process that does not lead, what it gave.
    """
    if group.size == 1:
        return own, unreadable
    facts = group.together(json.dumps([own.shape[1], unreadable]).encode())
    rows = group.together(own.tobytes())
    if not group.leads:
        return own, unreadable
    parts = [json.loads(words) for words in facts]
    whole = np.zeros((count, max(width for width, _ in parts)), dtype=np.float32)
    why: dict[int, str] = {}
    for rank, ((width, reasons), row) in enumerate(zip(parts, rows, strict=True)):
        dealt = group.dealt(count, BATCH_SIZE, rank)
        if width == whole.shape[1]:
            whole[dealt] = np.frombuffer(row, dtype=np.float32).reshape(len(dealt), width)
        why |= {int(dealt[int(k)]): reason for k, reason in reasons.items()}
    return whole, dict(sorted(why.items()))
