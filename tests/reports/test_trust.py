"""Intervals, calibration and confused classes in the page and the card."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest

from tests.reports.conftest import measured
from vitral.config import Preprocessing
from vitral.reports import page
from vitral.reports.card import model_card
from vitral.reports.curves import BOTTOM, LEFT, RIGHT
from vitral.reports.record import read
from vitral.reports.reliability import TOP_EDGE, diagram
from vitral.reports.verdict import verdict
from vitral.reports.wording import interval

SVG = "{http://www.w3.org/2000/svg}"
BINS = [
    {"low": 0.4, "high": 0.6, "count": 25, "confidence": 0.5, "accuracy": 0.2},
    {"low": 0.8, "high": 1.0, "count": 75, "confidence": 0.9, "accuracy": 0.8},
]


def trusted() -> dict[str, Any]:
    """What a finished run writes."""
    made = measured()
    made["calibration"] = {"temperature": 1.234, "split": "validation", "fitted_on": 998}
    made["test"] |= {
        "balanced_accuracy": 0.6543,
        "macro_f1": 0.6411,
        "intervals": {"top1": {"low": 0.6351, "high": 0.7389}, "ece": {"low": 0.0123, "high": 0.0456}},
        "calibration": {
            "temperature": 1.234, "nll": 0.6789, "brier": 0.3456, "ece": 0.0321, "bins": BINS,
            "before": {"ece": 0.0789},
        },
        "selective": {"aurc": 0.1, "accuracy_at": {"1": 0.6871, "0.8": 0.7654}},
        "confused": [
            {"label": "dog", "guess": "<b>wolf</b>", "count": 33, "share": 0.2727},
            {"label": "owl", "guess": "cat", "count": 4, "share": 0.04},
        ],
    }  # fmt: skip
    return made


@pytest.fixture
def text(run: Any) -> str:
    run.write("model/metrics.json", trusted())
    return page.write(run.path).read_text(encoding="utf-8")


def test_measured_intervals_stand_below_the_numbers_and_in_the_verdict(run: Any, text: str) -> None:
    assert "68.71%<small>63.51 to 73.89</small>" in text
    assert "3.21%<small>1.23 to 4.56</small>" in text
    assert "7.89%" in text
    assert "(95% interval 63.5% to 73.9%)" in verdict(read(run.path))[0]


def test_the_temperature_and_what_abstaining_gains_are_told(text: str) -> None:
    assert "temperature 1.234, fitted on 998 validation pictures" in text
    assert '<th scope="row">80%</th><td class="number">76.54%</td>' in text


def test_confused_classes_are_listed_with_their_names_escaped(text: str) -> None:
    assert "&lt;b&gt;wolf&lt;/b&gt;" in text
    assert "<b>" not in text
    assert text.index("wolf") < text.index("<bdi>owl</bdi></th><td><bdi>cat")


def test_without_calibration_the_page_says_so(run: Any) -> None:
    assert "Nothing is known of its probabilities" in page.write(run.path).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "damage",
    [
        {"calibration": None}, {"calibration": {"bins": "x"}}, {"calibration": {"bins": [None, {"count": -1}]}},
        {"confused": 3}, {"confused": [None, {}]}, {"intervals": {"top1": "x"}}, {"intervals": 1},
        {"selective": {"accuracy_at": {"x": 1, "0.5": "y"}}},
    ],
)  # fmt: skip
def test_damaged_numbers_leave_gaps(run: Any, damage: dict[str, Any]) -> None:
    made = trusted()
    made["test"] |= damage
    run.write("model/metrics.json", made)
    assert "</html>" in page.write(run.path).read_text(encoding="utf-8")


def test_dots_are_where_the_bins_are() -> None:
    root = ElementTree.fromstring(diagram(BINS))
    dots = root.findall(f"{SVG}circle")
    for row, dot in zip(BINS, dots, strict=True):
        x = (float(dot.get("cx") or 0) - LEFT) / (RIGHT - LEFT)
        y = (BOTTOM - float(dot.get("cy") or 0)) / (BOTTOM - TOP_EDGE)
        assert (x, y) == (pytest.approx(row["confidence"], abs=0.002), pytest.approx(row["accuracy"], abs=0.002))
    areas = [float(dot.get("r") or 0) ** 2 for dot in dots]
    assert areas[1] / areas[0] == pytest.approx(3, rel=0.05)


def test_bars_are_the_intervals_of_the_bins() -> None:
    root = ElementTree.fromstring(diagram(BINS))
    (bar, _) = [path.get("d") or "" for path in root.findall(f"{SVG}path[@class='s0 line']")]
    _, low, high = (float(part) for part in bar.replace("M", "").replace("V", " ").split())
    found = [(BOTTOM - end) / (BOTTOM - TOP_EDGE) for end in (low, high)]
    assert found == pytest.approx(interval(0.2, 25), abs=0.003)


def test_the_diagram_is_described_for_those_who_do_not_see_it() -> None:
    about = ElementTree.fromstring(diagram(BINS)).findtext(f"{SVG}desc")
    assert about == (
        "25 pictures claimed with 50.0% on average: 20.0% were so. 75 pictures claimed with 90.0% on average: 80.0% "
        "were so."
    )


def test_the_card_tells_the_same() -> None:
    made = model_card("m", ("cat", "dog", "owl"), trusted(), Preprocessing(), "ViT-B/16", "data", "finetune")
    assert "expected calibration error 3.21% (95% interval 1.2% to 4.6%)" in made
    assert "temperature 1.234, fitted on 998 validation pictures; without it the error is 7.89%." in made
    assert "the 95% interval of test top-1 is 63.5% to 73.9%" in made
