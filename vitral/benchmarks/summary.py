"""From lines of single runs to means over seeds, and to the points of the figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from vitral.benchmarks.study import Member, Panel, Point, Study

NUMBERS = ("top1", "1shot", "5shot", "10shot", "25shot", "transfer_top1")
"""Accuracies that a line may hold, in [0, 1]."""

COUNTED = ("train_count", "parameters", "macs", "examples", "exaflops", "learning_rate")


def summary(study: Study, lines: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each member that has finished runs: means over seeds, their standard deviation, how many there are,
    how many diverged, and seconds in all (`None` where a run was stopped in between)."""
    by_member: dict[str, list[Mapping[str, Any]]] = {}
    for line in lines:
        by_member.setdefault(line["member"], []).append(line)
    return [_row(member, by_member[member.name]) for member in study.members if member.name in by_member]


def _row(member: Member, lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    sound = [line for line in lines if "error" not in line]
    row: dict[str, Any] = {
        "member": member.name, "group": member.group, "label": member.label, "series": member.series,
        "seeds": len(sound), "diverged": len(lines) - len(sound),
    }  # fmt: skip
    row |= {name: sound[0][name] for name in COUNTED if sound and name in sound[0]}
    for name in NUMBERS:
        values = [line[name] for line in sound if name in line]
        if values:
            row[name] = fmean(values)
            row[f"{name}_std"] = stdev(values) if len(values) > 1 else None
    seconds = [line.get("seconds") for line in sound]
    return row | {"seconds": None if None in seconds else sum(second for second in seconds if second is not None)}


def lines_of(panel: Panel, rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Point]]:
    """Points in percent by series, from left to right; a member of no series is a point of every one."""
    assert panel.x is not None
    own = [row for row in rows if row["group"] == panel.group and panel.y.key in row]
    names = dict.fromkeys(row["series"] for row in own if row["series"])
    x = panel.x.key
    return {name: sorted(_point(panel, row, row[x]) for row in own if row["series"] in (name, "")) for name in names}


def differences_of(panel: Panel, rows: Sequence[Mapping[str, Any]]) -> dict[str, Point]:
    """How far each member is from the panel's base, in points, by label; nothing if the base is not there yet."""
    own = {row["label"]: row for row in rows if row["group"] == panel.group and panel.y.key in row}
    if panel.base not in own:
        return {}
    base = 100 * own[panel.base][panel.y.key]
    points = {label: _point(panel, row, 0) for label, row in own.items()}
    return {label: point._replace(y=point.y - base) for label, point in points.items()}


def published_differences(panel: Panel) -> dict[str, float]:
    """The same of the published numbers, in points."""
    points = {} if panel.published is None else panel.published.points
    if panel.base not in points:
        return {}
    return {label: own[0].y - points[panel.base][0].y for label, own in points.items()}


def _point(panel: Panel, row: Mapping[str, Any], x: float) -> Point:
    spread = row.get(f"{panel.y.key}_std")
    return Point(x, 100 * row[panel.y.key], None if spread is None else 100 * spread)
