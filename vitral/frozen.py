"""Training where only the head learns from pictures that are never varied: the rest of the network runs as in
evaluation, and each picture goes through it once (see `vitral.features`).

The numbers are the same without what is kept, `training.keep_features` off, down to the bits where a row does not
depend on the batch that it is computed in (see `Model.logits`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitral.config import RunConfig
from vitral.data.loader import Batch
from vitral.datasets.dataset import TRAIN, VALIDATION, Dataset
from vitral.errors import UsageError
from vitral.evaluation import threads
from vitral.evaluators.classification import Evaluation, evaluate, truths
from vitral.evaluators.probe import DECAYS, USUAL_DECAY
from vitral.features import Rows, Store, key_of, represent
from vitral.logistic import Logistic
from vitral.models import Network
from vitral.serving.predictor import Model
from vitral.session import Session
from vitral.training.loop import Progress
from vitral.training.losses import class_weights


def applies(config: RunConfig, network: Network) -> bool:
    """Whether nothing but the head learns, from pictures that look the same every time, with no teacher to ask."""
    learning = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    heads_alone = all(name.startswith(f"{network.HEADS[0]}.") for name in learning)
    plain = type(network).classify is Network.classify  # the head sees one vector per picture, and that is all
    return heads_alone and plain and config.augmentation.is_off and config.distillation.kind == "none"


def head_of(network: nn.Module) -> nn.Linear:
    """The layer that learns."""
    head = network.get_submodule(network.HEADS[0])  # type: ignore[arg-type, index]
    assert isinstance(head, nn.Linear)
    return head


@dataclass
class FrozenSession(Session):
    """A session whose batches hold what the head sees; `forward` is the head."""

    network: Network | None = None
    rows: dict[str, Rows] = field(default_factory=dict)

    @property
    def autocast(self) -> bool:
        """Never: the head learns from the numbers that it will be asked with."""
        return False

    def prepare(self) -> bool:
        """Send the pictures through the network that have not been; `False` if interrupted."""
        if not self.config.training.keep_features and self.config.optimizer.name != "lbfgs":
            return True
        runtime = self.config.runtime
        model = self._backbone()
        store = Store(Path(runtime.features) if runtime.features else self.folder / "features", key_of(model))
        for name, split in self.dataset.splits.items():
            tell = partial(self._tell, name)
            workers, max_pixels = threads(runtime.workers), self.config.data.max_pixels
            found = represent(model, split, store, workers, max_pixels, self.stopped, tell)
            self.screen.end_progress()
            if found is None:
                return False
            self.rows[name] = found
        train = self.rows[TRAIN]
        bad = tuple(train.unreadable.items())
        self._account_for(Batch(train.rows[:0], np.zeros(0, np.int64), np.zeros(0, np.int64), bad))
        return True

    def _tell(self, name: str, done: int, count: int) -> None:
        self.screen.progress(f"features of {name}: {done:,} of {count:,} pictures")

    def batches(self, step: int) -> Iterator[Batch]:
        """As of any session, of rows where they are kept."""
        if TRAIN not in self.rows:
            yield from super().batches(step)
        for epochs, samples in self.stream.ids(self.config, step):
            yield self.rows[TRAIN].batch(epochs, samples)

    def inputs(self, batch: Batch) -> Tensor:
        """What the head sees of a batch [n, R], on the device."""
        rows = batch.images if TRAIN in self.rows else self._backbone().representations(batch.images).numpy()
        return torch.from_numpy(rows).to(self.device, non_blocking=True)

    def measured(self, model: Model, name: str) -> Evaluation | None:
        """As of any session, from rows where they are kept."""
        if name not in self.rows:
            return super().measured(model, name)
        labels = self.dataset.splits[name].labels
        answered = ((batch, model.logits_of(batch.images)) for batch in self.rows[name].in_order())
        found = evaluate(answered, labels, model.classes, model.multi_label, self.stopped)
        return self._named(name, found)

    def _backbone(self) -> Model:
        """The network as it evaluates; its head plays no part."""
        assert self.network is not None
        config = self.config
        return Model(self.network, config.preprocessing, self.dataset.classes, multi_label=self.dataset.multi_label)


def decays(dataset: Dataset) -> tuple[float, ...]:
    """What `solve` tries: without validation pictures to choose by, the usual one alone."""
    return DECAYS if VALIDATION in dataset.splits else (USUAL_DECAY,)


def solve(progress: Progress, session: Session) -> bool:
    """Fit the head to the end for one weight decay after the other, and keep the best; `False` if interrupted.

    A step is a decay. What an interruption loses is computed again, from what is kept of the pictures.

    Raises:
        UsageError: the network's heads see more than one vector of a picture.
    """
    if not isinstance(session, FrozenSession):
        raise UsageError("this network has no single linear head, so it cannot be solved: try --recipe head-only.")
    tried = decays(session.dataset)
    if progress.step == len(tried) == progress.evaluated:
        return True
    rows, labels = to_learn_from(session.rows[TRAIN], session.dataset)
    counts = picture_counts(session.config, session.dataset, labels)
    head = head_of(progress.model)
    fitted: Logistic | None = None
    for step, decay in enumerate(tried, start=1):
        session.screen.progress(f"weight decay {decay:.2g}, {step} of {len(tried)}")
        fitted = Logistic(rows, labels, len(session.dataset.classes), decay, fitted, counts)
        set_head(head, fitted)
        progress.step = step
        session.recent.add(len(rows), 0.0)
        session.log(progress, {"weight_decay": decay, **_fit(fitted, rows, labels)})
        if session.stopped() or not session.evaluate(progress):
            return False
        progress.evaluated = step
    session.checkpoint(progress, final=True)
    return True


def set_head(head: nn.Linear, fitted: Logistic) -> None:
    """Give a layer the weights of a fit."""
    weight, bias = fitted.folded()
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(bias)


def to_learn_from(made: Rows, dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Rows [n, R] and classes [n] of the readable training pictures."""
    readable = ~np.isin(np.arange(len(made.rows)), list(made.unreadable))
    return made.rows[readable], truths(dataset.splits[TRAIN].labels)[readable]


def picture_counts(config: RunConfig, dataset: Dataset, labels: np.ndarray) -> np.ndarray | None:
    """What each picture of these classes [n] counts where it is solved for, with the class weights and the balance that
    other runs draw and weigh by; `None` where all count alike."""
    weights = class_weights(config.loss.class_weights, dataset.classes, dataset.splits[TRAIN].labels)
    if weights is None and not config.data.balance:
        return None
    made = np.ones(len(labels)) if weights is None else weights.numpy().astype(np.float64)[labels]
    # A class whose pictures are shown n^-balance times as often counts as much more (see `BalancedOrder`).
    return np.asarray(made * np.bincount(labels)[labels].astype(np.float64) ** -config.data.balance)


def _fit(fitted: Logistic, rows: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Mean cross-entropy and share right on the pictures that were learned from."""
    scores, truth = fitted.scores(rows), torch.from_numpy(labels)
    right = (scores.argmax(dim=1) == truth).double().mean()
    return {"loss": float(F.cross_entropy(scores, truth)), "top1": float(right)}
