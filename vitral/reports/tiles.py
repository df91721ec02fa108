"""The numbers that stand at the top of a page, large."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from vitral.metrics import NAMES, written
from vitral.reports.record import Record, section
from vitral.reports.verdict import best_decay, best_step, spread
from vitral.reports.wording import counted, for_html, number, percent

Tile = tuple[str, str, str]
"""Title, value and a note."""


def tiles(record: Record, first: Sequence[Tile] = ()) -> str:
    """One tile for each number that is known, after the `first`."""
    found = [*first, *_measured(record), *_course(record)]
    cells = "".join(
        f'<div><dt>{for_html(name)}</dt><dd class="value">{value}</dd><dd class="note">{for_html(note)}</dd></div>'
        for name, value, note in found
    )
    return f'<dl class="tiles">{cells}</dl>\n' if cells else ""


def _measured(record: Record) -> list[Tile]:
    split = record.split()
    if split is None:
        return []
    name, found = split
    keys = [record.chief, "top1" if record.multi_label else "top5", "real_top1"]
    if not record.multi_label and (number(record.environment, "classes") or 6) <= 5:
        keys.remove("top5")  # all of five classes or fewer are among five guesses
    made: list[Tile] = []
    for key in keys:
        value = number(found, key)
        if value is not None:
            count = int(number(found, "real_count" if key == "real_top1" else "count") or 0)
            title = f"{name} {NAMES[key]}".strip()
            made.append((title[0].upper() + title[1:], written(key, value), _ends(found, key, count)))
    error = number(section(found, "calibration"), "ece")
    if error is not None:
        made.append(("Calibration error", percent(error), "between confidence claimed and share right"))
    return made


def _ends(found: dict[str, object], key: str, count: int) -> str:
    ends = spread(found, key)
    of = f"of {counted(count, 'picture')}"
    if ends is None:
        return of
    low, high = (f"{100 * end:.1f}" for end in ends) if "top" in key else (f"{end:.3f}" for end in ends)
    return f"{low} to {high}, {of}"


def _course(record: Record) -> list[Tile]:
    made: list[Tile] = []
    best = best_step(record)
    if best is not None:
        total = record.total_steps
        if record.solved:
            decay = best_decay(record)
            value = f"{decay:.2g}" if decay is not None else "–"
            return [("Weight decay", value, f"best of {total:,}" if total else "")]
        made.append(("Best step", f"{best:,}", f"of {total:,} planned" if total else ""))
    speeds = [value for _, value in record.series(record.speeds, "images_per_second") if value == value]
    if speeds:
        device = record.environment.get("device")
        made.append(("Pictures per second", f"{median(speeds):,.0f}", f"median, on {device}" if device else "median"))
    return made
