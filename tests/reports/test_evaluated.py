"""The page of an evaluation: its sentences, and what it makes of numbers that are odd or not there."""

from __future__ import annotations

from typing import Any

import pytest

from vitral.reports.evaluated import judgement, render
from vitral.reports.record import Record

HOSTILE = '</td><script>alert("x")</script>&'


def record(found: dict[str, Any], **parts: Any) -> Record:
    return Record("m on d", {"data": {"path": "d"}}, {"classes": 3}, [], [], [], {"test": found}, {}, **parts)


def bins(confidence: float, accuracy: float, count: int = 1000) -> dict[str, Any]:
    return {
        "ece": abs(confidence - accuracy),
        "bins": [{"count": count, "confidence": confidence, "accuracy": accuracy}],
    }


def found(**changes: Any) -> dict[str, Any]:
    per_class = {"cat": {"count": 400, "top1": 0.9}, "dog": {"count": 600, "top1": 0.7}}
    pair = {"label": "dog", "guess": "cat", "count": 150, "share": 0.25}
    numbers = {"count": 1000, "unreadable": 0, "top1": 0.78, "per_class": per_class, "confused": [pair]}
    return {**numbers, "calibration": bins(0.785, 0.78), **changes}


def test_three_sentences_say_how_good_how_believable_and_where_weakest() -> None:
    good, belief, weakness = judgement(record(found()))
    assert "78.00% of 1,000 test pictures (95% interval" in good
    assert belief.startswith("Its probabilities can be taken at their word: it claims 78.5% on average")
    assert weakness == (
        "Its weakest class is dog, with 70.0% of 600 pictures right; most often it takes dog for cat (150 pictures)."
    )


@pytest.mark.parametrize(
    ("claimed", "right", "count", "words"),
    [
        (0.95, 0.78, 1000, "It is overconfident: it claims 95.0%"),
        (0.60, 0.78, 1000, "It is less sure than it could be"),
        (0.95, 0.78, 12, "can be taken at their word"),  # twelve pictures do not tell
    ],
)
def test_a_gap_counts_when_it_is_more_than_chance(claimed: float, right: float, count: int, words: str) -> None:
    assert words in judgement(record(found(calibration=bins(claimed, right, count))))[1]


def test_a_class_of_few_pictures_is_not_called_the_weakest() -> None:
    per_class = {"cat": {"count": 2, "top1": 0.0}, "dog": {"count": 3, "top1": 1.0}}
    assert "No class has pictures enough to be called its weakest" in judgement(record(found(per_class=per_class)))[2]


def test_few_pictures_that_are_all_wrong_do_not_hide_a_class_that_is_surely_weak() -> None:
    per_class = {"cat": {"count": 3, "top1": 0.0}, "dog": {"count": 500, "top1": 0.3}}
    assert "Its weakest class is dog" in judgement(record(found(per_class=per_class)))[2]


def test_a_class_is_called_by_its_words() -> None:
    said = judgement(record(found(), descriptions={"dog": "hound, hound dog"}))[2]
    assert "takes hound (dog) for cat" in said
    text = render(record(found(), descriptions={"dog": "hound, hound dog"}))
    assert "<bdi>hound, hound dog</bdi><small><bdi>dog</bdi></small>" in text


@pytest.mark.parametrize("odd", [
    {}, {"top1": 0.5, "count": 0}, {"per_class": 3, "confused": {}, "calibration": [], "selective": {"accuracy_at": 3}},
    {"confused": [3, {"label": None}], "per_class": {"cat": 3, "dog": {"count": "x"}}},
    {"corruptions": {"levels": {"fog": [0.1, "x"], "snow": 3}, "mean": {}}}, {"calibration": {"bins": [3]}},
])  # fmt: skip
def test_odd_numbers_leave_a_page(odd: dict[str, Any]) -> None:
    assert "</html>" in render(record({**found(), **odd}))
    assert "</html>" in render(record(odd))


def test_everything_from_outside_is_escaped() -> None:
    entry = {"picture": HOSTILE, "labels": [HOSTILE], "guesses": [[HOSTILE, 0.5]], "image": '" onload="alert(1)'}
    examples = {
        "split": HOSTILE, "worst": [entry], "unsure": [entry],
        "confused": [{"label": HOSTILE, "guess": HOSTILE, "count": 1, "share": 1.0, "pictures": [entry]}],
    }  # fmt: skip
    per_class = {HOSTILE: {"count": 8, "top1": 0.5}, "dog": {"count": 8, "top1": 0.5}}
    pair = {"label": HOSTILE, "guess": "dog", "count": 4, "share": 0.5}
    levels = {"levels": {HOSTILE: [0.5] * 5}, "mean": {HOSTILE: 0.5}, "top1": 0.5, "interval": {"low": 0, "high": 1}}
    text = render(
        record(
            found(per_class=per_class, confused=[pair], corruptions=levels),
            examples=examples,
            unreadable=[{"path": HOSTILE, "reason": HOSTILE}],
            descriptions={"dog": HOSTILE},
        )
    )
    assert "<script" not in text
    assert "onload" not in text
    assert text.count("&lt;script&gt;") >= 10


def test_of_several_labels_the_mean_average_precision_is_told() -> None:
    per_class = {"cat": {"count": 40, "average_precision": 0.9}, "dog": {"count": 60, "average_precision": 0.7}}
    numbers = {"count": 100, "top1": 0.8, "mean_average_precision": 0.8, "per_class": per_class}
    made = Record("m", {"data": {"path": "d", "multi_label": True}}, {"classes": 2}, [], [], [], {"test": numbers}, {})
    text = render(made)
    assert "mean average precision of 0.8000" in text
    assert "Confusion matrix" not in text
    assert text.index("dog") < text.index("cat")


def test_corruptions_come_the_most_harmful_first() -> None:
    levels = {"fog": [0.9, 0.8, 0.7, 0.6, 0.5], "snow": [0.5, 0.4, 0.3, 0.2, 0.1]}
    made = {
        "levels": levels, "mean": {"fog": 0.7, "snow": 0.3}, "top1": 0.5, "clean": 0.78, "mce": 0.767,
        "interval": {"low": 0.48, "high": 0.52},
    }  # fmt: skip
    text = render(record(found(corruptions=made)))
    section = text.split('<section aria-labelledby="corruptions">')[1].split("</section>")[0]
    assert section.index("snow") < section.index("fog")
    assert "78.00% on the pictures as they are" in section
    assert "76.7%" in section
