"""Charts: well-formed, labelled, and true to the points at any number of them."""

from __future__ import annotations

import math
import random
import re
import xml.etree.ElementTree as ElementTree

import pytest

from vitral.reports.curves import BOTTOM, LEFT, RIGHT, TOP, Series, curve, thin, ticks

SVG = "{http://www.w3.org/2000/svg}"


def draw(*series: Series, **settings: bool) -> ElementTree.Element:
    return ElementTree.fromstring(curve("Loss", series, "step", "nats", **settings))


def line_points(svg: ElementTree.Element) -> list[tuple[float, float]]:
    """Corners of the drawn lines, legend aside."""
    paths = [path.get("d", "") for path in svg.iter(f"{SVG}path") if "line" in path.get("class", "")]
    return [
        (float(x), float(y))
        for path in paths
        if "h26" not in path
        for x, y in re.findall(r"[ML]([-\d.]+) ([-\d.]+)", path)
    ]


def noise(count: int) -> list[tuple[float, float]]:
    rng = random.Random(0)
    return [(float(k), rng.random()) for k in range(count)]


def test_thinning_keeps_the_ends_and_the_extremes() -> None:
    points = noise(100_000)
    points[31_415] = (31_415.0, -7.0)
    points[92_653] = (92_653.0, 9.0)
    kept = thin(points)
    assert {points[0], points[-1], points[31_415], points[92_653]} <= set(kept)


@pytest.mark.parametrize("count", [0, 1, 499, 500, 501, 502, 1501, 100_000])
def test_thinning_gives_at_most_500_points_in_their_order(count: int) -> None:
    points = noise(count)
    kept = thin(points)
    assert len(kept) == count if count <= 500 else 400 < len(kept) <= 500
    assert kept == [point for point in points if point in set(kept)]


def test_thinning_keeps_a_long_gap_a_gap() -> None:
    points = [(x, math.nan if 40_000 <= x < 60_000 else y) for x, y in noise(100_000)]
    gap = [x for x, y in thin(points) if math.isnan(y)]
    assert gap
    assert all(40_000 <= x < 60_000 for x in gap)


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (0, 0.003), (0.9131, 0.9147), (-3, 12), (0, 123_456), (1e-9, 1.1e-9), (0, 1e14), (7, 4e5)]
)
def test_ticks_are_round_and_enclose_the_values(low: float, high: float) -> None:
    found = ticks(low, high)
    gap = found[1] - found[0]
    assert found[0] <= low + 1e-6 * gap
    assert found[-1] >= high - 1e-6 * gap
    assert 2 <= len(found) <= 6
    assert round(gap / 10 ** math.floor(math.log10(gap * 1.000001)), 6) in (1, 2, 5)


def test_every_point_lies_at_its_value_between_the_axes() -> None:
    svg = draw(Series("training", [(0, 0), (50, 2), (100, 4)]))
    assert line_points(svg) == [(LEFT, BOTTOM), ((LEFT + RIGHT) / 2, (TOP + BOTTOM) / 2), (RIGHT, TOP)]


def test_nan_leaves_a_gap_in_the_line() -> None:
    svg = draw(Series("training", [(0, 1), (1, 2), (2, math.nan), (3, 3), (4, 2)]))
    (path,) = [p.get("d", "") for p in svg.iter(f"{SVG}path") if p.get("d", "").count("L") > 0]
    assert (path.count("M"), path.count("L")) == (2, 2)


def test_a_single_point_is_a_dot() -> None:
    assert len(list(draw(Series("training", [(10, 2.5)])).iter(f"{SVG}circle"))) == 1


def test_a_finite_point_between_gaps_is_a_dot_among_many() -> None:
    points = [(float(k), math.nan if k in (99, 101) else 1.0 + k) for k in range(200)]
    assert len(list(draw(Series("training", points)).iter(f"{SVG}circle"))) == 1


@pytest.mark.parametrize("points", [[], [(1.0, math.nan)], [(1.0, math.inf), (2.0, 1e300)]])
def test_without_a_finite_point_it_says_so(points: list[tuple[float, float]]) -> None:
    assert "nothing recorded" in "".join(draw(Series("training", points)).itertext())


@pytest.mark.parametrize("value", [0.0, 1.0, -3.0, 1e-12, 5e14])
def test_a_constant_is_drawn_within_the_plot(value: float) -> None:
    corners = line_points(draw(Series("training", [(1, value), (2, value)])))
    assert len(corners) == 2
    assert all(TOP <= y <= BOTTOM for _, y in corners)


def test_percent_labels_stay_between_0_and_100() -> None:
    svg = draw(Series("training", [(1, 0.02), (2, 1.0)]), percent=True)
    shown = [text.text or "" for text in svg.iter(f"{SVG}text")]
    assert [label for label in shown if label.endswith("%")][:6] == ["0%", "20%", "40%", "60%", "80%", "100%"]


@pytest.mark.parametrize("highest", [3e-6, 0.0012, 0.4, 7, 940, 12_000, 3e6, 4e10])
def test_tick_labels_of_one_axis_all_differ(highest: float) -> None:
    svg = draw(Series("training", [(0, 0), (1, highest)]))
    labels = [text.text for text in svg.iter(f"{SVG}text") if "tick end" in text.get("class", "")]
    assert len(set(labels)) == len(labels) >= 3


def test_names_are_escaped() -> None:
    text = curve("<b>&", [Series("</svg><script>", [(0, 1), (1, 2)])], "step", '"\x00')
    assert "<script" not in text
    assert any("</svg><script>" in (node.text or "") for node in ElementTree.fromstring(text).iter())


def test_the_description_names_ends_and_extremes() -> None:
    about = draw(Series("training", [(10, 2.5), (20, 0.125), (30, 9.75), (40, 1.5)])).findtext(f"{SVG}desc", "")
    assert all(value in about for value in ("2.5", "0.125", "9.75", "1.5", "10", "40"))
