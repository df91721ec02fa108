"""Figures of studies: what was measured here on the left, what was published on the right."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from vitral.inspection.figures.canvas import GREY, LINES, MARKS, panels, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DASHES = ("-", "--", ":", "-.")

LONGEST_NAME = 24
"""Letters of a line's name of which two fit beside each other below the axes, where they cover no line."""

LONGEST_LINE = 48
"""Letters of a title that fit over one panel."""


class Point(Protocol):
    """A mean with its standard deviation, or a published number."""

    @property
    def x(self) -> float: ...

    @property
    def y(self) -> float: ...

    @property
    def spread(self) -> float | None: ...


@dataclass(frozen=True)
class Words:
    """What stands around a figure: title, axes (of the right side too), how many seeds, whose the published numbers
    are."""

    title: str
    x: str
    y: str
    seeds: int
    published_x: str = ""
    published_y: str = ""
    source: str = ""

    @property
    def measured(self) -> str:
        """Title of our side."""
        several = f"mean of {self.seeds} seeds and standard deviation"
        return f"{self.title}\nhere: {'one seed' if self.seeds == 1 else several}"


@styled
def draw_lines(own: Mapping[str, Sequence[Point]], published: Mapping[str, Sequence[Point]], words: Words) -> Figure:
    """Lines over a logarithmic axis, by series."""
    sides = 2 if published else 1
    longest = -(-max(len(own), len(published)) // _beside_each_other(own))
    figure, axes = panels(1, sides, (4.4 + 3.6 * (sides - 1), 3.1 + 0.16 * longest))
    looks = {name: _look(i) for i, name in enumerate(dict.fromkeys([*own, *published]))}
    _lines(axes[0][0], own, looks)
    _words(axes[0][0], words.measured, words.x, words.y)
    if published:
        _lines(axes[0][1], published, looks)
        source = textwrap.fill(f"published: {words.source}", LONGEST_LINE)
        _words(axes[0][1], source, words.published_x, words.published_y)
    return figure


@styled
def draw_differences(own: Mapping[str, Point], published: Mapping[str, float], words: Words) -> Figure:
    """A row for each member: how far it is from the one that the others are compared with."""
    labels = list(own)
    figure, ((ax,),) = panels(1, 1, (5.6, 1.3 + 0.24 * len(labels)))
    rows = range(len(labels))
    spreads = [own[label].spread or 0.0 for label in labels]
    ax.axvline(0, color=GREY, linewidth=0.7)
    ax.errorbar([own[label].y for label in labels], rows, xerr=spreads if any(spreads) else None, color=LINES[0],
                linestyle="none", marker=MARKS[0], markersize=4.5, capsize=2, label=f"here, {words.y}")  # fmt: skip
    there = [(published[label], row) for label, row in zip(labels, rows, strict=True) if label in published]
    if there:
        ax.plot(*zip(*there, strict=True), color=LINES[1], linestyle="none", marker=MARKS[2], markersize=5,
                markerfacecolor="none", label=f"{words.published_y}: {words.source}")  # fmt: skip
    ax.set_yticks(list(rows), labels)
    ax.invert_yaxis()
    ax.set_xlabel(words.x)
    ax.set_title(words.measured)
    ax.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.32 if len(labels) < 6 else -0.16))
    return figure


def _look(i: int) -> dict[str, Any]:
    return {
        "color": LINES[i % len(LINES)], "marker": MARKS[i % len(MARKS)], "markersize": 4.5, "capsize": 2,
        "linestyle": DASHES[i // len(LINES) % len(DASHES)],
    }  # fmt: skip


def _lines(ax: Axes, lines: Mapping[str, Sequence[Point]], looks: Mapping[str, dict[str, Any]]) -> None:
    for name, points in lines.items():
        spreads = [point.spread or 0.0 for point in points]
        ax.errorbar([point.x for point in points], [point.y for point in points],
                    yerr=spreads if any(spreads) else None, label=name, **looks[name])  # fmt: skip
    _logarithmic(ax, [point.x for points in lines.values() for point in points])
    ax.grid(visible=True, color=GREY, alpha=0.2, linewidth=0.5)
    ax.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=_beside_each_other(lines))


def _beside_each_other(names: Iterable[str]) -> int:
    return 2 if all(len(name) <= LONGEST_NAME for name in names) else 1


def _logarithmic(ax: Axes, at: Sequence[float]) -> None:
    """Ticks as plain numbers: powers of ten, and 2 and 5 of them where there are few."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    ax.set_xscale("log")
    near = bool(at) and max(at) < 100 * min(at)
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if near else (1.0,)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}" if 1 <= x < 1e6 else f"{x:.0e}"))
    ax.xaxis.set_minor_formatter(NullFormatter())


def _words(ax: Axes, title: str, x: str, y: str) -> None:
    ax.set_title(title)
    ax.set_xlabel(x)
    ax.set_ylabel(y)
