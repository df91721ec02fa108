"""Line charts as inline SVG, drawn with nothing but arithmetic.

A chart has its own title, unit, legend and a description for screen readers; its colours come from the style
sheet of the page around it (`vitral.reports.style`), so that it follows light, dark and print.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from vitral.reports.wording import for_html, percent

Point = tuple[float, float]

WIDTH, HEIGHT = 480, 310
LEFT, RIGHT, TOP, BOTTOM = 64, 464, 80, 262
"""The plot's edges, in units of the viewBox; the rest is for title, legend and labels."""

MOST_POINTS = 500
MOST_DOTS = 40
"""Points up to which each is drawn as a dot, too."""

LARGEST = 1e15
"""Beyond this a value counts as not finite."""


@dataclass(frozen=True)
class Series:
    """One line of a chart. A point (x, y) whose y is NaN is a gap. `style` 0 is a solid line, 1 a dashed one.

    A series without a name has no entry in the legend: the title says enough.
    """

    name: str
    points: Sequence[Point]
    style: int = 0


class Axis(NamedTuple):
    """Where an axis begins and ends, and its ticks with their labels."""

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]


def curve(
    title: str,
    series: Sequence[Series],
    x_label: str,
    y_label: str,
    percent: bool = False,
    mark: tuple[float, str] | None = None,
) -> str:
    """The chart as one `<svg>` element.

    Args:
        percent: y is a fraction in [0, 1], to be labelled in percent.
        mark: x of a vertical line, and its label.
    """
    name = "curve-" + (re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "chart")
    drawn = [s for s in series if _finite(s.points)]
    about = " ".join(_describe(s, title, x_label, percent) for s in series) or "Nothing was recorded."
    body = _plot(drawn, x_label, percent, mark) if drawn else _nothing()
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="curve" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-labelledby="{name}-title {name}-about">'
        f'<title id="{name}-title">{for_html(title)}</title><desc id="{name}-about">{for_html(about, 2000)}</desc>'
        f'<text class="title" x="8" y="22">{for_html(title)} <tspan class="unit">{for_html(y_label)}</tspan></text>'
        f"{body}</svg>\n"
    )


def thin(points: Sequence[Point], most: int = MOST_POINTS) -> list[Point]:
    """At most `most` (4 or more) of the points, in order: first, last, and the lowest and highest of each bucket."""
    if len(points) <= most:
        return list(points)
    inner = points[1:-1]
    buckets = (most - 2) // 2
    kept = [points[0]]
    for k in range(buckets):
        start, end = k * len(inner) // buckets, (k + 1) * len(inner) // buckets
        values = [i for i in range(start, end) if math.isfinite(inner[i][1])]
        if values:
            lowest, highest = (choose(values, key=lambda i: inner[i][1]) for choose in (min, max))
            kept += [inner[i] for i in sorted({lowest, highest})]
        else:
            kept.append((inner[start][0], math.nan))
    return [*kept, points[-1]]


def ticks(low: float, high: float, most: int = 6, whole: bool = False) -> list[float]:
    """Round numbers, 1, 2 or 5 times a power of ten apart, the outer two at or beyond `low` and `high`."""
    step = 10.0 ** math.floor(math.log10((high - low) / most))
    for factor in (1, 2, 5, 10, 20, 50):
        size = max(1.0, step * factor) if whole else step * factor
        first, last = math.floor(low / size + 1e-9), math.ceil(high / size - 1e-9)
        if last - first + 1 <= most:
            break
    return [k * size for k in range(first, last + 1)]


def _axis(values: Sequence[float], percent: bool, most: int, inside: bool) -> Axis:
    """The axis that shows `values`; with `inside` it ends where they do, else at a tick."""
    low, high = min(values), max(values)
    if 0 < low < 0.35 * high:
        low = 0.0
    if high - low <= 1e-9 * max(abs(low), abs(high)) or high - low < 1e-30:
        room = 0.5 * abs(high) or 0.5
        low, high = low - room, high + room
        if percent:
            low, high = max(0.0, low), min(1.0, high)
    whole = inside and all(value == int(value) for value in values) and high - low >= 1
    found = ticks(low, high, most, whole)
    gap = found[1] - found[0]
    if inside:
        slack = 1e-9 * (high - low)
        found = [tick for tick in found if low - slack <= tick <= high + slack]
    else:
        low, high = found[0], found[-1]
    return Axis(low, high, tuple((tick, _label(tick, gap, max(-low, high), percent)) for tick in found))


def _label(value: float, gap: float, largest: float, percent: bool) -> str:
    if percent:
        return f"{value:.{max(0, -math.floor(math.log10(gap) + 2 + 1e-9))}%}"
    if abs(value) < gap / 2:
        return "0"
    if largest >= 1e12:
        return f"{value:.3g}"
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if largest >= 10 * size or (largest >= size and size > 1e3):
            return f"{value / size:.10g}{letter}"
    if gap < 1e-3:
        digits, _, power = f"{value:.2e}".partition("e")
        return f"{digits.rstrip('0').rstrip('.')}e{int(power)}"
    return f"{value:,.{max(0, -math.floor(math.log10(gap) + 1e-9))}f}"


def _plot(series: Sequence[Series], x_label: str, percent: bool, mark: tuple[float, str] | None) -> str:
    points = [point for s in series for point in _finite(s.points)]
    x = _axis([point[0] for point in points], False, 6, inside=True)
    y = _axis([point[1] for point in points], percent, 6, inside=False)

    def place(point: Point) -> Point:
        across = (point[0] - x.low) / (x.high - x.low)
        up = (point[1] - y.low) / (y.high - y.low)
        return round(LEFT + across * (RIGHT - LEFT), 1), round(BOTTOM - up * (BOTTOM - TOP), 1)

    parts = []
    for value, label in y.ticks:
        level = place((x.low, value))[1]
        parts.append(f'<path class="grid" d="M{LEFT} {level:g}H{RIGHT}"/>')
        parts.append(f'<text class="tick end" x="{LEFT - 8}" y="{level + 5:g}">{label}</text>')
    for value, label in x.ticks:
        at = place((value, y.low))[0]
        parts.append(f'<path class="axis" d="M{at:g} {BOTTOM}v5"/>')
        side = "end" if at > RIGHT - 16 else "middle"
        parts.append(f'<text class="tick {side}" x="{at:g}" y="{BOTTOM + 21}">{label}</text>')
    parts.append(f'<path class="axis" d="M{LEFT} {BOTTOM}H{RIGHT}"/>')
    parts.append(f'<text class="unit end" x="{RIGHT}" y="{HEIGHT - 6}">{for_html(x_label)}</text>')
    if mark and x.low <= mark[0] <= x.high:
        at = place((mark[0], y.low))[0]
        side = "end" if at > (LEFT + RIGHT) / 2 else "start"
        parts.append(f'<path class="mark" d="M{at:g} {TOP - 8}V{BOTTOM}"/>')
        parts.append(f'<text class="tick {side}" x="{at:g}" y="{TOP - 12}">{for_html(mark[1])}</text>')
    parts += [_line(k, s, place, percent, len(series)) for k, s in enumerate(series)]
    return "".join(parts)


def _line(k: int, series: Series, place: Callable[[Point], Point], percent: bool, several: int) -> str:
    path: list[str] = []
    dots: list[str] = []
    pen_down = False
    points = thin([p for p in series.points if math.isfinite(p[0])])
    spots = [place(point) if _drawable(point) else None for point in points]
    alone = [i for i, spot in enumerate(spots) if spot and not any(spots[max(0, i - 1) : i] + spots[i + 1 : i + 2])]
    for i, spot in enumerate(spots):
        if spot:
            path.append(f"{'L' if pen_down else 'M'}{spot[0]:g} {spot[1]:g}")
            if len(points) <= MOST_DOTS or i in alone:
                dots.append(f'<circle class="s{series.style} dot" cx="{spot[0]:g}" cy="{spot[1]:g}" r="2.5"/>')
        pen_down = spot is not None
    slot = LEFT + k * (RIGHT - LEFT) // max(2, several)
    last = _written(_finite(series.points)[-1][1], percent)
    legend = (
        f'<path class="s{series.style} line" d="M{slot} 44h26"/>'
        f'<text class="legend" x="{slot + 33}" y="49">{for_html(series.name)} {last}</text>'
    )
    line = f'<path class="s{series.style} line" d="{"".join(path)}"/>'
    return f"{line}{''.join(dots)}{legend if series.name else ''}"


def _nothing() -> str:
    middle = f'x="{(LEFT + RIGHT) / 2:g}" y="{(TOP + BOTTOM) / 2:g}"'
    return (
        f'<path class="axis" d="M{LEFT} {BOTTOM}H{RIGHT}"/><text class="unit middle" {middle}>nothing recorded</text>'
    )


def _drawable(point: Point) -> bool:
    return math.isfinite(point[0]) and math.isfinite(point[1]) and abs(point[1]) <= LARGEST


def _finite(points: Sequence[Point]) -> list[Point]:
    return [point for point in points if _drawable(point)]


def _describe(series: Series, title: str, x_label: str, in_percent: bool) -> str:
    name = series.name or title
    points = _finite(series.points)
    if not points:
        return f"{name}: nothing was recorded."
    (x0, y0), (x1, y1) = points[0], points[-1]
    low, high = min(y for _, y in points), max(y for _, y in points)
    first, last, lowest, highest = (_written(value, in_percent) for value in (y0, y1, low, high))
    missing = len(series.points) - len(points)
    gap = f" {missing} further points are not finite." if missing else ""
    return (
        f"{name}: {len(points)} points, {first} at {x_label} {x0:g}, {last} at {x_label} {x1:g}; "
        f"lowest {lowest}, highest {highest}.{gap}"
    )


def _written(value: float, in_percent: bool) -> str:
    return percent(value) if in_percent else f"{value:.4g}"
