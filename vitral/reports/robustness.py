"""What is left of a model's accuracy on corrupted pictures: by corruption and level, as a table."""

from __future__ import annotations

from vitral.reports.record import Record, section
from vitral.reports.wording import for_html, number, percent


def corruptions(record: Record) -> str:
    """A row for each corruption, the most harmful first; "" where nothing of that kind was measured."""
    split = record.split()
    found = section(split[1], "corruptions") if split else {}
    levels, means = section(found, "levels"), section(found, "mean")
    rows = [
        (number(means, name) or 0.0, name, [value for value in row if isinstance(value, int | float)])
        for name, row in levels.items()
        if isinstance(row, list)
    ]
    if not rows:
        return ""
    body = "".join(
        f'<tr><th scope="row">{for_html(name.replace("_", " "))}</th>'
        + "".join(f'<td class="number">{percent(value, 1)}</td>' for value in row)
        + f'<td class="number"><strong>{percent(mean, 1)}</strong></td></tr>\n'
        for mean, name, row in sorted(rows)
    )
    heads = "".join(f'<th scope="col" class="number">{k}</th>' for k in range(1, 1 + max(len(row) for *_, row in rows)))
    clean, mean = number(found, "clean"), number(found, "top1") or 0.0
    said = f"Top-1 is {percent(mean)} on average over these" + (
        f", {percent(clean)} on the pictures as they are." if clean is not None else "."
    )
    mce = number(found, "mce")
    said += f" Mean corruption error, relative to AlexNet's published ones: {100 * mce:.1f}%." if mce else ""
    return (
        f'<p class="soft">{said} Frost and the direction of motion are drawn by vitral itself, so numbers are near '
        "those of the published files of ImageNet-C, not equal.</p>\n"
        '<div class="scroll" role="region" tabindex="0" aria-label="Corruptions"><table>'
        "<caption>Top-1 by corruption and level of harm, the most harmful corruption first.</caption>"
        f'<thead><tr><th scope="col">Corruption</th>{heads}<th scope="col" class="number">Mean</th></tr></thead>'
        f"<tbody>{body}</tbody></table></div>\n"
    )
