"""The page of a data check: every kind of problem with its pictures beside each other, then counts and measures."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vitral.reports.data_kinds import KINDS, Kind, Side
from vitral.reports.frame import frame
from vitral.reports.tables import missing
from vitral.reports.wording import counted, for_html, percent
from vitral.version import VERSION

SHOWN = 50
"""Problems of each kind that are shown with their pictures."""

MOST_CLASSES = 40

Preview = Callable[[str], bytes | None]
"""From a picture's name to a small JPEG of it, if it can be read."""

_STYLE = """
.pairs { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 330px), 1fr)); gap: 12px;
  padding: 10px 0; list-style: none; }
.pairs > li { border: 1px solid var(--edge); border-radius: 8px; padding: 10px; max-width: none; break-inside: avoid;
  min-width: 0; }
.sides { display: grid; grid-template-columns: repeat(auto-fit, minmax(120px, 1fr)); gap: 10px; }
.sides figure { min-width: 0; }
.sides img, .sides .none { display: flex; width: 112px; height: 112px; object-fit: contain; align-items: center;
  justify-content: center; background: var(--panel); border-radius: 4px; color: var(--soft); font-size: .82rem; }
.sides figcaption { font-size: .82rem; line-height: 1.4; padding-top: 5px; overflow-wrap: anywhere; }
.sides strong { display: block; }
.what { font-size: .9rem; padding-bottom: 8px; color: var(--soft); }
"""


def render(document: Mapping[str, Any], name: str, preview: Preview, root: str = "") -> str:
    """The page as text.

    Args:
        document: what `vitral data check --json` prints.
        name: of the data.
        preview: asked for the pictures of the first 50 problems of each kind.
        root: folder, with its separator, that names are shown without.
    """
    found = [(kind, document.get(kind.field) or ()) for kind in KINDS]
    sections = [
        ("Summary", _summary(document)),
        *((kind.title, _gallery(kind, rows, preview, root)) for kind, rows in found if rows),
        ("Classes", _classes(document["counts"])),
        ("Pictures", _pictures(document)),
        ("Shortcuts", _shortcuts(document["shortcuts"])),
    ]
    if document.get("clean"):
        sections.append(("Clean split", _clean(document["clean"])))
    counts = {split: sum(classes.values()) for split, classes in document["counts"].items()}
    about = " / ".join(f"{count:,} {for_html(split)}" for split, count in counts.items())
    number = counted(len(next(iter(document["counts"].values()), {})), "class", "classes")
    top = (
        f'<p class="about">{about} pictures · {number}</p>\n<p class="verdict">{_verdict(document)}</p>\n'
        f"{_tiles(document)}"
    )
    return frame("data report", name, top, sections, f"{VERSION} from one look at each picture", _STYLE, images=True)


def _verdict(document: Mapping[str, Any]) -> str:
    problems = len(document["problems"])
    if not problems:
        return "No problem found."
    crossing = len(document["leaks"]) + len(document["near_leaks"])
    kinds = f"{counted(problems, 'kind')} of problem found."
    if not crossing:
        return f"{kinds} No picture of one split was found in another."
    return (
        f"{kinds} The worst: {counted(crossing, 'picture')} of one split in another, so measured accuracy is too good."
    )


def _tiles(document: Mapping[str, Any]) -> str:
    total = sum(sum(classes.values()) for classes in document["counts"].values())
    numbers = [
        ("Pictures", total, "looked at"),
        ("Unreadable", len(document["unreadable"]), ""),
        ("In two splits", len(document["leaks"]), f"and {len(document['near_leaks']):,} nearly"),
        ("Copies", len(document["duplicates"]), f"and {len(document['near_duplicates']):,} nearly"),
        ("Label conflicts", len(document["conflicts"]) + len(document["near_conflicts"]), "among copies"),
    ]
    if document["suspects"] is not None:
        numbers.append(("Suspected labels", len(document["suspects"]), "by the model"))
    cells = "".join(
        f'<div><dt>{title}</dt><dd class="value">{value:,}</dd><dd class="note">{note}</dd></div>'
        for title, value, note in numbers
    )
    return f'<dl class="tiles">{cells}</dl>\n'


def _summary(document: Mapping[str, Any]) -> str:
    """The sentences without their examples, which have galleries of their own."""
    warnings = "".join(
        f'<p class="warning">{for_html(line.split(": ")[0], 300)}</p>\n' for line in document["problems"]
    )
    remarks = "".join(f"<li>{for_html(line.split(': ')[0], 300)}</li>\n" for line in document["remarks"])
    said = warnings or missing("No problem found.")
    return said + (f"<h3>Good to know</h3>\n<ul>\n{remarks}</ul>\n" if remarks else "")


def _gallery(kind: Kind, rows: Sequence[Sequence[Any]], preview: Preview, root: str) -> str:
    items = "".join(_item(*kind.show(row), preview, root) for row in rows[:SHOWN])
    count = f"{len(rows):,} found"
    more = f"; the first {SHOWN} are shown, <code>--json</code> lists them all" if len(rows) > SHOWN else ""
    return f'<p class="soft">{kind.meaning} {count}{more}.</p>\n<ul class="pairs">\n{items}</ul>\n'


def _item(sides: list[Side], what: str, preview: Preview, root: str) -> str:
    head = f'<p class="what">{for_html(what, 300)}</p>' if what else ""
    return f'<li>{head}<div class="sides">{"".join(_figure(side, preview, root) for side in sides)}</div></li>\n'


def _figure(side: Side, preview: Preview, root: str) -> str:
    data = preview(side.picture)
    shown = '<span class="none">no picture</span>'
    if data is not None:
        shown = f'<img alt="" loading="lazy" src="data:image/jpeg;base64,{base64.b64encode(data).decode()}">'
    label = f"<strong><bdi>{for_html(side.label)}</bdi></strong>" if side.label else ""
    name = for_html(side.picture.removeprefix(root), 300)
    return f"<figure>{shown}<figcaption>{label}<bdi>{name}</bdi></figcaption></figure>"


def _classes(counts: Mapping[str, Mapping[str, int]]) -> str:
    names = list(dict.fromkeys(name for classes in counts.values() for name in classes))
    first = next(iter(counts), "")
    ranked = sorted(names, key=lambda name: (-counts[first].get(name, 0), name)) if first else []
    heads = "".join(f'<th scope="col" class="number">{for_html(split)}</th>' for split in counts)
    rows = [
        f'<tr><th scope="row"><bdi>{for_html(name)}</bdi></th>'
        + "".join(f'<td class="number">{classes.get(name, 0):,}</td>' for classes in counts.values())
        + "</tr>\n"
        for name in ranked
    ]
    half = MOST_CLASSES // 2
    if len(rows) > MOST_CLASSES:
        gap = f'<tr><td colspan="{len(counts) + 1}" class="gap">{len(rows) - 2 * half:,} classes in between</td></tr>\n'
        rows = [*rows[:half], gap, *rows[-half:]]
    return (
        '<div class="scroll" role="region" tabindex="0" aria-label="Pictures of each class"><table>'
        f"<caption>Pictures of each class, the largest of {for_html(first)} first.</caption>"
        f'<thead><tr><th scope="col">Class</th>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>\n'
    )


def _pictures(document: Mapping[str, Any]) -> str:
    facts = []
    for side in ("width", "height"):
        if document[side] is not None:
            low, middle, high = document[side]
            facts.append((side.capitalize(), f"{low:,} to {high:,} pixels, median {middle:,}"))
    for field, title in (("formats", "Format"), ("modes", "Colour mode")):
        shown = ", ".join(f"{count:,} {kind}" for kind, count in document[field].items())
        facts.append((title, shown or "not known"))
    facts.append(("Turned by EXIF", f"{document['rotated']:,}"))
    rows = "".join(f'<tr><th scope="row">{title}</th><td>{for_html(said, 300)}</td></tr>\n' for title, said in facts)
    return f"<table><tbody>{rows}</tbody></table>\n"


def _shortcuts(found: Sequence[Mapping[str, Any]]) -> str:
    if not found:
        return missing("Not measured: that takes 50 pictures with one label each, of two classes or more.")
    rows = "".join(
        f'<tr><th scope="row">{for_html(what)}</th><td class="number">{percent(accuracy, 1)}</td>'
        f'<td class="number">{percent(chance, 1)}</td><td class="number">{percent(limit, 1)}</td>'
        f"<td>{'<strong>suspicious</strong>' if suspicious else 'natural'}</td></tr>\n"
        for one in found
        for what, accuracy, chance, limit, suspicious in _tests(one)
    )
    return (
        '<div class="scroll" role="region" tabindex="0" aria-label="Shortcuts"><table>'
        "<caption>How often each measure alone tells the class of a picture not seen before, the classes weighing "
        "alike. Above its limit, a model may learn the measure instead of what is shown.</caption>"
        '<thead><tr><th scope="col">Measure</th><th scope="col" class="number">Right</th>'
        '<th scope="col" class="number">Chance</th><th scope="col" class="number">Limit</th>'
        f'<th scope="col">Verdict</th></tr></thead><tbody>{rows}</tbody></table></div>\n'
    )


def _tests(one: Mapping[str, Any]) -> list[tuple[str, float, float, float, bool]]:
    """What was tried with a measure: to tell all classes apart, and, where that is suspicious, one from the others."""
    whole = one["accuracy"] > max(one["bound"], one["limit"])
    rows = [(one["measure"], one["accuracy"], one["chance"], one["limit"], whole)]
    if one["one_class"] is not None:
        what = f"{one['measure']}, {one['one_class']} from the others"
        rows.append((what, one["one_class_accuracy"], 0.5, one["one_class_limit"], True))
    return rows


def _clean(clean: Mapping[str, Any]) -> str:
    lines = "".join(
        f'<tr><th scope="row"><bdi>{for_html(one["picture"], 300)}</bdi></th>'
        f"<td>{for_html(one['reason'], 300)}</td></tr>\n"
        for one in clean["dropped"][:SHOWN]
    )
    more = f" The first {SHOWN} are listed." if len(clean["dropped"]) > SHOWN else ""
    table = (
        '<div class="scroll" role="region" tabindex="0" aria-label="Left out"><table><thead><tr>'
        f'<th scope="col">Left out</th><th scope="col">Because</th></tr></thead><tbody>{lines}</tbody></table></div>\n'
    )
    return (
        f"<p>{counted(clean['kept'], 'picture')} kept and {len(clean['dropped']):,} left out in "
        f"<code>{for_html(clean['table'], 300)}</code>, which <code>vitral finetune</code> takes.{more}</p>\n"
        + (table if lines else "")
    )
