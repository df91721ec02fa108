"""When things happen and how the learning rate moves: pure functions of the step."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from vitral.config import ScheduleConfig


def due(step: int, every: int, total: int) -> bool:
    """Whether something with a cadence of `every` steps happens after `step` of `total`; always after the last.

    `every` = 0 means only after the last.
    """
    return step > 0 and (step == total or (every > 0 and step % every == 0))


@dataclass(frozen=True)
class Schedule:
    """The learning rate's factor as a function of the step, in steps (formulas: big_vision's, arXiv 2106.04560).

    Linear warm-up from 0 over `warmup`, then `decay`:
        cosine    final + (1 - final) (1 + cos(pi p)) / 2, p = progress after the warm-up in [0, 1]
        linear    final + (1 - final) (1 - p)
        rsqrt     1 / sqrt(1 + (step - warmup) / timescale)
        constant  1
        step      a tenth for each of the `drops` that is behind (arXiv 1912.11370)
        wsd       1, and in the last `cooldown` steps final + (1 - final) (1 - sqrt q), q = progress within them in
                  [0, 1] (arXiv 2405.18392)
    The last `cooldown` steps of rsqrt and constant go linearly to 0. All of it begins after `head_first` steps at 1.
    """

    total: int
    warmup: int
    decay: str
    final: float
    timescale: int
    cooldown: int
    drops: tuple[int, ...] = ()
    head_first: int = 0

    @classmethod
    def build(cls, config: ScheduleConfig, batch_size: int, examples_per_epoch: int) -> Schedule:
        """Turn durations into steps."""

        def steps(name: str) -> int:
            duration = getattr(config, name)
            return int(duration.steps(batch_size, examples_per_epoch))

        alone = min(steps("head_first"), steps("duration"))
        return cls(
            total=steps("duration"),
            # A warm-up as long as the run would never reach the peak.
            warmup=min(steps("warmup"), max(0, steps("duration") - alone - 1)),
            decay=config.decay,
            final=config.final,
            timescale=steps("timescale"),
            cooldown=steps("cooldown"),
            drops=tuple(round(share * steps("duration")) for share in config.drops),
            head_first=alone,
        )

    def factor(self, step: int) -> float:
        """The factor, in [0, 1], for the update made after `step` others; the first of a warm-up has 0, as theirs."""
        if step < self.head_first:
            return 1.0
        if self.head_first:
            drops = tuple(drop - self.head_first for drop in self.drops)
            rest = replace(self, total=self.total - self.head_first, drops=drops, head_first=0)
            return rest.factor(step - self.head_first)
        if step < self.warmup:
            return step / self.warmup
        progress = (step - self.warmup) / max(1, self.total - self.warmup)
        if self.decay == "cosine":
            return self.final + (1 - self.final) * (1 + math.cos(math.pi * progress)) / 2
        if self.decay == "linear":
            return self.final + (1 - self.final) * (1 - progress)
        if self.decay == "step":  # the update after a drop is the last at the old rate, as in the authors' code
            return float(0.1 ** sum(step > drop for drop in self.drops))
        if self.decay == "wsd":
            left = min(1.0, (self.total - step) / max(1, self.cooldown))
            return self.final + (1 - self.final) * (1 - math.sqrt(1 - left))
        held = 1.0 if self.decay == "constant" else 1 / math.sqrt(1 + (step - self.warmup) / self.timescale)
        return held * min(1.0, (self.total - step) / self.cooldown) if self.cooldown else held
