"""Top-1, top-5 and their like over a labelled split, counted exactly.

Every picture counts once: an unreadable one, and one of a class that the model does not know, count as wrong.
Numbers are gathered per picture and reduced in the order of the split, so that they do not depend on how the
pictures were batched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vitral.data.loader import Batch
from vitral.evaluators.confusion import balanced_accuracy, macro_f1, most_confused
from vitral.evaluators.temperature import multi_hot

TOP = 5

AT_ONCE = 2**25
"""Scores that are looked at in one go."""

UNREADABLE = -1
"""The guess for a picture that could not be read."""


@dataclass(frozen=True)
class Evaluation:
    """What came out for each picture, and the numbers made of it.

    `logits` [pictures, classes] float32; the row of an unreadable picture is NaN. `unreadable` says why.
    """

    metrics: dict[str, Any]
    logits: np.ndarray
    unreadable: dict[int, str]


class Answers(NamedTuple):
    """What a model said of pictures: `logits` [pictures, classes] float32, NaN where `unreadable` says why."""

    logits: np.ndarray
    unreadable: dict[int, str]


def gather(
    answered: Iterable[tuple[Batch, Tensor]], count: int, classes: int, stop: Callable[[], bool] = lambda: False
) -> Answers | None:
    """Gather a model's answers to `count` pictures.

    Args:
        answered: all of the pictures, each once, with their scores [n, classes] float32; `samples` are below `count`.
        stop: looked at after each batch; once true, the rest is given up and `None` returned.
    """
    logits = np.full((count, classes), np.nan, dtype=np.float32)
    unreadable: dict[int, str] = {}
    for batch, scores in answered:
        if stop():
            return None
        if len(batch):
            logits[batch.samples] = scores.numpy()
        unreadable |= {sample: error.reason for sample, error in batch.unreadable}
    return Answers(logits, unreadable)


def measure(
    answers: Answers, labels: Sequence[tuple[int, ...]], classes: Sequence[str], multi_label: bool = False
) -> Evaluation:
    """The numbers of answers to pictures with these `labels`, which are positions in `classes`."""
    logits, unreadable = answers
    metrics_of = multi_label_metrics if multi_label else single_label_metrics
    metrics = {"count": len(labels), "unreadable": len(unreadable), **metrics_of(logits, labels, classes)}
    return Evaluation(metrics, logits, unreadable)


def evaluate(
    answered: Iterable[tuple[Batch, Tensor]],
    labels: Sequence[tuple[int, ...]],
    classes: Sequence[str],
    multi_label: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> Evaluation | None:
    """`gather` a model's answers over a split and `measure` them; `None` if `stop` became true."""
    answers = gather(answered, len(labels), len(classes), stop)
    return None if answers is None else measure(answers, labels, classes, multi_label)


def single_label_metrics(
    logits: np.ndarray, labels: Sequence[tuple[int, ...]], classes: Sequence[str]
) -> dict[str, Any]:
    """`top1`, `top5` (fractions), `loss` (mean negative log-likelihood of readable pictures of known classes),
    `balanced_accuracy` (mean of the classes' top-1) and `macro_f1` over the classes present, `per_class`: `count`
    and `top1` by class name, and `confused`: the pairs of classes most often taken for each other."""
    truth = truths(labels)
    known = (truth >= 0) & ~np.isnan(logits[:, 0])
    place = places(logits, labels)
    guess = guesses(logits)
    loss = _log_losses(logits, truth, np.flatnonzero(known))
    per_class = {
        name: {"count": int(of_class.sum()), "top1": float((place[of_class] < 1).mean())}
        for k, name in enumerate(classes)
        if (of_class := truth == k).any()
    }
    return {
        "top1": float((place < 1).mean()),
        "top5": float((place < TOP).mean()),
        "loss": float(loss.mean()) if known.any() else None,
        "balanced_accuracy": balanced_accuracy(truth, guess),
        "macro_f1": macro_f1(truth, guess),
        "per_class": per_class,
        "confused": most_confused(truth, guess, classes),
    }


def truths(labels: Sequence[tuple[int, ...]]) -> np.ndarray:
    """The one class of each picture [pictures]; -1 for a class that the model does not know."""
    return np.array([label[0] for label in labels], dtype=np.int64)


def guesses(logits: np.ndarray) -> np.ndarray:
    """The likeliest class of each picture [pictures], the first among equals; `UNREADABLE` where there is none."""
    return np.where(np.isnan(logits[:, 0]), UNREADABLE, np.argmax(logits, axis=1))


def places(logits: np.ndarray, labels: Sequence[tuple[int, ...]]) -> np.ndarray:
    """How many classes come before the true one [pictures]; for unreadable or unknown pictures so many that no top
    k holds it, even of fewer classes than `TOP`."""
    truth = truths(labels)
    known = (truth >= 0) & ~np.isnan(logits[:, 0])
    place = np.full(len(truth), max(logits.shape[1], TOP), dtype=np.int64)
    for rows in _parts(np.flatnonzero(known), logits.shape[1]):
        place[rows] = _places(logits[rows], truth[rows])
    return place


def _log_losses(logits: np.ndarray, truth: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Negative log-likelihood of each of the `known` rows, in double precision."""
    found = np.empty(len(known))
    done = 0
    for rows in _parts(known, logits.shape[1]):
        scores = torch.from_numpy(logits[rows]).double().log_softmax(dim=1).numpy()
        found[done : done + len(rows)] = -scores[np.arange(len(rows)), truth[rows]]
        done += len(rows)
    return found


def _parts(rows: np.ndarray, width: int) -> list[np.ndarray]:
    """Rows in parts whose copies stay small: 25,600 pictures of 21,843 classes are 4.5 GB in double precision."""
    size = max(1, AT_ONCE // width)
    return [rows[at : at + size] for at in range(0, len(rows), size)]


def hits(logits: np.ndarray, labels: Sequence[tuple[int, ...]], multi_label: bool = False) -> dict[str, np.ndarray]:
    """Per picture [pictures] whether it counts as right, for each share that the metrics report."""
    if not multi_label:
        place = places(logits, labels)
        return {"top1": place < 1, "top5": place < TOP}
    wanted, scores, sound = _questions(logits, labels)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :TOP]
    found = np.take_along_axis(wanted, best, axis=1) & sound[:, None]
    exact = ((scores > 0) == wanted).all(axis=1) & sound
    return {"top1": found[:, :1].any(axis=1), "top5": found.any(axis=1), "exact_match": exact}


def _places(logits: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """How many classes come before the true one; between equals the first in order comes first, as in argmax."""
    rows = np.arange(len(truth))
    own = logits[rows, truth][:, None]
    before = (logits > own) | ((logits == own) & (np.arange(logits.shape[1]) < truth[:, None]))
    return np.asarray(before.sum(axis=1))


def multi_label_metrics(
    logits: np.ndarray, labels: Sequence[tuple[int, ...]], classes: Sequence[str]
) -> dict[str, Any]:
    """`mean_average_precision` over the classes present (0 if there is none), `exact_match` at probability 0.5.

    `per_class` holds average precisions. `top1` is the share of pictures whose likeliest class is one of theirs,
    `top5` likewise.
    """
    wanted, scores, _ = _questions(logits, labels)
    precision = {
        name: _average_precision(scores[:, k], wanted[:, k]) for k, name in enumerate(classes) if wanted[:, k].any()
    }
    right = hits(logits, labels, multi_label=True)
    return {
        "top1": float(right["top1"].mean()),
        "top5": float(right["top5"].mean()),
        "mean_average_precision": float(np.mean(list(precision.values()))) if precision else 0.0,
        "exact_match": float(right["exact_match"].mean()),
        "per_class": {
            n: {"count": int(wanted[:, classes.index(n)].sum()), "average_precision": p} for n, p in precision.items()
        },
    }


def _questions(logits: np.ndarray, labels: Sequence[tuple[int, ...]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth [pictures, classes], scores in which unreadable pictures come last, and which pictures can be right."""
    readable = ~np.isnan(logits[:, 0])
    sound = readable & np.array([min(label, default=0) >= 0 for label in labels])  # an unknown class is wrong
    return multi_hot(labels, logits.shape[1]), np.where(readable[:, None], logits, -np.inf), sound


def _average_precision(scores: np.ndarray, wanted: np.ndarray) -> float:
    """Mean, over the pictures that have the class, of the precision at their place in the ranking."""
    ranked = wanted[np.argsort(-scores, kind="stable")]
    return float((np.cumsum(ranked)[ranked] / (np.flatnonzero(ranked) + 1)).mean())
