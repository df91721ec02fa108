"""What a run came to, in sentences: how good, from which step, and how the training went, by plain rules."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from vitral.metrics import NAMES, written
from vitral.reports import swept
from vitral.reports.record import Line, Record, section
from vitral.reports.wording import counted, interval, number, percent

FEW_EVALUATIONS = 4
LEAST_GAIN = 0.005
"""Half a percentage point: a smaller change of accuracy between evaluations is taken for chance."""

LOSS_RISE = 1.05
"""Validation loss this many times its lowest, while training loss falls, is overfitting."""

RULES = (
    "Judged over the last quarter of the evaluations, against those before: a gain counts when the best of them is "
    "higher by more than half a point, or by more than one standard error of the number if that is larger. It is "
    "called overfitting when validation loss ends at least 5% above its lowest while training loss fell."
)

SOLVED = (
    "Each step is another weight decay, from strong to weak, and the head is solved to the end for every one: "
    "the curves show which decay fits, not a training that goes on. Training numbers are of the pictures as they are."
)


def verdict(record: Record) -> list[str]:
    """One to three sentences: the number, the step it comes from, the course of the training."""
    best = best_step(record)
    if best is None:
        return [quality(record)]
    of_total = f" of {record.total_steps:,}" if record.total_steps else ""
    if record.solved:
        decay = best_decay(record)
        named = f", {decay:.2g}" if decay is not None else ""
        return [quality(record), f"Its head was solved with weight decay {best:,}{of_total}{named}."]
    if record.finished or record.total_steps is None:
        place = f"Its weights are those of step {best:,}{of_total}."
    else:
        place = f"Training stands at step {record.step:,}{of_total}; the best step so far is {best:,}."
    return [quality(record), place, *course(record)]


def best_step(record: Record) -> int | None:
    """The step whose weights are kept, or that measured best as far as the metrics tell."""
    kept = number(record.measured, "best_step")
    if kept is not None:
        return int(kept)
    values = _values(record.evaluations, f"validation_{record.chief}")
    return int(max(values, key=lambda point: (point[1], point[0]))[0]) if values else None


def best_decay(record: Record) -> float | None:
    """The weight decay that a solved head was kept with, where it was written down."""
    best = best_step(record)
    return next((number(line, "weight_decay") for line in record.training if line["step"] == best), None)


def spread(found: Mapping[str, Any], name: str) -> tuple[float, float] | None:
    """Both ends of a number's 95% interval: the measured one, else Wilson's where it is a share of pictures."""
    ends = section(section(found, "intervals"), name)
    low, high = number(ends, "low"), number(ends, "high")
    if low is not None and high is not None:
        return low, high
    value, count = number(found, name), number(found, "count")
    return interval(value, int(count)) if value is not None and count and name.startswith("top") else None


def course(record: Record) -> list[str]:
    """How the training went, in one sentence; none if there is no validation split to tell by."""
    name = NAMES[record.chief]
    values = _values(record.evaluations, f"validation_{record.chief}")
    if len(values) < FEW_EVALUATIONS:
        few = counted(len(values), "evaluation")
        return [f"With {few} it is too early to say how the training went."] if values else []
    quarter = max(1, len(values) // 4)
    recent, earlier = [v for _, v in values[-quarter:]], [v for _, v in values[:-quarter]]
    gain = max(recent) - max(earlier)
    improving = gain > _chance(max(earlier), number(record.environment, "validation_count"))
    rise = _loss_rise(record)
    if rise and improving:
        return [f"Validation {name} was still rising, but {rise}: its probabilities are growing overconfident."]
    if rise:
        return [f"It overfits: {rise}. Fewer epochs or stronger augmentation may help."]
    if improving:
        if not record.finished:
            return [f"Validation {name} is still rising, by {_change(record, gain)}."]
        return [f"Validation {name} was still rising at the end, by {_change(record, gain)}; training longer may help."]
    if gain >= 0:
        return [f"Validation {name} has levelled off."]
    return [f"Validation {name} has levelled off: the last quarter stayed {_change(record, -gain)} below the best."]


def quality(record: Record) -> str:
    """How good the model is, in one sentence."""
    split = record.split()
    if split is None:
        best = max((v for _, v in _values(record.evaluations, f"validation_{record.chief}")), default=None)
        if best is None and (sought := swept.sentence(record.measured)):
            return f"No picture was left to measure the model on. {sought}"
        if best is None:
            return "Nothing has been measured yet."
        return f"The best validation {NAMES[record.chief]} so far is {written(record.chief, best)}."
    name, found = split
    value, count = number(found, record.chief) or 0.0, int(number(found, "count") or 0)
    pictures = counted(count, f"{name} picture")
    low, high = spread(found, record.chief) or (0.0, 1.0)
    if record.multi_label:
        measured = spread(found, record.chief) is not None
        ends = f" (95% interval {low:.4f} to {high:.4f})" if measured else ""
        return f"The model reaches a mean average precision of {written(record.chief, value)}{ends} on {pictures}."
    return (
        f"The model names the right class for {percent(value)} of {pictures} "
        f"(95% interval {percent(low, 1)} to {percent(high, 1)})."
    )


def _loss_rise(record: Record) -> str | None:
    losses = _values(record.evaluations, "validation_loss")
    training = _values(record.training, "loss")
    if len(losses) < FEW_EVALUATIONS or not training:
        return None
    step, lowest = min(losses, key=lambda point: point[1])
    last = losses[-1][1]
    tenth = max(1, len(training) // 10)
    then = [loss for at, loss in training if at <= step][-tenth:]
    now = [loss for _, loss in training[-tenth:]]
    if last < LOSS_RISE * lowest or not then or _mean(now) >= _mean(then):
        return None
    return f"validation loss rose from {lowest:.4f} at step {step:,.0f} to {last:.4f} while training loss fell"


def _chance(share: float, count: float | None) -> float:
    error = math.sqrt(max(0.0, share * (1 - share)) / count) if count else 0.0
    return max(LEAST_GAIN, error)


def _change(record: Record, by: float) -> str:
    return f"{by:.4f}" if record.multi_label else f"{100 * by:.1f} points"


def _values(lines: Sequence[Line], name: str) -> list[tuple[float, float]]:
    return [(float(line["step"]), value) for line in lines if (value := number(line, name)) is not None]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def lacks_classes(record: Record) -> int:
    """How many of the model's classes have no picture in the split that it is judged by."""
    split, classes = record.split(), number(record.environment, "classes")
    per_class = section(split[1], "per_class") if split else {}
    return max(0, int(classes) - len(per_class)) if classes and per_class else 0
