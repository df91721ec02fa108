"""A first look at the pictures, before all weights of a pretrained network learn: what its head alone can do with them.

Every picture goes through the network once, as it is. The head, solved on that (see `vitral.logistic`), is a candidate:
its model is kept unless a later one is better on the validation pictures, so fine-tuning never ends below a linear
probe there. It also tells whether a mirrored picture is still of its class, which decides whether training may mirror.

All of it is a function of pictures, weights and settings: a start that is cut short does it again. What learns
afterwards does not know of it.
"""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from vitral import frozen
from vitral.data.decode import decode
from vitral.data.preprocessing import prepare
from vitral.datasets.dataset import TRAIN, VALIDATION, Source, Split
from vitral.evaluation import represent_split, threads
from vitral.evaluators.classification import Evaluation, evaluate, guesses, truths
from vitral.evaluators.probe import DECAYS, USUAL_DECAY
from vitral.features import Rows, Store, key_of, represent
from vitral.logistic import Logistic
from vitral.models import Network
from vitral.overrides import override
from vitral.serving.predictor import Model
from vitral.session import Session
from vitral.training.loop import Progress

QUICK = 2 * 10**8
"""Pictures times features times classes up to which every weight decay is tried; a try of the largest is 20 seconds."""

MOST = 10 * QUICK
"""Beyond, there is no first look: solving the head would take longer than is worth it."""

MIRRORED = 1_000
"""Validation pictures that are looked at mirrored, at most."""

LEAST_DROP = 0.1
"""Share of the pictures that must be lost by mirroring them before none is mirrored."""

SURE = 2.6
"""Standard deviations that the loss must be from chance, by the pictures whose answer changes (McNemar)."""


def applies(session: Session, network: nn.Module) -> bool:
    """Whether a first look is wanted, and there is a linear head that gives one answer, and something to choose by."""
    if not isinstance(network, Network):  # it learns without labels
        return False
    wanted = session.config.training.first_look and not isinstance(session, frozen.FrozenSession)
    chosen_by = VALIDATION in session.dataset.splits and not session.dataset.multi_label
    plain = type(network).classify is Network.classify  # the head sees one vector per picture, and that is all
    head = network.get_submodule(network.HEADS[0])
    if not (wanted and chosen_by and plain and isinstance(head, nn.Linear)):
        return False
    return len(session.train_split) * head.in_features * head.out_features <= MOST


def first_look(progress: Progress, session: Session) -> bool:
    """Solve the head, judge it, and look at what mirroring does; `False` if interrupted."""
    if not applies(session, progress.model):
        return True
    model = session.model(progress)
    seen = _seen(model, session)
    if seen is None:
        return False
    head = frozen.head_of(model.network)
    before = [parameter.detach().clone() for parameter in head.parameters()]
    try:
        result = _best(head, model, seen, session)
        if result is None:
            return True
        session.judge(progress, model, result)
        session.screen.decide(
            f"the head alone, solved on pictures as they are: {result.metrics['top1']:.1%} of the "
            f"{len(seen[VALIDATION].rows):,} validation pictures; it is kept unless all weights together do better"
        )
        return not session.config.augmentation.check_flip or _look_at_mirrored(model, result, session)
    finally:
        with torch.no_grad():
            for parameter, value in zip(head.parameters(), before, strict=True):
                parameter.copy_(value)


def _seen(model: Model, session: Session) -> dict[str, Rows] | None:
    """What the head sees of training and validation pictures; `None` if interrupted."""
    runtime = session.config.runtime
    store = Store(Path(runtime.features) if runtime.features else session.folder / "features", key_of(model))
    seen = {}
    for name in (TRAIN, VALIDATION):
        tell = partial(_tell, session, name)
        workers, max_pixels = threads(runtime.workers), session.config.data.max_pixels
        found = represent(model, session.dataset.splits[name], store, workers, max_pixels, session.stopped, tell)
        session.screen.end_progress()
        if found is None:
            return None
        seen[name] = found
    return seen


def _tell(session: Session, name: str, done: int, count: int) -> None:
    session.screen.progress(f"a first look at {name}: {done:,} of {count:,} pictures")


def _best(head: nn.Linear, model: Model, seen: dict[str, Rows], session: Session) -> Evaluation | None:
    """Set the head to the fit that is best on validation, and give its answers; `None` if no picture could be read."""
    rows, labels = frozen.to_learn_from(seen[TRAIN], session.dataset)
    if not len(rows):
        return None
    counts = frozen.picture_counts(session.config, session.dataset, labels)
    tried = DECAYS if rows.size * len(model.classes) <= QUICK else (USUAL_DECAY,)
    best: tuple[tuple[float, float], Logistic, Evaluation] | None = None
    fitted: Logistic | None = None
    for number, decay in enumerate(tried, start=1):
        session.screen.progress(f"solving the head: weight decay {decay:.2g}, {number} of {len(tried)}")
        fitted = Logistic(rows, labels, len(model.classes), decay, fitted, counts)
        frozen.set_head(head, fitted)
        result = _answers(model, seen[VALIDATION], session)
        merit = _merit(result, session.config.metric)
        if best is None or merit > best[0]:
            best = merit, fitted, result
    session.screen.end_progress()
    assert best is not None
    frozen.set_head(head, best[1])
    return best[2]


def _answers(model: Model, rows: Rows, session: Session) -> Evaluation:
    answered = ((batch, model.logits_of(batch.images)) for batch in rows.in_order())
    found = evaluate(answered, session.dataset.splits[VALIDATION].labels, model.classes)
    assert found is not None
    return found


def _merit(result: Evaluation, metric: str | None) -> tuple[float, float]:
    """By the run's own measure; between equals the lower loss is better."""
    loss = result.metrics["loss"]
    less = -math.inf if loss is None else -loss
    value = less if metric == "loss" else result.metrics[metric or "top1"]
    return (-math.inf if value is None else value), less


def _look_at_mirrored(model: Model, result: Evaluation, session: Session) -> bool:
    """Mirror none in training if validation pictures are other classes in the mirror; `False` if interrupted."""
    augmentation, split = session.config.augmentation, session.dataset.splits[VALIDATION]
    if not augmentation.flip:
        return True
    few = Split(split.sources[:MIRRORED], split.labels[:MIRRORED])
    max_pixels = session.config.data.max_pixels

    def mirrored(source: Source) -> np.ndarray:
        return prepare(decode(source, max_pixels), model.preprocessing)[:, ::-1]

    rows, _ = represent_split(model, few, threads(session.config.runtime.workers), max_pixels, read=mirrored)
    if session.stopped():
        return False
    truth = truths(few.labels)
    plain = guesses(result.logits[:MIRRORED]) == truth
    turned = model.logits_of(rows).argmax(dim=1).numpy() == truth
    lost, won = int((plain & ~turned).sum()), int((turned & ~plain).sum())
    if lost - won < LEAST_DROP * len(truth) or lost - won < SURE * math.sqrt(lost + won):
        return True
    session.config = override(session.config, {"augmentation.flip": False})
    session.record(session.config)
    session.screen.decide(
        f"no picture is mirrored: of {len(truth):,} validation pictures the head knows {plain.mean():.0%}, and "
        f"{turned.mean():.0%} of them mirrored, so they are other classes then"
    )
    return True
