"""A learning rate for this network and these pictures, by the range test of arXiv 1506.01186, section 3.3.

Real steps are made with a rate that grows by the same factor each time, and the loss is watched: it falls where the
rate is large enough to learn and rises where it is too large. The rate is taken by the rule that the fastai library
made common: a tenth of the one at which the smoothed loss is lowest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch

from vitral.training.loop import Progress
from vitral.training.optimizer import set_learning_rate

LOWEST, HIGHEST, STEPS = 1e-6, 1.0, 60
"""Ten rates to a decade. SGD's rates (Table 4 of arXiv 2010.11929) and AdamW's lie well within."""

MEMORY = 0.8
"""Share of the past in the smoothed loss: an average over about five steps, half a decade."""

EXPLODED = 4.0
"""The test ends where the smoothed loss is this many times the lowest."""

BELOW = 10.0
"""The rate is this many times lower than that of the lowest loss."""


@dataclass(frozen=True)
class RangeTest:
    """Mean loss of each step and its running average, by rate; `picked` is `None` where the loss never fell."""

    rates: list[float]
    losses: list[float]
    smoothed: list[float]
    picked: float | None

    def to_json(self) -> dict[str, Any]:
        """With the rule in words."""
        return {"rule": f"the rate of the lowest smoothed loss, divided by {BELOW:g}", **asdict(self)}

    def rows(self) -> list[tuple[str, str]]:
        """Rates and smoothed losses for a table: two to a decade."""
        every = max(1, round(STEPS / (2 * math.log10(HIGHEST / LOWEST))))
        shown = range(0, len(self.rates), every)
        return [(f"{self.rates[i]:.1e}", f"{self.smoothed[i]:.3f}") for i in shown]


def range_test(
    progress: Progress,
    batches: Iterator[Any],
    loss: Callable[[Any, int], tuple[torch.Tensor, torch.Tensor]],
    clip_norm: float,
    stopped: Callable[[], bool],
) -> RangeTest | None:
    """Try rising rates from where `progress` stands, which must be before its first step, and go back there.

    Args:
        loss: forward and backward on one batch of a step, as `vitral.training.loop.Hooks`.
        stopped: ends the test, whose result then is `None`.
    """
    before = {name: value.clone() for name, value in progress.model.state_dict().items()}
    parameters = [parameter for group in progress.optimizer.param_groups for parameter in group["params"]]
    progress.model.train()
    rates: list[float] = []
    losses: list[float] = []
    try:
        for step in range(STEPS):
            if stopped():
                return None
            batch = next(batches)
            total, _ = loss(batch, step)
            norm = torch.nn.utils.clip_grad_norm_(parameters, clip_norm if clip_norm > 0 else float("inf"))
            rates.append(LOWEST * (HIGHEST / LOWEST) ** (step / (STEPS - 1)))
            losses.append(float(total) / max(1, len(batch)))
            smoothed = smooth(losses)
            if not torch.isfinite(total + norm) or smoothed[-1] > EXPLODED * min(smoothed):
                del rates[-1], losses[-1]
                break
            set_learning_rate(progress.optimizer, rates[-1])
            progress.optimizer.step()
            progress.optimizer.zero_grad(set_to_none=True)
    finally:
        progress.model.load_state_dict(before)
        progress.optimizer.zero_grad(set_to_none=True)
        progress.optimizer.state.clear()
    return RangeTest(rates, losses, smooth(losses), pick(rates, smooth(losses)))


def smooth(losses: list[float]) -> list[float]:
    """Exponential running averages, each divided by the weights that it has so far."""
    averages, average = [], 0.0
    for count, value in enumerate(losses, start=1):
        average = MEMORY * average + (1 - MEMORY) * value
        averages.append(average / (1 - MEMORY**count))
    return averages


def pick(rates: list[float], smoothed: list[float]) -> float | None:
    """The rate by the rule, or `None` where the smoothed loss was never lower than at the start."""
    if not smoothed or min(smoothed) >= smoothed[0]:
        return None
    lowest = min(range(len(smoothed)), key=smoothed.__getitem__)
    return float(f"{rates[lowest] / BELOW:.1e}")
