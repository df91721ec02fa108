"""The page of an evaluation: how good a model is on these pictures, where it fails, and how sure one can be."""

from __future__ import annotations

import math

from vitral.metrics import NAMES
from vitral.reports import galleries, matrix, tables
from vitral.reports.besides import besides
from vitral.reports.curves import Series, curve
from vitral.reports.frame import fold, frame
from vitral.reports.origin import FEW_PICTURES, decisions, problems, reproduce
from vitral.reports.record import Line, Record, section
from vitral.reports.robustness import corruptions
from vitral.reports.tiles import tiles
from vitral.reports.verdict import quality
from vitral.reports.wording import counted, for_html, interval, number, percent, plain

SMALL_GAP = 0.02
"""Two points: mean claims that differ by less from the share that is right are called believable."""

_AGAIN = "The same command measures the same again; on a CPU of the same kind, to the last digit."


def render(record: Record) -> str:
    """The page as text.

    Args:
        record: with what was measured on one split, as `vitral evaluate` measures it.
    """
    sections = [
        ("Numbers", tables.measured(record, trained=False) + _besides(record)),
        ("Curves", _curves(record)),
        ("Classes", fold("the classes", tables.classes(record))),
        ("Calibration", tables.calibration(record)),
        ("Corruptions", corruptions(record)),
        ("Pictures", fold("the pictures", galleries.pictures(record))),
        ("Data problems", problems(record)),
        ("Decisions", decisions(record)),
        ("Reproduce", reproduce(record, _AGAIN)),
    ]
    top = (
        f'<p class="about">{_about(record)}</p>\n'
        f'<p class="verdict">{for_html(" ".join(judgement(record)), 1000)}</p>\n{tiles(record)}'
    )
    source = f"{for_html(record.environment.get('vitral', ''))} from one look at each picture"
    shown = [(title, body) for title, body in sections if body]
    return frame("evaluation report", record.name, top, shown, source, galleries.STYLE + matrix.STYLE, images=True)


def _besides(record: Record) -> str:
    split = record.split()
    lines = "".join(f"<li>{for_html(sentence, 400)}</li>\n" for sentence in besides(split[1] if split else {}))
    return f"<ul>\n{lines}</ul>\n" if lines else ""


def _about(record: Record) -> str:
    split = record.split()
    classes = number(record.environment, "classes")
    facts = [
        record.environment.get("kind"),
        counted(int(classes), "class", "classes") if classes else None,
        f"data {section(record.config, 'data').get('path')}",
        f"{split[0]} split, {counted(int(number(split[1], 'count') or 0), 'picture')}" if split else None,
    ]
    return " · ".join(for_html(fact, 200) for fact in facts if fact)


def judgement(record: Record) -> list[str]:
    """Up to three sentences: how good, how believable, where weakest."""
    split = record.split()
    return [quality(record), *_belief(split[1] if split else {}), *_weakness(record)]


def _belief(found: Line) -> list[str]:
    made = section(found, "calibration")
    bins = [row for row in made.get("bins") or [] if isinstance(row, dict)]
    counts = [number(row, "count") or 0.0 for row in bins]
    total = sum(counts)
    if not total:
        return []
    claimed, right = (
        sum(n * (number(row, key) or 0.0) for n, row in zip(counts, bins, strict=True)) / total
        for key in ("confidence", "accuracy")
    )
    of = " of those it can read" if number(found, "unreadable") else ""
    gap, error = claimed - right, number(made, "ece") or 0.0
    words = f"it claims {percent(claimed, 1)} on average and is right in {percent(right, 1)}{of}"
    if abs(gap) <= max(SMALL_GAP, 2 * math.sqrt(right * (1 - right) / total)):
        return [f"Its probabilities can be taken at their word: {words} (calibration error {percent(error, 1)})."]
    kind = "overconfident" if gap > 0 else "less sure than it could be"
    return [f"It is {kind}: {words} (calibration error {percent(error, 1)})."]


def _weakness(record: Record) -> list[str]:
    """The class that is surely weak: the lowest upper end of an interval, so that few pictures do not decide."""
    split = record.split()
    if split is None:
        return []
    rows = {name: row for name, row in section(split[1], "per_class").items() if isinstance(row, dict)}
    known = [
        (interval(value, int(count))[1], name, value, int(count))
        for name, row in rows.items()
        if (value := number(row, "top1")) is not None and (count := number(row, "count"))
    ]
    if len(known) < 2 or record.multi_label:
        return []
    _, name, value, count = min(known)
    if value == 1:
        return ["Every class is named rightly in every picture."]
    share = f"{percent(value, 1)} of {counted(count, 'picture')} right"
    weakest = f"Its weakest class is {_said(name, record)}, with {share}"
    if count < FEW_PICTURES:
        weakest = "No class has pictures enough to be called its weakest"
    return [f"{weakest}{_most_often(split[1], record)}."]


def _most_often(found: Line, record: Record) -> str:
    pairs = found.get("confused") or []
    if not pairs or not isinstance(pairs[0], dict):
        return ""
    label, guess = (_said(pairs[0].get(key), record) for key in ("label", "guess"))
    return f"; most often it takes {label} for {guess} ({counted(int(number(pairs[0], 'count') or 0), 'picture')})"


def _said(name: object, record: Record) -> str:
    words = record.descriptions.get(str(name))
    return f"{plain(str(words).split(',')[0], 60)} ({name})" if words else plain(name, 60)


def _curves(record: Record) -> str:
    split = record.split()
    found = section(section(split[1], "selective"), "accuracy_at") if split else {}
    points = sorted(
        (100 * float(share), value)
        for share in found
        if share.replace(".", "", 1).isdecimal() and (value := number(found, share)) is not None
    )
    if not points:
        return ""
    chart = curve(
        "Right among the surest", [Series("", points)], "% of the pictures answered", "share that is right",
        percent=True,
    )  # fmt: skip
    classes = _by_class(record)
    return f'<div class="curves">\n<figure>{chart}</figure>\n{classes}</div>\n'


def _by_class(record: Record) -> str:
    """How the classes spread, from the worst to the best."""
    split = record.split()
    rows = section(split[1], "per_class") if split else {}
    values = sorted(v for row in rows.values() if isinstance(row, dict) and (v := number(row, "top1")) is not None)
    if len(values) <= matrix.MOST_CLASSES:
        return ""
    points = [(float(k), value) for k, value in enumerate(values, start=1)]
    title = f"{NAMES['top1'].capitalize()} of each class"
    return (
        f"<figure>{curve(title, [Series('', points)], 'classes, worst first', 'share that is right', percent=True)}"
        "</figure>\n"
    )
