"""What a run folder says, read leniently: a file that is missing or damaged leaves a gap, and its name."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vitral.config import Duration
from vitral.errors import MissingInputError, UsageError
from vitral.reports.wording import number

Line = dict[str, Any]

SPLITS = ("train", "validation", "test")
"""Splits that may have been measured; the last of those there are is what a model is judged by."""


@dataclass(frozen=True)
class Record:
    """A run's files. `gaps` says of each file that gave nothing why: "is missing", "is empty", "is damaged".

    `training`, `evaluations` and `speeds` are in the order of their steps; after a resume the later lines hold.
    `examples` are pictures with their answers, see `vitral.gallery`; `unreadable` has a `path` and a `reason` for each
    picture that could not be read; `descriptions` are words for class names that are mere identifiers.
    """

    name: str
    config: Line
    environment: Line
    training: list[Line]
    evaluations: list[Line]
    speeds: list[Line]
    measured: Line
    gaps: dict[str, str]
    examples: Line = field(default_factory=dict)
    unreadable: list[Line] = field(default_factory=list)
    descriptions: Line = field(default_factory=dict)

    @property
    def multi_label(self) -> bool:
        """Whether a picture may have several labels."""
        return bool(section(self.config, "data").get("multi_label"))

    @property
    def chief(self) -> str:
        """Name of the number that a person looks at first."""
        return "mean_average_precision" if self.multi_label else "top1"

    @property
    def solved(self) -> bool:
        """Whether the head alone was solved to the end: a step is then a weight decay, see `vitral.frozen.solve`."""
        return section(self.config, "optimizer").get("name") == "lbfgs"

    @property
    def step(self) -> int:
        """The last step that left a trace."""
        traces = [*self.training[-1:], *self.evaluations[-1:], self.measured]
        return int(max((number(trace, "step") or 0 for trace in traces), default=0))

    @property
    def total_steps(self) -> int | None:
        """Steps from start to end as planned, where that is known."""
        batch_size = number(section(self.config, "training"), "batch_size")
        pictures = number(self.environment, "train_count")
        try:
            duration = Duration.parse(str(section(self.config, "schedule").get("duration")))
        except UsageError:
            return None
        if not batch_size or (pictures is None and duration.unit == "epochs"):
            return None
        return duration.steps(int(batch_size), int(pictures or 0))

    @property
    def finished(self) -> bool:
        """Whether the last step is the planned one, or the run ended early as it was told to."""
        early = self.measured.get("stopped_early") is True
        return early or (self.total_steps is not None and self.step >= self.total_steps)

    def split(self) -> tuple[str, Line] | None:
        """The split to judge the model by: test, else validation, with what was measured on it."""
        for name in reversed(SPLITS):
            if number(section(self.measured, name), self.chief) is not None:
                return name, section(self.measured, name)
        return None

    def series(self, lines: Iterable[Line], name: str) -> list[tuple[float, float]]:
        """(step, value) of every line that has `name`; NaN where its value is no number."""
        return [
            (float(line["step"]), float("nan") if (value := number(line, name)) is None else value)
            for line in lines
            if name in line
        ]


def read(run: Path) -> Record:
    """Read a run folder.

    Raises:
        MissingInputError: there is no such folder.
    """
    if not run.is_dir():
        raise MissingInputError(f"there is no run folder {run}: name one that `vitral train` or `finetune` made.")
    gaps: dict[str, str] = {}
    metrics = _lines(run, "metrics.jsonl", gaps)
    return Record(
        name=run.resolve().name,
        config=_object(run, "config.json", gaps),
        environment=_object(run, "environment.json", gaps),
        training=_latest(line for line in metrics if "loss" in line),
        evaluations=_latest(line for line in metrics if any(name.startswith("validation_") for name in line)),
        speeds=_latest(_lines(run, "speed.jsonl", gaps)),
        measured=_object(run, "model/metrics.json", gaps),
        gaps=gaps,
        examples=_object(run, "examples.json", gaps),
        unreadable=_unreadable(run),
        descriptions=section(_object(run, "model/classes.json", gaps), "descriptions"),
    )


def section(record: Mapping[str, Any], name: str) -> Line:
    """The part of `record` of that name; empty if there is none."""
    part = record.get(name)
    return part if isinstance(part, dict) else {}


def _text(run: Path, name: str, gaps: dict[str, str]) -> str:
    try:
        text = (run / name).read_bytes().decode("utf-8", errors="replace")
    except FileNotFoundError:
        gaps[name] = "is missing"
        return ""
    except OSError as error:
        gaps[name] = f"cannot be read ({error.strerror})"
        return ""
    if not text.strip():
        gaps[name] = "is empty"
    return text


def _object(run: Path, name: str, gaps: dict[str, str]) -> Line:
    text = _text(run, name, gaps)
    found = _parse(text) if name not in gaps else {}
    if found is None:
        gaps[name] = "is damaged"
    return found or {}


def _unreadable(run: Path) -> list[Line]:
    """The pictures that could not be read; a run without any has no such file."""
    found = map(_parse, _text(run, "unreadable.jsonl", {}).split("\n"))
    return [line for line in found if line is not None and "path" in line]


def _lines(run: Path, name: str, gaps: dict[str, str]) -> list[Line]:
    text = _text(run, name, gaps)
    # A line that does not parse was torn by a crash; the ones around it still count.
    found = [line for line in map(_parse, text.split("\n")) if line is not None and number(line, "step") is not None]
    if not found and name not in gaps:
        gaps[name] = "is damaged"
    return found


def _parse(text: str) -> Line | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _latest(lines: Iterable[Line]) -> list[Line]:
    kept: list[Line] = []
    for line in lines:
        while kept and kept[-1]["step"] >= line["step"]:
            kept.pop()
        kept.append(line)
    return kept
