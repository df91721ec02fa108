"""The run's records: appended line by line, and cut back to where a resumed run starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from vitral.errors import StorageError
from vitral.training.log import JsonLines, duration_words


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


@pytest.mark.parametrize(("seconds", "words"), [(45, "45 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")])
def test_durations_in_words(seconds: float, words: str) -> None:
    assert duration_words(seconds) == words


def test_lines_torn_in_the_middle_are_passed_over(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path / "m.jsonl")
    lines.path.write_bytes(b'{"step": 1}\n{"st{"step": 2}\n\xff\n{"step": 3}\n')
    assert lines.read() == [{"step": 1}, {"step": 3}]
