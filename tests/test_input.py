"""Whole runs with other ways of feeding them: the same bytes, and what holds them up is told."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import vitral.data.reading as reading
import vitral.session as session
import vitral.stream as stream
from tests.pictures import write_folder
from tests.test_run import SETTINGS
from vitral.config import Duration
from vitral.console import Screen
from vitral.planning import plan
from vitral.run import start
from vitral.training import log, loop, memory

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


@pytest.mark.parametrize("cache", ["disk", "none"])
def test_a_run_that_was_killed_with_its_cache_leaves_none_when_it_is_done(
    cache: str, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the last checkpoint: the next start has nothing to learn, and opens no cache."""
    with monkeypatch.context() as killed:
        killed.setattr(stream.Stream, "put_away", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train(pictures, tmp_path / "run", runtime__cache="disk")
    assert any((tmp_path / "run" / "cache").iterdir())
    train(pictures, tmp_path / "run", runtime__cache=cache)
    assert not (tmp_path / "run" / "cache").exists()


class Clock:
    """Time that passes only where a test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        for module in (loop, log, session):
            monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=self))
        monkeypatch.setattr(stream, "Reader", partial(reading.Reader, clock=self))

    def __call__(self) -> float:
        return self.now

    def slowed(self, work: Callable[..., Any], seconds: float) -> Callable[..., Any]:
        """`work`, which takes so long."""

        def slow(*args: Any, **kwargs: Any) -> Any:
            self.now += seconds
            return work(*args, **kwargs)

        return slow


@pytest.mark.parametrize(
    ("model", "disk", "varying", "cores", "limit", "words"),
    [
        (9.0, 0.05, 0.05, 8, "model", "held up by the model (waiting for data 7%)"),
        (1.0, 0.5, 0.2, 8, "disk", "held up by the disk (waiting for data 83%)"),
        (1.0, 0.2, 0.5, 8, "workers", "held up by too few workers (waiting for data 83%)"),
        (1.0, 0.2, 0.5, 0, "pictures", "held up by decoding and varying pictures (waiting for data 83%)"),
    ],
)
def test_what_holds_a_run_up_is_told(
    model: float, disk: float, varying: float, cores: int, limit: str, words: str,
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Planted seconds: of a step of the model, and of reading and varying each of its seven pictures, which no thread
    does beside it (so that no core is idle only where there is none)."""
    clock = Clock(monkeypatch)
    for where, name, seconds in (
        (session.Session, "_learn", model), (reading, "read_bytes", disk), (stream, "vary", varying),
    ):  # fmt: skip
        monkeypatch.setattr(where, name, clock.slowed(getattr(where, name), seconds))
    monkeypatch.setattr(session, "cores", lambda: cores)
    heard = train(pictures, tmp_path / "run", runtime__workers=0)
    speeds = [json.loads(line) for line in (tmp_path / "run" / "speed.jsonl").read_text().splitlines()]
    assert [record["limit"] for record in speeds] == [limit] * 3
    assert [record["waiting"] for record in speeds] == [
        round(7 * (disk + varying) / (model + 7 * (disk + varying)), 4)
    ] * 3
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
