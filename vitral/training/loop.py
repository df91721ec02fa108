"""The training loop, for pre-training and fine-tuning alike.

It knows neither a model family nor a data set nor an evaluator: it takes callables. Everything that changes
while it runs is in `Progress`, so that a run continued from a checkpoint is bit for bit the run that was
never stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from vitral.errors import DataError
from vitral.training.averaging import Average
from vitral.training.optimizer import set_learning_rate
from vitral.training.schedule import due
from vitral.training.watch import LATE, Watch


@dataclass
class Progress:
    """What changes during training.

    `sums` gathers loss, right answers and pictures since the last line of metrics; `evaluated` is the step of
    the last evaluation, `best` the best validation value so far, `best_loss` and `best_step` its loss and step, `stale`
    the evaluations since that one.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    average: Average | None
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    evaluated: int = 0
    best: float | None = None
    best_loss: float | None = None
    best_step: int = 0
    stale: int = 0

    @property
    def evaluation_model(self) -> nn.Module:
        """The model to evaluate and keep: the average where there is one."""
        return self.average.model if self.average else self.model

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor that a resumed run needs, by name."""
        named = {f"model/{name}": value for name, value in self.model.state_dict().items()}
        if self.average:
            named |= {f"average/{name}": value for name, value in self.average.model.state_dict().items()}
        for name, parameter in self.model.named_parameters():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                if value is not None:
                    named[f"optimizer/{key}/{name}"] = value
        return named

    def improves(self, value: float, loss: float | None) -> bool:
        """Whether this validation value is the best so far; between equals the lower loss is better, else the later.

        On few pictures many models get all of them right; the loss still tells which is surer.
        """
        if self.best is None or value != self.best:
            return self.best is None or value > self.best
        return loss is None or self.best_loss is None or loss <= self.best_loss

    def state(self) -> dict[str, Any]:
        """Every number that a resumed run needs."""
        names = ("step", "sums", "evaluated", "best", "best_loss", "best_step", "stale")
        return {name: getattr(self, name) for name in names}

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Continue from `tensors()` and `state()` of an earlier process; strict about every name."""
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}, "optimizer": {}}
        for name, tensor in tensors.items():
            part, _, rest = name.partition("/")
            parts[part][rest] = tensor
        self.model.load_state_dict(parts["model"])
        if self.average:
            self.average.model.load_state_dict(parts["average"])
        parameters = dict(self.model.named_parameters())
        learning = {name for name, parameter in parameters.items() if parameter.requires_grad}
        # Fewer names are sound: SGD without momentum keeps no state, nor does a parameter that had no gradient yet.
        if not {name.partition("/")[2] for name in parts["optimizer"]} <= learning:
            raise DataError("the checkpoint's optimizer is of another set of parameters: start afresh with --out.")
        for name, tensor in parts["optimizer"].items():
            key, _, parameter = name.partition("/")
            target = parameters[parameter]
            # A copy of our own: memory mapped from a file is aligned differently, and sums could round differently.
            self.optimizer.state[target][key] = tensor.to(target.device, copy=True)
        for name, value in state.items():
            setattr(self, name, value)


@dataclass(frozen=True)
class Cadence:
    """How long and how often, in steps; `patience` is the evaluations without a better one that end it, 0 for never."""

    total: int
    log: int
    evaluate: int
    checkpoint: int
    patience: int = 0

    def is_over(self, progress: Progress) -> bool:
        """Whether no step is left to make."""
        return progress.step >= self.total or 0 < self.patience <= progress.stale


class Hooks(Protocol):
    """What the loop calls; `vitral.session` provides them."""

    def loss(self, batch: Any, step: int) -> tuple[Tensor, Tensor]:
        """Run forward and backward on one batch of step `step`; return (loss sum, number right), both scalars."""

    def size(self, batch: Any) -> int:
        """Pictures in a batch."""

    def describe(self, batch: Any) -> str:
        """The batch's samples in words, for an error."""

    def log(self, progress: Progress, record: dict[str, float]) -> None:
        """Take one line of training metrics."""

    def tick(self, progress: Progress, size: int, waited: float) -> None:
        """Take note of one finished step, its pictures, and the seconds it waited for data."""

    def evaluate(self, progress: Progress) -> bool:
        """Evaluate and keep the best; `False` if it was interrupted and must be done again."""

    def checkpoint(self, progress: Progress, final: bool) -> None:
        """Save; `final` when nothing comes after it, so that a failure must not be passed over."""

    def interrupted(self) -> bool:
        """Whether to stop at the next step."""


def train(
    progress: Progress,
    batches: Iterator[Any],
    hooks: Hooks,
    cadence: Cadence,
    learning_rate: Callable[[int], float],
    clip_norm: float,
    late: bool | None = None,
) -> bool:
    """Train from `progress.step` to the end; `False` if interrupted (all is saved then).

    Args:
        late: read losses from the device late, see `vitral.training.watch`; by default on CUDA GPUs.

    Raises:
        NonFiniteError: the loss or the gradient norm is not finite; the update was not made.
    """
    learning = {id(parameter) for group in progress.optimizer.param_groups for parameter in group["params"]}
    parameters = [parameter for parameter in progress.model.parameters() if id(parameter) in learning]
    progress.model.train()
    device = parameters[0].device
    late = device.type == "cuda" if late is None else late
    watch = Watch(progress.optimizer, device, late)
    finished = _boundary(progress, hooks, cadence, watch, resuming=True)
    while finished and not cadence.is_over(progress):
        started = time.perf_counter()
        batch = next(batches)
        waited = time.perf_counter() - started
        rate = learning_rate(progress.step)
        set_learning_rate(progress.optimizer, rate)
        loss, right = hooks.loss(batch, progress.step)
        norm = torch.nn.utils.clip_grad_norm_(parameters, clip_norm if clip_norm > 0 else float("inf"))
        size = hooks.size(batch)
        watch.see(progress.step, loss, right, norm, size, hooks.describe(batch))
        progress.optimizer.step()
        progress.optimizer.zero_grad(set_to_none=True)
        progress.step += 1
        if progress.average:
            progress.average.update(progress.model, progress.step)
        if not late or watch.unread >= LATE:
            watch.settle(progress.sums)
        hooks.tick(progress, size, waited)
        if due(progress.step, cadence.log, cadence.total):
            watch.settle(progress.sums)
            hooks.log(progress, {"learning_rate": rate, **_means(progress.sums)})
            progress.sums = {}
        finished = _boundary(progress, hooks, cadence, watch)
    return finished


def _boundary(progress: Progress, hooks: Hooks, cadence: Cadence, watch: Watch, resuming: bool = False) -> bool:
    """What follows a step: evaluation, checkpoint, and a look at whether to stop. `False` to stop."""
    step = progress.step
    if due(step, cadence.evaluate, cadence.total) and progress.evaluated != step and not hooks.interrupted():
        watch.settle(progress.sums)
        if hooks.evaluate(progress):
            progress.evaluated = step
        progress.model.train()
    last = cadence.is_over(progress)
    stop = hooks.interrupted() and not (last and progress.evaluated == step)
    if stop or last or (due(step, cadence.checkpoint, cadence.total) and not resuming):
        watch.settle(progress.sums)
        hooks.checkpoint(progress, final=stop or last)
    return not stop


def _means(sums: dict[str, float]) -> dict[str, float]:
    return {
        "loss": sums["loss"] / max(1, sums["pictures"]),
        "top1": sums["right"] / max(1, sums["pictures"]),
        "gradient_norm": sums["norm"] / sums["steps"],
    }
