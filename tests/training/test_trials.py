"""What trials are made of: memory, precision and the range test of rates, each against a formula or a made-up clock."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from vitral.training import memory, precision, rate_finder
from vitral.training.loop import Progress
from vitral.training.precision import Timing

# Memory ---------------------------------------------------------------------------------------------


def test_what_is_kept_for_the_backward_pass_is_counted_to_the_byte() -> None:
    layer, images = nn.Linear(20, 30), torch.randn(5, 20)
    kept = memory.saved_bytes(lambda: torch.nn.functional.gelu(layer(images)).square().sum())
    # The picture for the weight's gradient; the layer's output for GELU's; GELU's for the square's.
    assert kept == 4 * (5 * 20 + 2 * 5 * 30)


@pytest.mark.parametrize(
    ("batch", "room", "size"), [(32, 320, 32), (32, 319, 16), (7, 40, 4), (7, 39, 2), (7, 5, 1), (7, -1, 1), (1, 0, 1)]
)
def test_the_largest_of_the_halves_that_fits(batch: int, room: float, size: int) -> None:
    assert memory.fitting(batch, 10.0, room) == size


def test_only_memory_that_ran_out_is_taken_for_that() -> None:
    refusals = [
        MemoryError(), torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes."),
        RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"),
    ]  # fmt: skip
    assert all(map(memory.is_out_of_memory, refusals))
    assert not memory.is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_torch_says_it_in_the_words_that_are_looked_for() -> None:
    with pytest.raises(RuntimeError) as refused:
        torch.empty(2**60, dtype=torch.uint8)
    assert memory.is_out_of_memory(refused.value)


def test_a_containers_limit_counts_and_its_files_can_be_given_back(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal:  9000 kB\nMemAvailable:   8000 kB\n")
    assert memory._free_ram(tmp_path / "meminfo", tmp_path) == 8000 * 1024
    for name, text in (("max", "5000000\n"), ("current", "4000000\n"), ("stat", "anon 1\ninactive_file 250000\n")):
        (tmp_path / f"memory.{name}").write_text(text)
    assert memory._free_ram(tmp_path / "meminfo", tmp_path) == 1_250_000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory._free_ram(tmp_path / "meminfo", tmp_path) == 8000 * 1024
    assert memory._free_ram(tmp_path / "none", tmp_path) is None


# Precision ------------------------------------------------------------------------------------------


class Clock:
    """Steps that take what they are said to take, and are remembered."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **seconds: list[float]) -> None:
        self.now, self.steps, self.seconds = 0.0, "", seconds
        monkeypatch.setattr(precision.time, "perf_counter", lambda: self.now)

    def step(self, name: str) -> None:
        self.steps += name[0]
        self.now += self.seconds[name].pop(0)


def test_bfloat16_wins_only_where_it_is_clearly_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    for best, chosen in ((1.0 / 1.16, "bfloat16"), (1.0 / 1.14, "float32"), (2.0, "float32")):
        clock = Clock(monkeypatch, float32=[9, 1.5, 1.0], bfloat16=[2, best, best + 1])
        timing = precision.compare(clock.step, 8, 1000)
        assert timing == Timing(8, pytest.approx(1.0), pytest.approx(best))
        assert timing.chosen == chosen
        assert timing.seconds_per_picture == pytest.approx((best if chosen == "bfloat16" else 1.0) / 8)
        assert len(clock.steps) == precision.STEPS


def test_a_hopeless_or_needless_bfloat16_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, float32=[1, 1], bfloat16=[9])
    assert precision.compare(clock.step, 8, 1000).chosen == "float32"
    short = Clock(monkeypatch, float32=[1, 0.1])
    assert precision.compare(short.step, 10, 5000) == Timing(10, pytest.approx(0.1), None)
    assert short.steps == "ff"


@pytest.mark.parametrize(
    ("batch", "pictures", "size"),
    # Two per cent of the pictures for six steps: 2,400 allow 8 pictures a step.
    [(32, 2399, None), (32, 2400, 8), (32, 10**6, 32), (512, 10**6, 64), (4, 1200, 4), (4, 1199, None)],
)
def test_a_trial_costs_two_per_cent_of_the_run_at_most(batch: int, pictures: int, size: int | None) -> None:
    assert precision.trial_size(batch, pictures) == size


# Learning rate --------------------------------------------------------------------------------------


def test_the_running_average_is_the_weighted_mean_of_the_past() -> None:
    losses = np.random.default_rng(0).random(7)
    for last, found in enumerate(rate_finder.smooth(list(losses))):
        weights = rate_finder.MEMORY ** np.arange(last, -1, -1.0)
        assert found == pytest.approx(np.average(losses[: last + 1], weights=weights))


@pytest.mark.parametrize("steepest", [0.5, 4.0])
def test_a_range_test_stays_below_what_is_stable_and_leaves_no_trace(steepest: float) -> None:
    # Gradient descent on steepest / 2 |w|^2 diverges from the rate 2 / steepest on.
    model = nn.Linear(3, 1, bias=False)
    before = model.weight.detach().clone()
    groups = [{"params": list(model.parameters()), "scale": 1.0}]
    progress = Progress(model, torch.optim.SGD(groups, lr=0.0, momentum=0.9), None)
    tried = []

    def loss(batch: list[int], step: int) -> tuple[torch.Tensor, torch.Tensor]:
        tried.append(step)
        value = steepest / 2 * model.weight.square().sum()
        value.backward()
        return value.detach(), torch.zeros(())

    found = rate_finder.range_test(progress, iter([[0]] * 60), loss, 0.0, lambda: False)
    assert found is not None
    assert found.picked is not None
    assert 1e-3 < found.picked < 2 / steepest
    assert torch.equal(model.weight, before)
    assert not progress.optimizer.state
    assert model.weight.grad is None
    assert len(found.rates) == len(found.losses) == len(found.smoothed)
    assert found.rates == pytest.approx(list(np.geomspace(1e-6, 1, 60))[: len(found.rates)])


def test_a_loss_that_never_falls_picks_nothing_and_it_can_be_stopped() -> None:
    assert rate_finder.pick([0.1, 0.2, 0.3], [1.0, 1.0, 2.0]) is None
    assert rate_finder.pick([0.1, 0.2, 0.3], [1.0, 0.5, 2.0]) == pytest.approx(0.02)
    model = nn.Linear(1, 1)
    progress = Progress(model, torch.optim.SGD(model.parameters(), lr=0.0), None)
    assert rate_finder.range_test(progress, iter([]), lambda *_: (torch.zeros(()),) * 2, 0.0, lambda: True) is None
