"""A run folder as `vitral.run` leaves it, with numbers that the tests choose."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vitral.config import RunConfig
from vitral.overrides import override, to_json


class RunFolder:
    """Writes the files of a run; each can be replaced before the page is made."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "model").mkdir(parents=True)
        self.configure()
        self.write("environment.json", environment())
        self.write("speed.jsonl", *[{"step": s, "images_per_second": 50.0 + s, "waiting": 0.3} for s in (10, 20, 30)])
        self.course([0.5, 0.6, 0.7, 0.7123], [1.0, 0.8, 0.7, 0.6])
        self.write("model/metrics.json", measured())

    def configure(self, **changes: Any) -> None:
        """Write config.json: 400 steps, and `changes` with "__" for dots."""
        settings = {"schedule.duration": "400 steps", "training.batch_size": "8", "model.name": "ViT-B/16"}
        settings |= {name.replace("__", "."): value for name, value in changes.items()}
        self.write("config.json", to_json(override(RunConfig(), settings)))

    def write(self, name: str, *objects: Any) -> None:
        """Write one JSON object per line."""
        (self.path / name).write_text("".join(json.dumps(item) + "\n" for item in objects), encoding="utf-8")

    def course(self, top1: list[float], loss: list[float], training: list[float] | None = None) -> None:
        """Write metrics.jsonl: one training line and one evaluation every 100 steps."""
        lines: list[dict[str, Any]] = []
        for k, (value, missed) in enumerate(zip(top1, loss, strict=True), start=1):
            at = {"step": 100 * k, "examples": 800 * k, "epoch": 8.0 * k}
            fallen = training[k - 1] if training else 2.0 / k
            lines.append({**at, "learning_rate": 0.001 / k, "loss": fallen, "top1": 0.4 + 0.01 * k, "gradient_norm": 1})
            lines.append({**at, "validation_top1": value, "validation_top5": 0.99, "validation_loss": missed})
        self.write("metrics.jsonl", *lines)


def environment(**changes: Any) -> dict[str, Any]:
    """The contents of environment.json."""
    return {
        "vitral": "0.1.0",
        "torch": "2.11.0",
        "python": "3.11.9",
        "device": "cpu",
        "cores": 2,
        "command": ["vitral", "train", "my pictures"],
        "decisions": ["batch of 8: the data set is small"],
        "train_count": 100,
        "validation_count": 1000,
        "test_count": 321,
        "classes": 3,
        **changes,
    }


def split(count: int, top1: float, **per_class: tuple[int, float]) -> dict[str, Any]:
    """What an evaluator says of a split."""
    classes = {name: {"count": n, "top1": share} for name, (n, share) in per_class.items()}
    return {"count": count, "unreadable": 2, "top1": top1, "top5": 0.9753, "loss": 0.6543, "per_class": classes}


def measured() -> dict[str, Any]:
    """The contents of model/metrics.json."""
    return {
        "validation": split(1000, 0.7123, cat=(500, 0.9), dog=(300, 0.4), owl=(200, 0.6)),
        "test": split(321, 0.6871, cat=(100, 0.8765), dog=(121, 0.3456), owl=(100, 0.5432)),
        "step": 400,
        "best_step": 400,
    }


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A finished run of three classes."""
    return RunFolder(tmp_path / "my run")
