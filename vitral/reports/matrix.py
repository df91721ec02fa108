"""The confusion matrix of a few classes; of many, the most frequent pairs say more."""

from __future__ import annotations

from vitral.reports.record import Line, Record, section
from vitral.reports.wording import for_html, number, short_name

MOST_CLASSES = 10
"""Up to here every pair of classes that was confused is among the recorded ones (100 at most)."""

SHOWN = 40
"""Characters of a class name; the table of classes has more."""

STYLE = """
.matrix td { text-align: right; padding: 6px 12px; border: 1px solid var(--edge); font-variant-numeric: tabular-nums;
  background: color-mix(in srgb, var(--bar) calc(var(--share) * 100%), transparent); }
.matrix td.right { font-weight: 650; } .matrix td.zero { color: var(--soft); }
.matrix thead th { text-align: right; padding: 6px 12px; max-width: 14ch; overflow-wrap: break-word; }
.matrix thead td { border: 0; }
.matrix tbody th { min-width: 0; max-width: 24ch; overflow-wrap: break-word; }
"""


def matrix(record: Record) -> str:
    """A table, one row per true class and one column per answer; "" where there are too many classes."""
    split = record.split()
    per_class = section(split[1], "per_class") if split else {}
    rows = {name: row for name, row in per_class.items() if isinstance(row, dict) and number(row, "count")}
    found = split[1].get("confused") if split else None
    if split is None or record.multi_label or not isinstance(found, list) or not 2 <= len(rows) <= MOST_CLASSES:
        return ""
    pairs = {(str(p.get("label")), str(p.get("guess"))): int(number(p, "count") or 0) for p in found if _is_pair(p)}
    names = list(dict.fromkeys([*rows, *(guess for _, guess in pairs)]))
    if len(names) > MOST_CLASSES:
        return ""
    heads = "".join(f'<th scope="col">{short_name(name, record.descriptions, SHOWN)}</th>' for name in names)
    body = "".join(
        f'<tr><th scope="row">{short_name(label, record.descriptions, SHOWN)}</th>'
        + "".join(_cell(_count(label, guess, rows[label], pairs), rows[label], label == guess) for guess in names)
        + "</tr>\n"
        for label in rows
    )
    return (
        '<h3>Confusion matrix</h3>\n<div class="scroll" role="region" tabindex="0" aria-label="Confusion matrix">'
        f'<table class="matrix"><caption>Pictures of the {for_html(split[0])} split: true class by row, answer by '
        f'column; the darker, the larger the share of its row.</caption><thead><tr><td class="zero"></td>{heads}</tr>'
        f"</thead><tbody>{body}</tbody></table></div>\n"
    )


def _is_pair(pair: object) -> bool:
    return isinstance(pair, dict)


def _count(label: str, guess: str, row: Line, pairs: dict[tuple[str, str], int]) -> int:
    if label != guess:
        return pairs.get((label, guess), 0)
    return round((number(row, "count") or 0) * (number(row, "top1") or 0))


def _cell(count: int, row: Line, is_right: bool) -> str:
    share = count / (number(row, "count") or 1)
    kind = "right" if is_right else "" if count else "zero"
    return f'<td class="{kind}" style="--share:{min(1.0, share):.3f}">{count:,}</td>'
