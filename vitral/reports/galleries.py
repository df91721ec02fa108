"""Pictures on a page: the worst errors, the least sure answers, and those of each confusion."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from vitral.reports.record import Line, Record
from vitral.reports.tables import missing
from vitral.reports.wording import class_name, counted, for_html, number, percent, short_name

STYLE = """
.pictures, .pairs { display: grid; gap: 12px; padding: 10px 0; list-style: none; }
.pictures { grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); }
.pairs { grid-template-columns: repeat(auto-fill, minmax(min(100%, 330px), 1fr)); }
.pictures > li, .pairs > li { max-width: none; min-width: 0; break-inside: avoid; }
.pairs > li { border: 1px solid var(--edge); border-radius: 8px; padding: 10px 12px; }
.pairs h4 { margin: 0; font-size: .95rem; font-weight: 650; overflow-wrap: anywhere; }
.pairs h4 small, figcaption small { display: block; font-weight: 400; color: var(--soft); font-size: .82rem; }
.pairs .soft { padding: 2px 0 6px; }
.pairs .pictures { grid-template-columns: repeat(auto-fill, minmax(112px, 1fr)); padding: 4px 0 0; }
.pictures img, .pictures .none { display: flex; width: 100%; aspect-ratio: 1; object-fit: contain; border-radius: 6px;
  background: var(--panel); align-items: center; justify-content: center; color: var(--soft); font-size: .82rem; }
.pictures figcaption { font-size: .85rem; line-height: 1.4; padding-top: 5px; overflow-wrap: anywhere; }
.pictures strong { display: block; font-weight: 650; }
.pictures .file { color: var(--soft); font-size: .78rem; display: block; }
.pictures .right { color: var(--good); } .pictures .wrong { color: var(--bad); }
"""

BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
"""What an encoded picture looks like; nothing else is put into a page."""


def pictures(record: Record) -> str:
    """All galleries that there are."""
    found = record.examples
    split = for_html(found.get("split", ""))
    parts = [
        _gallery(
            "Worst errors",
            f"Wrong answers on the {split} split, those first that give the truth the least probability. Look for "
            "wrong labels, several things in one picture, and kinds of picture that training lacked.",
            _entries(found.get("worst")),
            record,
        ),
        _pairs(record),
        _gallery(
            "Least sure",
            f"Pictures of the {split} split whose two likeliest classes are closest, right or wrong: the first to "
            "label or to collect more of.",
            _entries(found.get("unsure")),
            record,
        ),
    ]
    if any(parts):
        return "".join(parts)
    if found:
        return missing("There is nothing to show: every picture is named rightly, or none could be read.")
    return missing(f"No pictures are shown: examples.json {record.gaps.get('examples.json', 'says nothing')}.")


def _entries(found: Any) -> list[Line]:
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def _gallery(title: str, meaning: str, entries: list[Line], record: Record) -> str:
    if not entries:
        return ""
    items = "".join(_item(entry, record.descriptions) for entry in entries)
    return f'<h3>{title}</h3>\n<p class="soft">{meaning}</p>\n<ul class="pictures">\n{items}</ul>\n'


def _pairs(record: Record) -> str:
    pairs = _entries(record.examples.get("confused"))
    if not pairs:
        return ""
    items = "".join(_pair(pair, record.descriptions) for pair in pairs)
    return (
        '<h3>Most often confused</h3>\n<p class="soft">The most frequent confusions, each with the pictures that '
        f'show it best.</p>\n<ul class="pairs">\n{items}</ul>\n'
    )


def _pair(pair: Line, descriptions: Mapping[str, Any]) -> str:
    count, share = int(number(pair, "count") or 0), number(pair, "share") or 0.0
    items = "".join(_item(entry, {}, brief=True) for entry in _entries(pair.get("pictures")))
    label, guess = (class_name(pair.get(key, ""), descriptions) for key in ("label", "guess"))
    return (
        f'<li><h4>{label}</h4><p class="soft">{counted(count, "picture")}, {percent(share, 1)} of its own, taken for'
        f'</p><h4>{guess}</h4><ul class="pictures">{items}</ul></li>\n'
    )


def _item(entry: Line, descriptions: Mapping[str, Any], brief: bool = False) -> str:
    image = entry.get("image")
    shown = '<span class="none">no picture</span>'
    if isinstance(image, str) and BASE64.fullmatch(image):
        shown = f'<img alt="" loading="lazy" src="data:image/jpeg;base64,{image}">'
    labels, guesses = _words(entry.get("labels")), _guesses(entry.get("guesses"))
    first = "".join(
        f'<span class="{"right" if name in labels else "wrong"}">{short_name(name, descriptions)} '
        f"{percent(share, 1)}</span>"
        for name, share in guesses[:1]
    )
    truth = ", ".join(short_name(label, descriptions) for label in labels) or "a class that the model lacks"
    said = f"{percent(guesses[0][1], 1)} sure" if brief and guesses else f"<strong>{truth}</strong>answer: {first}"
    file = f'<span class="file"><bdi>{for_html(entry.get("picture", ""), 80)}</bdi></span>'
    return f"<li><figure>{shown}<figcaption>{said}{file}</figcaption></figure></li>\n"


def _words(found: Any) -> list[str]:
    return [word for word in found if isinstance(word, str)] if isinstance(found, list) else []


def _guesses(found: Any) -> list[tuple[str, float]]:
    rows = found if isinstance(found, list) else []
    return [
        (row[0], float(row[1]))
        for row in rows
        if isinstance(row, list) and len(row) == 2 and isinstance(row[0], str) and isinstance(row[1], int | float)
    ]
