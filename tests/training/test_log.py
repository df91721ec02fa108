"""The run's records: appended line by line, and cut back to where a resumed run starts."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from vitral.errors import StorageError, UnavailableError
from vitral.training.log import JsonLines, TensorBoard


def test_lines_are_read_back_and_a_torn_one_is_left_out(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path / "m.jsonl")
    lines.append({"step": 1})
    lines.append({"step": 2})
    with lines.path.open("a") as file:
        file.write('{"step": 3')
    assert lines.read() == [{"step": 1}, {"step": 2}]


def test_records_of_later_steps_are_forgotten(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path / "m.jsonl")
    lines.forget_after(3)
    assert not lines.path.exists()
    for step in range(1, 6):
        lines.append({"step": step})
    lines.forget_after(3)
    assert [record["step"] for record in lines.read()] == [1, 2, 3]


def test_cut_keeps_the_first_bytes(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path / "m.jsonl")
    lines.append({"step": 1})
    size = lines.size()
    lines.append({"step": 2})
    lines.cut(size)
    assert (lines.read(), lines.size()) == ([{"step": 1}], size)
    lines.cut(10_000)
    assert lines.size() == size


def test_a_line_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="can be resumed"):
        JsonLines(tmp_path / "no" / "m.jsonl").append({"step": 1})


def test_lines_torn_in_the_middle_are_passed_over(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path / "m.jsonl")
    lines.path.write_bytes(b'{"step": 1}\n{"st{"step": 2}\n\xff\n{"step": 3}\n')
    assert lines.read() == [{"step": 1}, {"step": 3}]


def test_tensorboard_reads_the_numbers_of_the_metrics(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    records = [{"step": step, "loss": 1 / step, "top1": 0.25 * step, "name": "left out"} for step in (1, 2, 3)]
    board = TensorBoard(tmp_path / "board")
    for record in records:
        board.write(record)
    found = accumulator.EventAccumulator(str(tmp_path / "board")).Reload()
    assert sorted(found.Tags()["scalars"]) == ["loss", "top1"]
    for name in ("loss", "top1"):
        told = [(event.step, event.value) for event in found.Scalars(name)]
        assert told == [(record["step"], pytest.approx(record[name])) for record in records]


def test_tensorboard_that_is_not_installed_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UnavailableError, match=r"vitral\[tensorboard\]"):
        TensorBoard(tmp_path)
