"""Cadences and learning rates."""

from __future__ import annotations

import math

import pytest

from vitral.config import Duration, ScheduleConfig
from vitral.errors import UsageError
from vitral.training.schedule import Schedule, due


@pytest.mark.parametrize(
    ("step", "every", "total", "expected"),
    [
        (0, 5, 20, False), (1, 5, 20, False), (5, 5, 20, True), (10, 5, 20, True), (20, 7, 20, True), (19, 7, 20, False),
        (20, 0, 20, True), (10, 0, 20, False), (1, 1, 20, True),
    ],
)  # fmt: skip
def test_due_is_every_so_many_steps_and_at_the_end(step: int, every: int, total: int, expected: bool) -> None:
    assert due(step, every, total) is expected


@pytest.mark.parametrize(
    ("words", "steps"),
    [
        ("3 epochs", 30),
        ("1 epoch", 10),
        ("7 steps", 7),
        ("0 steps", 0),
        ("33 examples", 4),
        ("1e3 examples", 100),
        ("0.25epochs", 3),
    ],
)
def test_durations_become_steps_rounded_up(words: str, steps: int) -> None:
    assert Duration.parse(words).steps(batch_size=10, examples_per_epoch=100) == steps


@pytest.mark.parametrize("words", ["", "ten epochs", "5", "5 minutes", "-1 epochs", "1e400 steps", "nan steps"])
def test_durations_that_cannot_be_read_are_refused(words: str) -> None:
    with pytest.raises(UsageError, match="duration"):
        Duration.parse(words)


def test_a_duration_survives_its_words() -> None:
    for duration in (Duration(0.5, "epochs"), Duration(1234567, "steps"), Duration(3e8, "examples")):
        assert Duration.parse(str(duration)) == duration


def schedule(**changes: object) -> Schedule:
    values = {"duration": Duration(100, "steps"), "warmup": Duration(10, "steps"), **changes}
    return Schedule.build(ScheduleConfig(**values), batch_size=8, examples_per_epoch=80)


def test_warm_up_rises_linearly_from_zero_to_the_peak() -> None:
    assert [schedule().factor(step) for step in (0, 1, 5, 10)] == pytest.approx([0, 0.1, 0.5, 1.0])


@pytest.mark.parametrize(
    ("changes", "formula"),
    [
        ({"decay": "cosine"}, lambda p: 0.5 * (1 + math.cos(math.pi * p))),
        ({"decay": "cosine", "final": 0.1}, lambda p: 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * p))),
        ({"decay": "linear", "final": 0.01}, lambda p: 1 - 0.99 * p),
        ({"decay": "constant"}, lambda p: 1.0),
        ({"decay": "rsqrt", "timescale": Duration(45, "steps")}, lambda p: 1 / math.sqrt(1 + 90 * p / 45)),
    ],
)
def test_decay_follows_its_formula(changes: dict[str, object], formula: object) -> None:
    made = schedule(**changes)
    for step in (10, 23, 55, 99):
        assert made.factor(step) == pytest.approx(formula((step - 10) / 90), abs=1e-12)  # type: ignore[operator]


def test_cooldown_goes_linearly_to_zero() -> None:
    made = schedule(decay="constant", cooldown=Duration(20, "steps"))
    assert [made.factor(step) for step in (79, 80, 90, 99)] == pytest.approx([1, 1, 0.5, 0.05])


def test_a_warm_up_longer_than_the_run_still_reaches_the_peak() -> None:
    made = schedule(warmup=Duration(10_000, "steps"))
    assert made.factor(made.total - 1) == pytest.approx(1.0)


def test_a_step_decay_is_that_of_bits_authors() -> None:
    """arXiv 1912.11370: 500 steps, warm-up 100, a tenth at 200, 300 and 400, written out from its description."""

    def theirs(step: int) -> float:
        return step / 100 if step < 100 else 0.1 ** len([at for at in (200, 300, 400) if at < step])

    made = schedule(duration=Duration(500, "steps"), warmup=Duration(100, "steps"), decay="step", drops=(0.4, 0.6, 0.8))
    assert [made.factor(step) for step in range(500)] == pytest.approx([theirs(step) for step in range(500)])


@pytest.mark.parametrize("changes", [{"decay": "step"}, {"drops": (0.5,)}, {"decay": "step", "drops": (0.6, 0.3)}])
def test_drops_without_a_step_decay_or_out_of_order_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="drops"):
        ScheduleConfig(**changes)  # type: ignore[arg-type]


def test_warm_up_stable_decay_is_its_formula() -> None:
    """arXiv 2405.18392: stable until the last part, then 1 - sqrt of the progress in it, written out."""
    made = schedule(decay="wsd", cooldown=Duration(20, "steps"), final=0.1)

    def theirs(n: int) -> float:
        if n < 10:
            return n / 10
        return 1.0 if n < 80 else 0.1 + 0.9 * (1 - math.sqrt((n - 80) / 20))

    assert [made.factor(step) for step in range(100)] == pytest.approx([theirs(step) for step in range(100)])


def test_rsqrt_with_a_cooldown_is_big_visions() -> None:
    """Its formula, as its documentation has it: warm-up, decay and cooldown are factors that multiply."""
    made = schedule(decay="rsqrt", timescale=Duration(30, "steps"), cooldown=Duration(25, "steps"))

    def theirs(step: int) -> float:
        decay = 1 / math.sqrt(1 + (step - 10) / 30) if step >= 10 else 1.0
        return decay * min(1, step / 10) * min(1, (100 - step) / 25)

    assert [made.factor(step) for step in range(100)] == pytest.approx([theirs(step) for step in range(100)])


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"decay": "wsd"}, "wsd needs its last part"), ({"cooldown": Duration(5, "steps")}, "not of cosine"),
     ({"decay": "linear", "cooldown": Duration(5, "steps")}, "not of linear")],
)  # fmt: skip
def test_a_cooldown_is_neither_forgotten_nor_ignored(changes: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        ScheduleConfig(**changes)  # type: ignore[arg-type]
