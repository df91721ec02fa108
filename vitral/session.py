"""One training run while it runs: what the loop calls back to."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vitral.config import RunConfig, Size
from vitral.console import Screen, duration_words
from vitral.data import batched
from vitral.data.balance import BalancedOrder
from vitral.data.choices import drawn
from vitral.data.loader import Batch, Ids, Make, batches
from vitral.data.mixing import mix
from vitral.data.order import repeated_ids
from vitral.data.preprocessing import normalise
from vitral.data.random_streams import batch_generator, borrowed_generator, step_seed
from vitral.data.reading import Opened, Reader
from vitral.data.transforms import vary
from vitral.datasets.dataset import TRAIN, VALIDATION, Dataset
from vitral.errors import DataError, StorageError
from vitral.evaluation import cores, evaluate_split, threads
from vitral.evaluators.classification import Evaluation
from vitral.keeping import build_cache, clear, put_away
from vitral.metrics import name_of, written
from vitral.overrides import override
from vitral.serving.predictor import Model
from vitral.training import checkpoint, lora, memory, sparse
from vitral.training.distillation import build_distillation
from vitral.training.head_first import HeadFirst
from vitral.training.limits import WORDS, Work, limit
from vitral.training.log import JsonLines, Speed, TensorBoard
from vitral.training.loop import Cadence, Progress
from vitral.training.losses import build_loss, class_weights, hits, targets
from vitral.training.resolution import Resolution, at_size

MAX_FAILED_SAVES = 3
"""Checkpoints in a row that may fail before the run gives up."""

TELLING = 200 * 10**6
"""Bytes from which a step's memory is worth a sentence: below, what else a process does hides it."""


@dataclass
class Session:
    """Implements `vitral.training.loop.Hooks` for pictures of a `Dataset`.

    `forward` gives scores; with a `teacher`, both scores of `Network.both_scores`. `discard` drops gradients;
    `record` is told when memory made `config` another one.
    """

    config: RunConfig
    dataset: Dataset
    folder: Path
    cadence: Cadence
    device: torch.device
    screen: Screen
    stopped: Callable[[], bool]
    forward: Callable[[Tensor], Any]
    save_best: Callable[[Model], None]
    descriptions: dict[str, str]
    teacher: Callable[[Tensor], Tensor] | None = None
    discard: Callable[[], object] = lambda: None
    record: Callable[[RunConfig], object] = lambda _: None
    head_first: HeadFirst | None = None

    def __post_init__(self) -> None:
        self.metrics = JsonLines(self.folder / "metrics.jsonl")
        self.speeds = JsonLines(self.folder / "speed.jsonl")
        self.board = TensorBoard(self.folder / "tensorboard") if self.config.runtime.tensorboard else None
        self.train_split = self.dataset.splits[TRAIN]
        weights = class_weights(self.config.loss.class_weights, self.dataset.classes, self.train_split.labels)
        self.sparse = sparse.applies(self.config.loss, len(self.dataset.classes))
        dense: Any = build_loss(self.config.loss, None if weights is None else weights.to(self.device))
        self.loss_of = sparse.LOSSES[self.config.loss.name] if self.sparse else dense
        self.distil = build_distillation(self.config.distillation)
        self.resolution = Resolution.build(
            self.config.schedule.resolution, self.cadence.total, self.config.preprocessing.crop
        )
        self.skipped: set[str] = {record["path"] for record in JsonLines(self.folder / "unreadable.jsonl").read()}
        self.speed, self.recent, self.work = Speed(), Speed(), Work()
        self.failed_saves = 0
        self.last_line = self.limit = ""
        self.reader: Reader | None = None
        self.expected: tuple[int, memory.Peak] | None = None

    # Data ----------------------------------------------------------------------------------------

    def batches(self, step: int) -> Iterator[Batch]:
        """The endless stream of training batches from `step` on; a pure function of seed and step."""
        runtime, data, ids = self.config.runtime, self.config.data, self.ids(step)
        if self.reader is None:
            cache = build_cache(runtime, data.shrink, self.folder, self.screen)
            self.reader = Reader(data.max_pixels, data.scaled_decoding, data.shrink, cache, self.work.note)
        for size, steps in self.resolution.parts(step):
            part = itertools.islice(ids, steps)
            yield from batches(part, self._make_at(size), size, threads(runtime.workers), runtime.prefetch)

    def put_away(self, done: bool) -> None:
        """Let go of what was kept of pictures; `done` is false if the run will go on another time."""
        if self.reader is not None and self.reader.cache is not None:
            put_away(self.reader.cache, len(self.train_split), done, self.screen)
        if done:
            clear(self.config.runtime, self.folder)

    def ids(self, step: int) -> Iterator[Ids]:
        """Epochs and sample ids of every batch from `step` on."""
        size, seed, balance = self.config.training.batch_size, self.config.training.seed, self.config.data.balance
        order = BalancedOrder([own[0] for own in self.train_split.labels], balance, seed) if balance else None
        for start in itertools.count(step * size, size):
            yield (
                order.sample_ids(start, size)
                if order
                else repeated_ids(start, size, len(self.train_split), seed, self.config.augmentation.repeats)
            )

    def _make_at(self, size: Size) -> Make:
        """What makes a training picture of this size, varied or with the choices for it."""
        seed, on_device = self.config.training.seed, self.config.runtime.augment_on == "device"
        preprocessing, augmentation = at_size(size, self.config.preprocessing, self.config.augmentation)

        def make(epoch: int, sample: int) -> Any:
            rng = borrowed_generator(seed, epoch, sample)

            def varied(picture: Opened) -> Any:
                pixels = picture.cut(rng, augmentation, preprocessing)
                return (pixels, drawn(size, rng, augmentation)) if on_device else vary(pixels, rng, augmentation)

            assert self.reader is not None
            return self.reader.make(self.train_split.sources[sample], varied)

        return make

    # Hooks ---------------------------------------------------------------------------------------

    def loss(self, batch: Batch, step: int) -> tuple[Tensor, Tensor]:
        """Forward and backward in micro-batches; gradients are those of the batch's mean loss.

        Where memory runs out, the step is made again in micro-batches of half the size, and all later ones too.
        """
        self._account_for(batch)
        if not len(batch):  # all of it left out: no gradient, so no update
            return torch.zeros(()), torch.zeros(())
        if self.head_first:
            self.head_first(step)
        while True:
            try:
                return self._forward_and_backward(batch, step)
            except (RuntimeError, MemoryError) as error:
                if not memory.is_out_of_memory(error) or self._micro_batch(batch) == 1:
                    raise
            self._halve(self._micro_batch(batch))  # outside of the handler, which holds on to what should be freed

    def _micro_batch(self, batch: Batch) -> int:
        return min(self.config.training.micro_batch_size or len(batch), len(batch))

    def _halve(self, size: int) -> None:
        half = memory.halved(size)
        self.discard()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self.config = override(self.config, {"training.micro_batch_size": half})
        self.screen.end_progress()
        self.screen.warn(
            f"{size} pictures at once are too many for the memory: from now on batches go in parts of {half}."
        )
        self.record(self.config)

    def _forward_and_backward(self, batch: Batch, step: int) -> tuple[Tensor, Tensor]:
        images, wanted = self._mixed(batch, step)
        total = torch.zeros((), device=self.device)
        right = torch.zeros((), device=self.device)
        size = self._micro_batch(batch)
        for part, aim in zip(images.split(size), wanted.split(size), strict=True):
            logits, losses = self._learn(part, aim)
            loss = losses.sum()
            (loss / len(images)).backward()
            total += loss.detach()
            right += (aim.hits(logits) if self.sparse else hits(logits, aim)).sum()
        return total, right

    @property
    def autocast(self) -> bool:
        """Whether products are made in bfloat16."""
        return self.config.training.precision == "bfloat16"

    @property
    def whole_step(self) -> int:
        """A step in which everything learns that ever does."""
        return self.head_first.steps if self.head_first else 0

    def _mixed(self, batch: Batch, step: int) -> tuple[Tensor, Any]:
        """What `forward` takes [n, ...] and targets [n, classes] of a step, dense or sparse; random numbers are the
        step's."""
        config = self.config
        torch.manual_seed(step_seed(config.training.seed, step))
        images = self.inputs(batch)
        labels = [self.train_split.labels[sample] for sample in batch.samples]
        make: Any = sparse.SparseTargets.of if self.sparse else targets
        wanted = make(labels, len(self.dataset.classes), config.loss.label_smoothing, self.device)
        if config.augmentation.mixup or config.augmentation.cutmix:
            rng = batch_generator(config.training.seed, step)
            images, wanted = mix(images, wanted, rng, config.augmentation.mixup, config.augmentation.cutmix)
        return images, wanted

    def inputs(self, batch: Batch) -> Tensor:
        """What `forward` takes of a batch, on the device."""
        return normalise(self.pixels(batch), self.config.preprocessing.mean, self.config.preprocessing.std)

    def pixels(self, batch: Batch) -> Tensor:
        """Pictures of a batch [n, h, w, 3] uint8, on the device, varied."""
        pixels = torch.from_numpy(batch.images).to(self.device, non_blocking=True)
        if batch.choices:
            pixels = batched.vary(pixels, batch.choices, self.config.augmentation.randaugment_magnitude)
        return pixels

    def kept_bytes(self, batch: Batch) -> int:
        """Bytes that a forward pass of the whole batch keeps for the backward pass."""
        images, wanted = self._mixed(batch, self.whole_step)
        return memory.saved_bytes(lambda: self._learn(images, wanted))

    def _learn(self, images: Tensor, aim: Any) -> tuple[Tensor, Tensor]:
        """Scores [n, classes] and the loss of each picture [n]."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            scores = self.forward(images)
            teacher = self.teacher(images) if self.teacher else None
        if teacher is None or self.distil is None:
            return scores, self.loss_of(scores, aim)
        labels, taught = scores
        return (labels + taught) / 2, self.distil(self.loss_of(labels, aim), taught, teacher)

    def _account_for(self, batch: Batch) -> None:
        if batch.unreadable and self.config.data.on_bad_image == "fail":
            _, error = batch.unreadable[0]
            raise DataError(
                f"training picture {error.source} cannot be read ({error.reason}): add "
                f"--on-bad-image skip to leave it out and go on, or mend it and start afresh with another --out."
            ) from error
        for _, error in batch.unreadable:
            self._name_bad(error.source, error.reason, "left out")

    def size(self, batch: Batch) -> int:
        """Pictures in a batch."""
        return len(batch)

    def describe(self, batch: Batch) -> str:
        """Up to eight samples of a batch, by path."""
        names = [str(self.train_split.sources[sample]) for sample in batch.samples[:8]]
        return ", ".join(names) + (f" and {len(batch) - 8} more" if len(batch) > 8 else "")

    def log(self, progress: Progress, record: dict[str, float]) -> None:
        """One line of training metrics, one of speeds."""
        self._write(progress, record)
        speed = self.recent.read()
        self.limit = self._limit(speed["waiting"])
        told = {k: speed[k] for k in ("images_per_second", "waiting")}
        self.speeds.append({"step": progress.step, **told, "limit": self.limit})
        self.recent.restart()
        self.work.restart()
        self.last_line = self.in_words(record)

    def in_words(self, record: dict[str, float]) -> str:
        """Training metrics as the live line shows them."""
        return f"loss {record['loss']:.3f}  top-1 {record['top1']:.1%}"

    def expect_memory(self, predicted: int) -> None:
        """Compare the bytes that steps are predicted to take with what the first ones will take."""
        if predicted >= TELLING:
            self.expected = predicted, memory.Peak(self.device)

    def _compare_memory(self) -> None:
        """After the third step, in which the optimizer has all that it keeps: say what the prediction was worth."""
        if self.expected is None or self.speed.steps < 3:
            return
        predicted, peak = self.expected
        self.expected, taken = None, peak.read()
        if taken is not None:
            self.screen.end_progress()
            self.screen.decide(f"memory of a step: {predicted / 1e6:,.0f} MB predicted, {taken / 1e6:,.0f} MB taken")

    def _limit(self, waiting: float) -> str:
        """What held up the steps since the last line of metrics."""
        workers = threads(self.config.runtime.workers)
        return limit(waiting, self.work.read, self.work.made, workers, cores())

    def tick(self, progress: Progress, size: int, waited: float) -> None:
        """Redraw the live line."""
        self.speed.add(size, waited)
        self.recent.add(size, waited)
        self._compare_memory()
        speed = self.speed.read()
        left = (self.cadence.total - progress.step) * speed["seconds_per_step"]
        loss = self.last_line
        if progress.sums and not loss:
            loss = f"loss {progress.sums['loss'] / max(1, progress.sums['pictures']):.3f}"
        held = WORDS[self.limit or self._limit(speed["waiting"])]
        self.screen.progress(
            f"step {progress.step}/{self.cadence.total}  {loss}  {speed['images_per_second']:.0f} img/s  "
            f"{duration_words(left)} left  held up by {held} (waiting for data {speed['waiting']:.0%})"
        )

    def evaluate(self, progress: Progress) -> bool:
        """Measure on the validation split; keep the model if it is the best so far."""
        model = self.model(progress)
        if VALIDATION not in self.dataset.splits:
            self.save_best(model)
            progress.best_step = progress.step
            return True
        began = time.perf_counter()
        result = self.measured(model, VALIDATION)
        if result is None:
            return False
        self.judge(progress, model, result)
        self._excuse(time.perf_counter() - began)
        return True

    def judge(self, progress: Progress, model: Model, result: Evaluation) -> None:
        """Note what the model is worth on the validation split; keep it if it is the best so far."""
        named = {k: v for k, v in result.metrics.items() if isinstance(v, float)}
        self._write(progress, {f"validation_{name}": value for name, value in named.items()})
        chief = self.config.metric
        value = result.metrics[chief]
        score = -math.inf if value is None else -value if chief == "loss" else value
        progress.stale += 1
        if progress.improves(score, result.metrics.get("loss")):
            progress.best, progress.best_loss, progress.best_step = score, result.metrics.get("loss"), progress.step
            progress.stale = 0
            model.metrics = {"validation": result.metrics, "step": progress.step, "best_step": progress.step}
            self.save_best(model)
        self._tell_evaluation(progress, chief, value)

    def measured(self, model: Model, name: str) -> Evaluation | None:
        """The model on the split of that name, its unreadable pictures named; `None` if it was interrupted."""
        split = self.dataset.splits[name]
        workers, max_pixels = threads(self.config.runtime.workers), self.config.data.max_pixels
        return self._named(name, evaluate_split(model, split, workers, max_pixels, self.stopped))

    def _named(self, name: str, result: Evaluation | None) -> Evaluation | None:
        """Name, once, the pictures that an evaluation counted as wrong because they cannot be read."""
        for sample, reason in result.unreadable.items() if result else ():
            self._name_bad(str(self.dataset.splits[name].sources[sample]), reason, "counted as wrong")
        return result

    def _tell_evaluation(self, progress: Progress, chief: str, value: float | None) -> None:
        best = written(chief, abs(progress.best or 0.0))
        self.screen.end_progress()
        learnt = f"{self.last_line}  " if self.last_line else ""
        self.screen.say(
            f"step {progress.step}/{self.cadence.total}: {learnt}validation {name_of(chief)} "
            f"{'-' if value is None else written(chief, value)} (best {best} at step {progress.best_step})"
        )
        if self.cadence.is_over(progress) and progress.step < self.cadence.total:
            self.screen.say(f"stopped early: {progress.stale} evaluations in a row were not better")

    def _name_bad(self, path: str, reason: str, fate: str) -> None:
        if path not in self.skipped:
            self.skipped.add(path)
            self.screen.warn(f"{fate}: {path}: {reason}")
            JsonLines(self.folder / "unreadable.jsonl").append({"path": path, "reason": reason})

    def model(self, progress: Progress) -> Model:
        """The model to evaluate and keep."""
        network: Any = progress.evaluation_model
        return Model(
            lora.merged(network),
            self.config.preprocessing,
            self.dataset.classes,
            self.descriptions,
            self.dataset.multi_label,
        )

    def checkpoint(self, progress: Progress, final: bool) -> None:
        """Save everything; one failure in between is survived, with a warning."""
        began = time.perf_counter()
        state = {"progress": progress.state(), "metrics_bytes": self.metrics.size()}
        try:
            folder = self.folder / "checkpoints"
            checkpoint.save(folder, progress.step, progress.tensors(), state, self.config.training.keep_checkpoints)
            self.failed_saves = 0
        except StorageError as error:
            self.failed_saves += 1
            if final or self.failed_saves >= MAX_FAILED_SAVES:
                raise
            self.screen.warn(f"{error} The run goes on.")
        self._excuse(time.perf_counter() - began)

    def interrupted(self) -> bool:
        """Whether a signal asked to stop."""
        return self.stopped()

    def _write(self, progress: Progress, record: dict[str, Any]) -> None:
        examples = progress.step * self.config.training.batch_size
        line = {"step": progress.step, "examples": examples, "epoch": examples / len(self.train_split), **record}
        self.metrics.append(line)
        if self.board:
            self.board.write(line)

    def _excuse(self, seconds: float) -> None:
        """Evaluations and saves do not count as training time."""
        self.speed.started += seconds
        self.recent.started += seconds
