"""The tables of a run's page."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from vitral.config import RunConfig
from vitral.metrics import NAMES, written
from vitral.overrides import knobs, to_json
from vitral.reports import swept
from vitral.reports.matrix import matrix
from vitral.reports.record import SPLITS, Line, Record, section
from vitral.reports.reliability import diagram
from vitral.reports.verdict import lacks_classes, spread
from vitral.reports.wording import class_name, counted, for_html, interval, number, percent

WORST, BEST = 30, 10
"""Rows of the per-class table where there are more classes than both together."""

MOST_SETTINGS = 200

_BELOW = " Below a number stands its 95% interval, by resampling the pictures."

_FLATTERS = " No test split was measured; validation also chose the step, so its numbers flatter a little."
_MEASURES = ("top1", "top5", "real_top1", "mean_average_precision", "exact_match", "balanced_accuracy", "macro_f1",
             "loss", "ece", "ece_before")  # fmt: skip
_HEADS = {"macro_f1": "Macro F1", "ece": "Calibration error (ECE)", "ece_before": "ECE at temperature 1"}

MOST_PAIRS = 20
"""Rows of the table of confused classes."""


def missing(sentence: str) -> str:
    """A paragraph that says what is not there."""
    return f'<p class="missing">{for_html(sentence, 300)}</p>\n'


def measured(record: Record, trained: bool = True) -> str:
    """What was measured on each split.

    Args:
        trained: the numbers are a training run's own, whose validation split chose the step.
    """
    splits = [(name, _flattened(found)) for name in SPLITS if (found := section(record.measured, name))]
    if not splits and swept.sentence(record.measured):
        return ""
    if not splits:
        why = record.gaps.get("model/metrics.json", "holds no numbers")
        return missing(f"No model has been measured yet: model/metrics.json {why}.")
    heads = "".join(f'<th scope="col" class="number">{name}</th>' for name, _ in splits)
    rows = "".join(
        f'<tr><th scope="row">{_head(name)}</th>{"".join(_cell(found, name) for _, found in splits)}</tr>\n'
        for name in ("count", *_MEASURES, "unreadable")
        if not (name == "top5" and (number(record.environment, "classes") or 6) <= 5 and not record.multi_label)
        if any(number(found, name) is not None for _, found in splits)
    )
    flatters = "" if section(record.measured, "test") or not trained else _FLATTERS
    which = "The kept model, on pictures it was not trained on. " if trained else ""
    return (
        f'<p class="soft">{which}Unreadable pictures count as wrong.'
        f"{flatters}{_BELOW if any('intervals' in found for _, found in splits) else ''}</p>\n"
    ) + _scroll("Numbers", f'<thead><tr><th scope="col">Split</th>{heads}</tr></thead><tbody>{rows}</tbody>')


def classes(record: Record) -> str:
    """How each class does on the split that the run is judged by, worst first."""
    split = record.split()
    score = "average_precision" if record.multi_label else "top1"
    found = section(split[1], "per_class") if split else {}
    ranked = sorted(
        ((name, row) for name, row in found.items() if isinstance(row, dict) and number(row, score) is not None),
        key=lambda item: (item[1][score], -(number(item[1], "count") or 0), item[0]),
    )
    if split is None or not ranked:
        return missing("No class has been measured yet.")
    shown = [_class_row(class_name(name, record.descriptions), row, score) for name, row in ranked]
    if len(shown) > WORST + BEST:
        between = counted(len(shown) - WORST - BEST, "class", "classes")
        gap = f'<tr><td colspan="5" class="gap">{between} in between</td></tr>\n'
        shown = [*shown[:WORST], gap, *shown[-BEST:]]
    absent = lacks_classes(record)
    note = f" {counted(absent, 'class has', 'classes have')} no picture in it." if absent else ""
    title = "Average precision" if record.multi_label else "Top-1"
    ends = "" if record.multi_label else '<th scope="col" class="number">95% interval</th>'
    return _scroll(
        "Classes, worst first",
        f"<caption>On the {split[0]} split, worst first.{note}</caption>"
        f'<thead><tr><th scope="col">Class</th><th scope="col" class="number">Pictures</th>'
        f'<th scope="col" class="number">{title}</th><td class="bar"></td>{ends}</tr>'
        f"</thead><tbody>{''.join(shown)}</tbody>",
    ) + (matrix(record) + _confused(split, record.descriptions))


def _confused(split: tuple[str, Line], descriptions: Mapping[str, Any]) -> str:
    """Which classes are most often taken for which."""
    found = split[1].get("confused")
    pairs = [pair for pair in found if isinstance(pair, dict)] if isinstance(found, list) else []
    if not pairs:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{class_name(pair.get("label", ""), descriptions)}</th>'
        f"<td>{class_name(pair.get('guess', ''), descriptions)}</td>"
        f'{_cell(pair, "count")}<td class="number">{percent(number(pair, "share") or 0.0, 1)}</td></tr>\n'
        for pair in pairs[:MOST_PAIRS]
    )
    more = f", the {MOST_PAIRS} most frequent pairs" if len(pairs) > MOST_PAIRS else ""
    return "<h3>Most often confused</h3>\n" + _scroll(
        "Confused classes",
        f"<caption>Taken for another class on the {split[0]} split{more}.</caption>"
        '<thead><tr><th scope="col">Class</th><th scope="col">Taken for</th>'
        '<th scope="col" class="number">Pictures</th><th scope="col" class="number">Of its own</th></tr></thead>'
        f"<tbody>{rows}</tbody>",
    )


def calibration(record: Record) -> str:
    """Whether the model's probabilities can be believed, and what it gains to ask a person about the least sure."""
    split = record.split()
    made = section(split[1], "calibration") if split else {}
    bins = made.get("bins")
    if split is None or not isinstance(bins, list) or not bins:
        return missing("Nothing is known of its probabilities: calibration is measured when the run is finished.")
    things = "question" if record.multi_label else "picture"
    where = f'<p class="soft">On the {split[0]} split. {for_html(_temperature(record), 400)} Dots on the dashed line '
    where += f"are claims that hold; a dot's size is its share of the {things}s, its bar the 95% interval.</p>\n"
    return f'{where}<div class="curves"><figure>{diagram(bins, things)}</figure>{_coverage(split)}</div>\n'


def _temperature(record: Record) -> str:
    fitted = section(record.measured, "calibration")
    temperature, count = number(fitted, "temperature"), number(fitted, "fitted_on")
    if temperature is None or count is None:
        return "The scores are taken as they come (temperature 1)."
    pictures = counted(int(count), f"{fitted.get('split', '')} picture".strip())
    if temperature == 1:
        return f"The scores are taken as they come: {pictures} are too few to fit a temperature."
    return f"Scores are divided by the temperature {temperature:.3f}, fitted on {pictures}; no answer changes by it."


def _coverage(split: tuple[str, Line]) -> str:
    found = section(section(split[1], "selective"), "accuracy_at")
    rows = "".join(
        f'<tr><th scope="row">{float(coverage):.0%}</th><td class="number">{percent(accuracy)}</td></tr>\n'
        for coverage in found
        if (accuracy := number(found, coverage)) is not None and re.fullmatch(r"[01](\.\d+)?", coverage)
    )
    return rows and (
        '<div><p class="soft">If only the surest pictures are answered and a person looks at the rest:</p>'
        '<table><thead><tr><th scope="col">Answered</th><th scope="col" class="number">Right</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>\n"
    )


def settings(record: Record) -> str:
    """The whole configuration, with what each setting means; those that differ from the default stand out."""
    if not record.config:
        return missing(f"The settings are not known: config.json {record.gaps.get('config.json', 'is empty')}.")
    meanings = {knob.name: knob.meaning for knob in knobs(RunConfig)}
    defaults = dict(_flat(to_json(RunConfig())))
    rows, part = [], ""
    for name, value in _flat(record.config)[:MOST_SETTINGS]:
        head = name.rpartition(".")[0]
        if head != part:
            rows.append(f'<tr class="part"><th scope="colgroup" colspan="2">{for_html(head)}</th></tr>\n')
            part = head
        meaning = f"<small>{for_html(meanings[name], 300)}</small>" if meanings.get(name) else ""
        shown = for_html(_words(value), 300)
        shown = f"<strong>{shown}</strong>" if name in defaults and defaults[name] != value else shown
        label = for_html(name.rpartition(".")[2])
        rows.append(f'<tr><th scope="row">{label}{meaning}</th><td>{shown}</td></tr>\n')
    return (
        '<table class="settings"><caption>Bold where the run differs from vitral\'s default.</caption>'
        f'<thead><tr><th scope="col">Setting</th><th scope="col">Value</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>\n"
    )


def _scroll(label: str, table: str) -> str:
    return f'<div class="scroll" role="region" tabindex="0" aria-label="{label}"><table>{table}</table></div>\n'


def _head(name: str) -> str:
    return {"count": "Pictures", **_HEADS, **{k: v[0].upper() + v[1:] for k, v in NAMES.items()}}.get(
        name, name.replace("_", " ").capitalize()
    )


def _cell(found: Mapping[str, Any], name: str) -> str:
    value = number(found, name)
    whole = name in ("count", "unreadable")
    shown = "–" if value is None else f"{value:,.0f}" if whole else written(name, value)
    ends = spread(found, name) if "intervals" in found and not whole else None
    if ends:
        low, high = (written(name, end).removesuffix("%") for end in ends)
        shown += f"<small>{low} to {high}</small>"
    return f'<td class="number">{shown}</td>'


def _flattened(found: Line) -> Line:
    """What was measured on a split, its calibration error beside the other numbers."""
    made = section(found, "calibration")
    errors = {"ece": number(made, "ece"), "ece_before": number(section(made, "before"), "ece")}
    return {**found, **errors}


def _class_row(name: str, row: Line, score: str) -> str:
    value, count = number(row, score) or 0.0, int(number(row, "count") or 0)
    spread = ""
    if score == "top1":
        low, high = interval(value, count) if count else (0.0, 1.0)
        spread = f'<td class="number">{100 * low:.0f}–{percent(high, 0)}</td>'
    bar = '<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
    bar += f'<rect width="{100 * min(1.0, max(0.0, value)):.1f}" height="10"/></svg>'
    return (
        f'<tr><th scope="row">{name}</th>{_cell(row, "count")}'
        f'<td class="number">{written(score, value)}</td>'
        f'<td class="bar">{bar}</td>'
        f"{spread}</tr>\n"
    )


def _flat(plain: Mapping[str, Any], prefix: str = "") -> Sequence[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in plain.items():
        found += _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(prefix + str(key), value)]
    return found


def _words(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_words, value)) or "none"
    return (
        {None: "none", True: "true", False: "false"}[value] if value is None or isinstance(value, bool) else str(value)
    )
