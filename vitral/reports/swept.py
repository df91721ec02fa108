"""What a sweep over learning rates found, in a run's page, its verdict and the model card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitral.metrics import name_of, written
from vitral.reports.record import Line, section
from vitral.reports.wording import counted, for_html, number


def sentence(measured: Mapping[str, Any]) -> str | None:
    """What the chosen rate reached on pictures that were held out while it was sought; None without a sweep."""
    found = section(measured, "sweep")
    rows = _rows(found)
    best = next((row for row in rows if row.get("learning_rate") == found.get("learning_rate")), None)
    value = None if best is None else _value(found, _best_of(rows, found))
    if best is None or value is None:
        return None
    return (
        f"Learning rate {number(best, 'learning_rate'):g} was the best of {counted(len(rows), 'run')} judged on "
        f"held-out pictures ({_name(found)} {value}, which flatters a little); the kept model learned from those too."
    )


def table(measured: Mapping[str, Any]) -> str:
    """Every member of the sweep as HTML; empty without one."""
    found = section(measured, "sweep")
    rows = "".join(
        f'<tr><th scope="row">{number(row, "learning_rate") or 0:g}</th><td>{for_html(row.get("duration", ""))}</td>'
        f'<td class="number">{_value(found, row) or "diverged"}</td></tr>\n'
        for row in _rows(found)
    )
    if not rows:
        return ""
    heads = f'<th scope="col">Learning rate</th><th scope="col">Length</th><th scope="col">Held-out {_name(found)}</th>'
    return (
        f'<p class="soft">{for_html(sentence(measured) or "", 400)}</p>\n'
        f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>\n"
    )


def _rows(found: Mapping[str, Any]) -> list[Line]:
    rows = found.get("tried")
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _best_of(rows: list[Line], found: Mapping[str, Any]) -> Line:
    """Of the members with the chosen rate (they may differ in length) the one that was chosen."""
    sign = -1 if found.get("metric") == "loss" else 1
    own = [row for row in rows if row.get("learning_rate") == found.get("learning_rate")]
    return max(own, key=lambda row: sign * (number(row, "value") or 0.0))


def _metric(found: Mapping[str, Any]) -> str:
    return str(found.get("metric", "top1"))


def _name(found: Mapping[str, Any]) -> str:
    return for_html(name_of(_metric(found)))


def _value(found: Mapping[str, Any], row: Mapping[str, Any]) -> str | None:
    value = number(row, "value")
    return None if value is None else written(_metric(found), value)
