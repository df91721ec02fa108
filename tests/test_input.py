"""Whole runs with other ways of feeding them: the same bytes, and what holds them up is told."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vitral.data.reading as reading
import vitral.session as session
from tests.pictures import write_folder
from tests.test_run import SETTINGS
from vitral.config import Duration
from vitral.console import Screen
from vitral.planning import plan
from vitral.run import start
from vitral.training import memory

SHORT: dict[str, Any] = {
    **SETTINGS, "augmentation.colour_jitter": 0.3, "training.evaluate_every": Duration(9, "steps"),
    "schedule.duration": Duration(9, "steps"), "training.log_every": Duration(3, "steps"),
    "training.checkpoint_every": Duration(9, "steps"), "training.micro_batch_size": 7,
}  # fmt: skip


class Heard(Screen):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.lines: list[str] = []

    def progress(self, line: str, force: bool = False) -> None:
        self.lines.append(line)

    def decide(self, sentence: str) -> None:
        self.lines.append(sentence)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("pictures"), {"train": 6, "val": 2})


def train(pictures: Path, folder: Path, **changes: Any) -> Heard:
    words = {**SHORT, "data.path": str(pictures), **{name.replace("__", "."): v for name, v in changes.items()}}
    heard = Heard()
    assert start(plan("scratch-small", words), folder, heard).finished
    return heard


def test_neither_a_cache_nor_augmentation_on_the_device_changes_a_byte(pictures: Path, tmp_path: Path) -> None:
    train(pictures, tmp_path / "plain")
    heard = train(
        pictures, tmp_path / "other", runtime__cache="disk", runtime__cache_size=0.01, runtime__augment_on="device"
    )
    for name in ("metrics.jsonl", "model/model.safetensors"):
        assert (tmp_path / "other" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
    assert any("pixels of training pictures are kept in" in line for line in heard.lines)
    assert "the cache holds 18 pictures (18 to train on) in 0.00 GB" in heard.lines
    assert not (tmp_path / "other" / "cache").exists()


def slowed(work: Callable[..., Any], seconds: float) -> Callable[..., Any]:
    def slow(*args: Any, **kwargs: Any) -> Any:
        time.sleep(seconds)
        return work(*args, **kwargs)

    return slow


@pytest.mark.parametrize(
    ("where", "name", "seconds", "workers", "limit", "words"),
    [
        (session.Session, "_learn", 0.4, 2, "model", "held up by the model"),
        (reading, "read_bytes", 0.08, 1, "disk", "held up by the disk"),
        (session, "vary", 0.08, 1, "workers", "held up by too few workers"),
        (session, "vary", 0.15, 8, "pictures", "held up by decoding and varying pictures"),
    ],
)
def test_what_holds_a_run_up_is_told(
    where: Any, name: str, seconds: float, workers: int, limit: str, words: str,
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Planted: a slow model, a slow disk, one worker on eight cores, and eight on eight."""
    monkeypatch.setattr(where, name, slowed(getattr(where, name), seconds))
    monkeypatch.setattr(session, "cores", lambda: 8)
    if limit == "model":  # on a busy machine even eight small pictures may take longer than the model sleeps
        monkeypatch.setattr(session.Session, "_make", lambda *_: np.zeros((8, 8, 3), dtype=np.uint8))
    plain = {"augmentation__randaugment_layers": 0, "augmentation__colour_jitter": 0.0}
    length = {"schedule__duration": Duration(6, "steps"), "training__evaluate_every": Duration(6, "steps")}
    heard = train(pictures, tmp_path / "run", runtime__workers=workers, runtime__prefetch=1, **plain, **length)
    speeds = [json.loads(line) for line in (tmp_path / "run" / "speed.jsonl").read_text().splitlines()]
    assert speeds[-1]["limit"] == limit  # the first three steps have also waited for the first batch
    assert words in [line for line in heard.lines if line.startswith("step")][-1]


def test_what_a_step_was_predicted_to_take_is_compared_with_what_it_took(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "TELLING", 0)
    length = {"schedule__duration": Duration(4, "steps"), "training__micro_batch_size": None}
    said = [line for line in train(pictures, tmp_path / "run", **length).lines if line.startswith("memory of a step")]
    assert len(said) == 1
    assert re.fullmatch(r"memory of a step: [\d,]+ MB predicted, [\d,]+ MB taken", said[0])


def test_the_peak_is_what_linux_counts_beyond_the_start(tmp_path: Path) -> None:
    (tmp_path / "clear_refs").write_text("")
    (tmp_path / "status").write_text("Name:\tpython\nVmHWM:\t  900 kB\nVmRSS:\t  500 kB\n")
    peak = memory.Peak(torch.device("cpu"), tmp_path)
    assert (tmp_path / "clear_refs").read_text() == "5"
    (tmp_path / "status").write_text("Name:\tpython\nVmHWM:\t  1500 kB\nVmRSS:\t  600 kB\n")
    assert peak.read() == 1000 * 1024
    assert memory.Peak(torch.device("cpu"), tmp_path / "elsewhere").read() is None
