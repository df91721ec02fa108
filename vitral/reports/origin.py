"""Where the numbers of a page come from: what was wrong with the data, what was decided, how to do it again."""

from __future__ import annotations

import shlex
from typing import Any

from vitral.reports import tables
from vitral.reports.record import Line, Record, section
from vitral.reports.verdict import lacks_classes
from vitral.reports.wording import counted, for_html, for_pre, number

MOST_DECISIONS = 40

MOST_UNREADABLE = 50
"""Pictures that could not be read and are named, with the reason."""

FEW_PICTURES = 10
"""A class with fewer pictures than this has a number that chance alone can move by tens of points."""


def problems(record: Record) -> str:
    """What is wrong with the pictures, as far as it was seen in passing."""
    said = _sentences(record.environment, "warnings")
    split = record.split()
    if split is not None:
        said += _about_classes(record, section(split[1], "per_class"), split[0])
    body = "".join(f'<p class="warning">{line}</p>\n' for line in said) + _unreadable(record)
    if not body and not record.environment:
        return tables.missing(f"What was wrong with the data is not known: {_no_environment(record)}.")
    check = (
        '<p class="soft"><code>vitral data check PICTURES --report FILE.html</code> looks for copies, leaks between '
        "splits, wrong labels and shortcuts, and shows the pictures.</p>\n"
    )
    return (body or tables.missing("No problem was met.")) + check


def _about_classes(record: Record, per_class: Line, split: str) -> list[str]:
    absent = lacks_classes(record)
    counts = [number(row, "count") or 0 for row in per_class.values() if isinstance(row, dict)]
    few = sum(count < FEW_PICTURES for count in counts)
    said = []
    if absent:
        are = counted(absent, "class of the model has", "classes of the model have")
        said.append(f"{are} no picture in the {for_html(split)} split: nothing is known of them.")
    if few:
        have = counted(few, "class has", "classes have")
        said.append(f"{have} fewer than {FEW_PICTURES} pictures there: their own numbers are little more than chance.")
    return said


def _unreadable(record: Record) -> str:
    rows = "".join(
        f'<tr><th scope="row"><bdi>{for_html(line.get("path", ""), 300)}</bdi></th>'
        f"<td>{for_html(line.get('reason', ''), 200)}</td></tr>\n"
        for line in record.unreadable[:MOST_UNREADABLE]
    )
    if not rows:
        return ""
    count = len(record.unreadable)
    more = f"; the first {MOST_UNREADABLE} are named" if count > MOST_UNREADABLE else ""
    return (
        '<div class="scroll" role="region" tabindex="0" aria-label="Pictures that cannot be read"><table>'
        f"<caption>{counted(count, 'picture')} could not be read{more}. In an evaluation they count as wrong.</caption>"
        f'<thead><tr><th scope="col">Picture</th><th scope="col">Reason</th></tr></thead><tbody>{rows}</tbody>'
        "</table></div>\n"
    )


def decisions(record: Record) -> str:
    """What vitral chose, each with its reason."""
    if not record.environment:
        return tables.missing(f"What was decided is not known: {_no_environment(record)}.")
    lines = "".join(f"<li>{line}</li>\n" for line in _sentences(record.environment, "decisions"))
    return f"<ul>\n{lines}</ul>\n" if lines else tables.missing("Nothing was decided: all was given.")


def _sentences(environment: Line, name: str) -> list[str]:
    found: Any = environment.get(name)
    sentences = found if isinstance(found, list) else []
    more = [f"and {len(sentences) - MOST_DECISIONS:,} more"] if len(sentences) > MOST_DECISIONS else []
    return [for_html(sentence, 400) for sentence in [*sentences[:MOST_DECISIONS], *more]]


def reproduce(record: Record, again: str) -> str:
    """The command, versions and fingerprints.

    Args:
        again: what happens if the same command is given again.
    """
    if not record.environment:
        return tables.missing(f"The command is not known: {_no_environment(record)}.")
    command = record.environment.get("command")
    if isinstance(command, list) and command:
        shown = for_pre(shlex.join(map(str, command)))
        how = f"<p>{for_html(again, 300)}</p>\n<pre><code>{shown}</code></pre>\n"
    else:
        how = tables.missing("No command is known: the run was started from Python. Its settings are below.")
    names = ("vitral", "torch", "python", "device", "cores")
    facts = " · ".join(f"{name} {for_html(record.environment[name])}" for name in names if name in record.environment)
    seed = number(section(record.config, "training"), "seed")
    seeded = f" · seed {seed:.0f}" if seed is not None else ""
    prints = "".join(
        f'<p class="soft">{name} <code>{for_html(record.environment[key])}</code></p>\n'
        for key, name in (
            ("weights", "Checksum of the weights"),
            ("pictures", "Fingerprint of names, sizes and labels"),
        )
        if record.environment.get(key)
    )
    return f'{how}<p class="soft">{facts}{seeded}</p>\n{prints}'


def _no_environment(record: Record) -> str:
    return f"environment.json {record.gaps.get('environment.json', 'says nothing')}"
