"""What a sweep found, in words and as a table, whatever its record holds."""

from __future__ import annotations

import pytest

from vitral.reports.swept import sentence, table

ROWS = [
    {"learning_rate": 0.001, "duration": "500 steps", "value": 0.5, "loss": 1.0},
    {"learning_rate": 0.01, "duration": "500 steps", "value": 0.75, "loss": 0.5},
    {"learning_rate": 0.01, "duration": "<b>2500</b> steps", "value": 0.8, "loss": 0.4},
    {"learning_rate": 30.0, "duration": "500 steps", "value": None, "loss": None},
]

FOUND = {"sweep": {"metric": "top1", "tried": ROWS, "learning_rate": 0.01}}


def test_the_chosen_rate_and_every_member_are_told() -> None:
    said = sentence(FOUND)
    assert said is not None
    assert "Learning rate 0.01 was the best of 4 runs" in said
    assert "top-1 80.00%" in said
    made = table(FOUND)
    assert made.count("<tr>") == 5
    assert "diverged" in made
    assert "&lt;b&gt;2500&lt;/b&gt; steps" in made


def test_a_loss_is_no_share_and_the_lowest_is_the_best() -> None:
    rows = [{**row, "value": row["loss"]} for row in ROWS]
    said = sentence({"sweep": {"metric": "loss", "tried": rows, "learning_rate": 0.01}})
    assert said is not None
    assert "loss 0.4000" in said


@pytest.mark.parametrize(
    "measured",
    [{}, {"sweep": 3}, {"sweep": {}}, {"sweep": {"tried": "x"}}, {"sweep": {"tried": [3], "learning_rate": 1}},
     {"sweep": {"tried": [{"learning_rate": 1, "value": "x"}], "learning_rate": 1}}],
)  # fmt: skip
def test_without_a_whole_record_nothing_is_told(measured: dict[str, object]) -> None:
    assert sentence(measured) is None
    assert isinstance(table(measured), str)
