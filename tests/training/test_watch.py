"""Numbers that are read late: the same run, no read in between, and no update from one that is not finite."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from vitral.config import OptimizerConfig
from vitral.errors import NonFiniteError
from vitral.training.averaging import Average
from vitral.training.loop import Cadence, Progress, train
from vitral.training.optimizer import build_optimizer, parameter_groups
from vitral.training.watch import LATE


class Reads(TorchDispatchMode):
    """Notes after how many steps a number of a tensor was asked for, by whatever way."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.ticks: list[int] = []
        self.hooks: Hooks | None = None
        for name in ("tolist", "numpy", "cpu"):
            monkeypatch.setattr(Tensor, name, self._noting(getattr(Tensor, name)))

    def _noting(self, method: Any) -> Any:
        def noted(*args: Any, **kwargs: Any) -> Any:
            self.note()
            return method(*args, **kwargs)

        return noted

    def note(self) -> None:
        if self.hooks is not None:
            self.ticks.append(self.hooks.ticks)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket in (torch.ops.aten._local_scalar_dense, torch.ops.aten.nonzero):
            self.note()
        return func(*args, **kwargs or {})


class Hooks:
    """Least squares; the loss of step `bad` is not finite."""

    def __init__(self, model: nn.Module, bad: int | None = None, stop_at: int | None = None) -> None:
        self.model, self.bad, self.stop_at = model, bad, stop_at
        self.logged: list[dict[str, float]] = []
        self.saved: list[dict[str, float]] = []
        self.ticks = 0

    def loss(self, batch: Tensor, step: int) -> tuple[Tensor, Tensor]:
        loss = (self.model(batch) ** 2).sum() * (math.nan if step == self.bad else 1.0)
        loss.backward()
        return loss.detach(), (batch > 0).sum().float()

    def size(self, batch: Tensor) -> int:
        return len(batch)

    def describe(self, batch: Tensor) -> str:
        return f"pictures of {len(batch)}"

    def log(self, progress: Progress, record: dict[str, float]) -> None:
        self.logged.append(record)

    def tick(self, progress: Progress, size: int, waited: float) -> None:
        self.ticks += 1

    def evaluate(self, progress: Progress) -> bool:
        return True

    def checkpoint(self, progress: Progress, final: bool) -> None:
        self.saved.append(dict(progress.sums))

    def interrupted(self) -> bool:
        return self.stop_at is not None and self.ticks >= self.stop_at


def stream() -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(0)
    while True:
        yield torch.randn(4, 3, generator=generator)


def run(
    late: bool, name: str, steps: int = 40, log: int = 7, reads: Reads | None = None, **options: int
) -> tuple[Progress, Hooks]:
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    config = OptimizerConfig(name, weight_decay=0.1)  # type: ignore[arg-type]
    groups = parameter_groups(model.named_parameters(), config, lambda _: 0, 0)
    optimizer = build_optimizer(groups, config)
    progress, hooks = Progress(model, optimizer, Average(model, 0.9)), Hooks(model, **options)
    cadence = Cadence(steps, log, 1000, 1000)
    arguments: Any = (progress, stream(), hooks, cadence, lambda step: 0.01, 1.0)
    if reads is not None:
        reads.hooks = hooks
    with reads or contextlib.nullcontext():
        train(*arguments, late=late)
    return progress, hooks


@pytest.mark.parametrize("name", ["adamw", "lamb", "sgd"])
def test_reading_late_changes_no_number(name: str) -> None:
    (at_once, first), (later, second) = run(False, name), run(True, name)
    assert first.logged == second.logged
    assert first.saved == second.saved
    assert all(torch.equal(a, b) for a, b in zip(at_once.tensors().values(), later.tensors().values(), strict=True))


def test_a_run_that_is_stopped_between_two_lines_saves_what_was_not_read_yet() -> None:
    (_, first), (_, second) = run(False, "adamw", stop_at=11), run(True, "adamw", stop_at=11)
    assert first.saved == second.saved
    assert first.saved[-1]["steps"] == 4


@pytest.mark.parametrize("name", ["adamw", "lamb", "sgd"])
@pytest.mark.parametrize("late", [False, True])
def test_a_loss_that_is_not_finite_changes_no_weight_and_is_named(late: bool, name: str) -> None:
    sound, _ = run(late, name, steps=23)
    with pytest.raises(NonFiniteError, match=r"the loss of step 23 is not finite .*pictures of 4") as caught:
        run(late, name, log=1000, bad=23)
    stopped = caught.traceback
    model = next(entry.frame.f_locals["model"] for entry in stopped if entry.name == "run")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), sound.model.parameters(), strict=True))


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_nothing_is_read_from_the_device_before_so_many_steps(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = Reads(monkeypatch)
    run(True, name, steps=LATE + 4, log=1000, reads=reads)
    assert set(reads.ticks) == {LATE - 1, LATE + 4}  # the sixteenth step is read before its tick; then the end


def test_the_guard_sees_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = Reads(monkeypatch)
    run(False, "sgd", steps=3, log=1000, reads=reads)
    assert set(reads.ticks) == {0, 1, 2}
