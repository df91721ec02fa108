"""The reliability diagram: what the model claims against what is so, as inline SVG. See `vitral.reports.curves`."""

from __future__ import annotations

import math
from collections.abc import Sequence

from vitral.reports.curves import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH
from vitral.reports.record import Line
from vitral.reports.wording import counted, for_html, interval, number, percent

LARGEST_DOT, SMALLEST_DOT = 9.0, 2.0
"""Radii, in units of the viewBox: a dot's area is its bin's share of the pictures, as far as it can be seen."""

TOP_EDGE = TOP - 30
"""The plot's upper edge: this chart has no legend above it."""


def diagram(bins: Sequence[Line], thing: str = "picture") -> str:
    """One dot per bin that holds pictures, at (mean confidence, accuracy), with the accuracy's 95 % interval.

    Args:
        bins: each with `count`, `confidence` and `accuracy`, as `vitral.evaluators.calibration` gives them; what
            is not of that form is left out.
        thing: what is counted.
    """
    rows = [row for row in map(_row, bins) if row is not None]
    total = sum(count for count, _, _ in rows)
    about = " ".join(
        f"{counted(count, thing)} claimed with {percent(claimed, 1)} on average: {percent(so, 1)} were so."
        for count, claimed, so in rows
    )
    dots = "".join(_dot(*row, total) for row in rows)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="curve" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        'aria-labelledby="reliability-title reliability-about"><title id="reliability-title">Reliability</title>'
        f'<desc id="reliability-about">{for_html(about or "Nothing was recorded.", 2000)}</desc>'
        '<text class="title" x="8" y="22">Reliability <tspan class="unit">share that was right</tspan></text>'
        f'{_frame()}<path class="s1 line" d="M{LEFT} {BOTTOM}L{RIGHT} {TOP_EDGE}"/>{dots}'
        f'<text class="unit end" x="{RIGHT}" y="{HEIGHT - 6}">probability claimed</text></svg>\n'
    )


def _row(row: object) -> tuple[int, float, float] | None:
    if not isinstance(row, dict):
        return None
    count, claimed, so = (number(row, name) for name in ("count", "confidence", "accuracy"))
    if count is None or claimed is None or so is None or count < 1 or not (0 <= claimed <= 1 and 0 <= so <= 1):
        return None
    return int(count), claimed, so


def _frame() -> str:
    parts = []
    for k in range(6):
        share = k / 5
        x, y = _place(share, share)
        parts.append(f'<path class="grid" d="M{LEFT} {y:g}H{RIGHT}"/>')
        parts.append(f'<text class="tick end" x="{LEFT - 8}" y="{y + 5:g}">{share:.0%}</text>')
        parts.append(f'<path class="axis" d="M{x:g} {BOTTOM}v5"/>')
        side = "end" if k == 5 else "middle"
        parts.append(f'<text class="tick {side}" x="{x:g}" y="{BOTTOM + 21}">{share:.0%}</text>')
    return "".join(parts) + f'<path class="axis" d="M{LEFT} {BOTTOM}H{RIGHT}"/>'


def _dot(count: int, claimed: float, so: float, total: int) -> str:
    x, y = _place(claimed, so)
    low, high = (_place(claimed, end)[1] for end in interval(so, count))
    radius = max(SMALLEST_DOT, LARGEST_DOT * math.sqrt(count / total))
    return (
        f'<path class="s0 line" d="M{x:g} {low:g}V{high:g}"/>'
        f'<circle class="s0 dot" cx="{x:g}" cy="{y:g}" r="{radius:.1f}"/>'
    )


def _place(across: float, up: float) -> tuple[float, float]:
    return round(LEFT + across * (RIGHT - LEFT), 1), round(BOTTOM - up * (BOTTOM - TOP_EDGE), 1)
