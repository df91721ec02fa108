"""How long a run is, and what moves along: the learning rate, and the size of the pictures."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from vitral.config.duration import Duration
from vitral.config.preprocessing import Size
from vitral.errors import UsageError, require


def sizes_by_share(words: tuple[str, ...]) -> tuple[tuple[Size, float], ...]:
    """The sizes of training pictures and the share of the run until which each holds, of "96:0.5" or "96x128:0.5".

    Raises:
        UsageError: another form, or shares that do not rise between 0 and 1.
    """
    found = []
    for word in words:
        match = re.fullmatch(r"\s*(\d{1,5})(?:x(\d{1,5}))?\s*:\s*([0-9.]+)\s*", word)
        try:
            share = float(match[3]) if match else 0.0
        except ValueError:
            share = 0.0
        if match is None or not 0 < share < 1:
            raise UsageError(
                f"cannot read {word!r} of a progressive resolution: write SIZE:SHARE with a share of the run between 0 "
                "and 1, like 96:0.5,128:0.8."
            )
        found.append(((int(match[1]), int(match[2] or match[1])), share))
    shares = [share for _, share in found]
    require(
        shares == sorted(set(shares)),
        f"the shares of a progressive resolution must rise, as in 96:0.5,128:0.8, not {', '.join(words)}.",
    )
    return tuple(found)


@dataclass(frozen=True)
class ScheduleConfig:
    """How long, and how the learning rate moves."""

    duration: Annotated[Duration, "of the whole run, like '10 epochs' or '500 steps'"] = Duration(10, "epochs")
    warmup: Annotated[Duration, "the learning rate rises linearly from 0 over this long"] = Duration(0, "steps")
    decay: Annotated[
        Literal["cosine", "linear", "rsqrt", "constant", "step", "wsd"],
        "shape after the warm-up; wsd: stable at the peak, then down over the cooldown as 1 - sqrt (arXiv 2405.18392)",
    ] = "cosine"
    final: Annotated[float, "learning rate at the end, as a share of the peak (cosine, linear and wsd)"] = 0.0
    timescale: Annotated[Duration, "of rsqrt: the rate is proportional to 1/sqrt(1 + steps after warm-up / this)"] = (
        Duration(10_000, "steps")
    )
    cooldown: Annotated[Duration, "of rsqrt, constant (linearly to 0) and wsd: how long the last part falls"] = (
        Duration(0, "steps")
    )
    drops: Annotated[
        tuple[float, ...], "of step: shares of the run, like 0.3,0.6,0.9, after each of which the rate is a tenth"
    ] = ()
    head_first: Annotated[
        Duration, "at first only the head learns, at the peak rate, over this long (arXiv 2202.10054)"
    ] = Duration(0, "steps")
    resolution: Annotated[
        tuple[str, ...],
        "training pictures grow: sizes and the share of the run until which each holds, like 96:0.5,128:0.8; then, and "
        "in evaluation, the image size",
    ] = ()

    def __post_init__(self) -> None:
        sizes_by_share(self.resolution)
        require(
            bool(self.cooldown.amount) <= (self.decay in ("rsqrt", "constant", "wsd")),
            f"cooldown is the end of rsqrt, constant and wsd, not of {self.decay}: leave it out, or change "
            "--schedule.decay.",
        )
        require(
            self.decay != "wsd" or self.cooldown.amount > 0,
            "decay wsd needs its last part: add --schedule.cooldown, like '20 epochs'; a fifth of the run is usual.",
        )
        require(
            all(0 < drop < 1 for drop in self.drops) and list(self.drops) == sorted(set(self.drops)),
            f"drops must be rising shares of the run between 0 and 1, not {', '.join(map(str, self.drops))}",
        )
        require(
            bool(self.drops) == (self.decay == "step"),
            "decay step and drops go together: give both, like --schedule.decay step --schedule.drops 0.3,0.6,0.9.",
        )
        require(0 <= self.final <= 1, f"final must be 0 to 1, not {self.final:g}")
        require(self.duration.amount > 0, "duration must be more than 0")
        require(self.timescale.amount > 0, "timescale must be more than 0")
