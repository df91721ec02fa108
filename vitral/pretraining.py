"""Pre-training without labels: the parts of a run that differ from one that learns classes.

What is hidden of a picture is a function of (seed, epoch, sample), as its crop is: another part in every epoch, and
the same after any restart and with any number of workers. In evaluation it is always the same part.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vitral.console import Screen
from vitral.data.decode import decode
from vitral.data.loader import Batch, batches
from vitral.data.preprocessing import normalise, prepare
from vitral.data.random_streams import Purpose, sample_generator, step_seed
from vitral.datasets.dataset import TRAIN, VALIDATION
from vitral.errors import DataError
from vitral.evaluation import threads
from vitral.models.pretext import PretextNetwork
from vitral.objectives import Learned, Objective, build_objective
from vitral.planning import Plan, model_config, model_words
from vitral.pretext_model import PretextModel, load
from vitral.reconstructions import shown_name, strip, to_pixels
from vitral.reports import page
from vitral.reports.pretraining_card import pretraining_card
from vitral.session import Session
from vitral.training import memory
from vitral.training.loop import Progress

EVALUATION = 2**63
"""The epoch whose masks evaluation takes: no training reaches it."""

BATCH_SIZE = 32
"""Pictures per forward pass of an evaluation."""

EXAMPLES = 12
"""Pictures that the report shows."""

NORMAL = 1.959964
"""Standard deviations of a normal distribution on each side of its mean that hold 95 %."""


class Measured(NamedTuple):
    """What came out of a split: numbers, and why pictures could not be read, by sample."""

    metrics: dict[str, Any]
    unreadable: dict[int, str]


@dataclass
class PretrainingSession(Session):
    """A session whose pictures have no labels; `forward` is a `PretextNetwork`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.objective: Objective = build_objective(self.config.pretraining)

    def in_words(self, record: dict[str, float]) -> str:
        """Loss, and how much is told rightly where there is a right and wrong."""
        name = self.objective.ACCURACY
        return f"loss {record['loss']:.3f}" + (f"  {name.replace('_', ' ')} {record[name]:.1%}" if name else "")

    def log(self, progress: Progress, record: dict[str, float]) -> None:
        """As of any session, but what the loop takes for top-1 has its own name, or is not there."""
        right = record.pop("top1")
        super().log(progress, record | ({self.objective.ACCURACY: right} if self.objective.ACCURACY else {}))

    def numbers(self, epochs: np.ndarray, samples: np.ndarray) -> Tensor:
        """What decides what is hidden of each picture: uniform in [0, 1), float32 [n, u, N], on the device."""
        height, width = self.config.preprocessing.crop
        patch = self._patch_size
        shape = self.objective.NUMBERS, (height // patch) * (width // patch)
        seed = self.config.training.seed
        drawn = [
            sample_generator(seed, int(epoch), int(sample), Purpose.MASKING).random(shape, dtype=np.float32)
            for epoch, sample in zip(epochs, samples, strict=True)
        ]
        return torch.from_numpy(np.stack(drawn)).to(self.device, non_blocking=True)

    @property
    def _patch_size(self) -> int:
        network: Any = self.forward
        return int(network.config.patch_size)

    def _asked(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Normalised pictures, what is to be told of them, and what decides what is hidden."""
        pixels, preprocessing = self.pixels(batch), self.config.preprocessing
        aims = self.objective.aims(pixels, self._patch_size)
        images = normalise(pixels, preprocessing.mean, preprocessing.std)
        return images, aims, self.numbers(batch.epochs, batch.samples)

    def _told(self, images: Tensor, aims: Tensor, numbers: Tensor) -> Learned:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            return self.objective.learn(self.forward, images, aims, numbers)

    def _forward_and_backward(self, batch: Batch, step: int) -> tuple[Tensor, Tensor]:
        torch.manual_seed(step_seed(self.config.training.seed, step))
        asked = self._asked(batch)
        total, right = torch.zeros((), device=self.device), torch.zeros((), device=self.device)
        size = self._micro_batch(batch)
        for part in zip(*(values.split(size) for values in asked), strict=True):
            learned = self._told(*part)
            loss = learned.loss.sum()
            (loss / len(batch)).backward()
            total += loss.detach()
            if learned.right is not None:
                right += learned.right.sum()
        return total, right

    def kept_bytes(self, batch: Batch) -> int:
        """Bytes that a forward pass of the whole batch keeps for the backward pass."""
        asked = self._asked(batch)
        return memory.saved_bytes(lambda: self._told(*asked))

    # Evaluation ----------------------------------------------------------------------------------

    def model(self, progress: Progress) -> Any:
        """What to evaluate and keep."""
        network: Any = progress.evaluation_model
        return PretextModel(network.eval(), self.config.preprocessing, self.config.pretraining)

    def prepared(self, name: str, samples: np.ndarray | None = None) -> Iterator[Batch]:
        """Pictures of the split of that name as in evaluation, all or some of them."""
        split, max_pixels = self.dataset.splits[name], self.config.data.max_pixels
        wanted = np.arange(len(split)) if samples is None else samples
        parts = [wanted[start : start + BATCH_SIZE] for start in range(0, len(wanted), BATCH_SIZE)]
        ids = [(np.full(len(part), EVALUATION, dtype=np.uint64), part) for part in parts]

        def make(_: int, sample: int) -> np.ndarray:
            return prepare(decode(split.sources[sample], max_pixels), self.config.preprocessing)

        crop, workers = self.config.preprocessing.crop, threads(self.config.runtime.workers)
        return batches(ids, make, crop, workers, prefetch=2)

    def judge(self, progress: Progress, model: Any, result: Any) -> None:
        """As of any session, but the intervals are left out: by them a run is known whose end has been measured."""
        metrics = {name: value for name, value in result.metrics.items() if name != "intervals"}
        super().judge(progress, model, result._replace(metrics=metrics))

    @torch.inference_mode()
    def measured(self, model: Any, name: str) -> Any:
        """The loss on the split of that name with its 95 % interval; `None` if it was interrupted."""
        told: dict[str, list[Tensor]] = {"loss": [], self.objective.ACCURACY: []}
        unreadable: dict[int, str] = {}
        for batch in self.prepared(name):
            if self.stopped():
                return None
            unreadable |= {sample: error.reason for sample, error in batch.unreadable}
            if len(batch):
                learned = self.objective.learn(model.network, *self._asked(batch))
                told["loss"].append(learned.loss)
                told[self.objective.ACCURACY] += [learned.right] if learned.right is not None else []
        for sample, reason in unreadable.items():
            self._name_bad(str(self.dataset.splits[name].sources[sample]), reason, "left out")
        metrics: dict[str, Any] = {"count": len(self.dataset.splits[name]), "unreadable": len(unreadable)}
        metrics["intervals"] = {}
        for of, values in told.items():
            if values:
                rows = torch.cat(values).double().cpu().numpy()
                metrics[of] = float(rows.mean())
                metrics["intervals"] |= {of: _interval(rows)} if len(rows) > 1 else {}
        if "loss" not in metrics:
            raise DataError(f"not one picture of {name} can be read: `vitral data check` says why.")
        return Measured(metrics, unreadable)

    @torch.inference_mode()
    def examples(self, model: PretextModel) -> dict[str, Any]:
        """What a report shows: some pictures, what is shown of them, and what the network makes of it."""
        name = VALIDATION if VALIDATION in self.dataset.splits else TRAIN
        split = self.dataset.splits[name]
        shown = np.unique(np.linspace(0, len(split) - 1, EXAMPLES).astype(int))
        strips = []
        for batch in self.prepared(name, shown):
            if not len(batch):
                continue
            images, aims, numbers = self._asked(batch)
            pictures = self.objective.pictures(model.network, images, aims, numbers, model.preprocessing)
            hidden, made = (to_pixels(values, model.preprocessing) for values in pictures)
            for sample, *panels in zip(batch.samples, batch.images, hidden, made, strict=True):
                strips.append(strip(shown_name(split.sources[sample], sample, self.dataset.root), panels))
        return {"split": name, "reconstructions": strips}


# Before and after -----------------------------------------------------------------------------------


def network(plan: Plan, screen: Screen) -> PretextNetwork:
    """The network of a run, freshly initialised; says what it is."""
    config = plan.config
    objective = build_objective(config.pretraining)
    made = objective.network(model_config(config, 1))
    counts = [sum(value.numel() for value in values) for values in (made.parameters(), _learned(made))]
    screen.decide(
        f"{model_words(plan)}, from scratch, {counts[1]:,} parameters, and {counts[0] - counts[1]:,} that only "
        f"pre-training needs; {config.pretraining.mask_ratio:.0%} of the patches are {objective.HIDDEN}"
    )
    return made


def _learned(made: PretextNetwork) -> list[Tensor]:
    return [value for name, value in made.named_parameters() if made.shared(name) is not None]


def save(model: PretextModel, folder: Path, plan: Plan) -> None:
    """Write the model folder of a run."""
    height, width = model.network.config.image_size
    text = pretraining_card(
        name=plan.dataset.name,
        model_description=f"{model_words(plan)}, input {height}x{width}",
        metrics=model.metrics,
        preprocessing=model.preprocessing,
        pretraining=model.pretraining,
        recipe=plan.config.recipe,
    )
    model.save(folder / "model", text)


def measure(folder: Path, plan: Plan, progress: Progress, session: PretrainingSession) -> bool:
    """Measure the best model on the validation split, where there is one, keep some of what it makes of hidden pictures
    for the report, and write the numbers into its folder; `False` if it was interrupted."""
    if not (folder / "model" / "model.safetensors").is_file():
        session.screen.warn(f"the best model is gone from {folder / 'model'}: the newest weights take its place")
        save(session.model(progress), folder, plan)
    model = load(folder / "model")
    model.network.to(session.device)
    model.metrics = {"step": progress.step, "best_step": progress.best_step}
    if progress.step < session.cadence.total:
        model.metrics["stopped_early"] = True
    if VALIDATION in plan.dataset.splits:
        session.screen.progress("measuring on the validation split")
        result = session.measured(model, VALIDATION)
        session.screen.end_progress()
        if result is None:
            return False
        model.metrics[VALIDATION] = result.metrics
    page.keep_examples(folder, session.examples(model))
    save(model, folder, plan)
    return True


def _interval(rows: np.ndarray) -> dict[str, float]:
    """Ends of the 95 % interval of a mean over pictures, by the normal approximation."""
    spread = NORMAL * float(rows.std(ddof=1)) / math.sqrt(len(rows))
    return {"low": float(rows.mean()) - spread, "high": float(rows.mean()) + spread}
