"""What holds a run up: the rule."""

from __future__ import annotations

import pytest

from vitral.training.limits import DISK, MODEL, PICTURES, WORKERS, Work, limit


@pytest.mark.parametrize(
    ("waiting", "read", "made", "workers", "cores", "held"),
    [
        (0.02, 9.0, 1.0, 1, 8, MODEL), (0.5, 9.0, 1.0, 1, 8, DISK), (0.5, 1.0, 9.0, 1, 8, WORKERS),
        (0.5, 1.0, 9.0, 8, 8, PICTURES), (1.0, 0.0, 1.0, 0, 2, WORKERS), (0.3, 1.0, 9.0, 16, 2, PICTURES),
    ],
)  # fmt: skip
def test_the_model_the_disk_the_workers_or_the_pictures(
    waiting: float, read: float, made: float, workers: int, cores: int, held: str
) -> None:
    assert limit(waiting, read, made, workers, cores) == held


def test_seconds_of_all_threads_add_up_and_start_anew() -> None:
    work = Work()
    work.note(1.0, 2.0)
    work.note(0.5, 0.25)
    assert (work.read, work.made) == (1.5, 2.25)
    work.restart()
    assert (work.read, work.made) == (0.0, 0.0)
