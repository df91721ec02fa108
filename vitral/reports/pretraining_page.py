"""What the page of a run says that learned without labels, where others tell of classes."""

from __future__ import annotations

from typing import Any

from vitral.reports import galleries, tables
from vitral.reports.curves import Series, curve
from vitral.reports.record import Line, Record, section
from vitral.reports.tiles import Tile
from vitral.reports.verdict import best_step
from vitral.reports.wording import for_html, number, percent

STYLE = """
.strips { display: grid; gap: 14px; padding: 10px 0; list-style: none;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 340px), 1fr)); }
.strips > li { max-width: none; min-width: 0; break-inside: avoid; }
.strips img { width: 100%; height: auto; image-rendering: pixelated; }
.strips figcaption { color: var(--soft); font-size: .78rem; overflow-wrap: anywhere; }
"""

TOLD = {
    "mae": (
        "squared error per pixel",
        "hidden patches in grey; and the hidden patches as the network makes them from the others",
    ),
    "masked-patch": (
        "nats per patch",
        "as it was corrupted: [mask] in grey, some patches exchanged; and every corrupted patch in the colour that the "
        "network names",
    ),
}
"""By objective: the unit of the loss, and what the second and third picture of a strip are."""

NORMALISED = (
    " The network makes patches without their own brightness and contrast (each is normalised); here they have "
    "those of the true patch."
)


def applies(record: Record) -> bool:
    """Whether the run learned without labels."""
    return _objective(record) in TOLD


def verdict(record: Record) -> list[str]:
    """How far it came, and what that is good for."""
    found = section(record.measured, "validation")
    loss, ends = number(found, "loss"), section(section(found, "intervals"), "loss")
    low, high = number(ends, "low"), number(ends, "high")
    said = []
    if loss is not None:
        spread = f" (95% interval {low:.4f} to {high:.4f})" if low is not None and high is not None else ""
        right = number(found, "patch_accuracy")
        named = f", and it names the colour of {percent(right)} of the corrupted patches" if right is not None else ""
        said.append(f"On {number(found, 'count') or 0:,.0f} validation pictures the loss is {loss:.4f}{spread}{named}.")
    best = best_step(record)
    if best is not None:
        of_total = f" of {record.total_steps:,}" if record.total_steps else ""
        said.append(f"The weights are those of step {best:,}{of_total}.")
    said.append(
        "The loss tells of hidden patches, not of classes: what the weights are good for is seen when they are probed "
        "or fine-tuned."
    )
    return said


def tiles(record: Record) -> list[Tile]:
    """The numbers that stand first."""
    found = section(record.measured, "validation")
    made: list[Tile] = []
    for name, title in (("loss", "Validation loss"), ("patch_accuracy", "Colours named rightly")):
        value, ends = number(found, name), section(section(found, "intervals"), name)
        low, high = number(ends, "low"), number(ends, "high")
        if value is not None:
            spread = "" if low is None or high is None else f"{_written(name, low)} to {_written(name, high)}"
            made.append((title, _written(name, value), spread))
    return made


def _written(name: str, value: float) -> str:
    return f"{value:.4f}" if name == "loss" else percent(value)


def notes(record: Record) -> list[str]:
    """What a loss can be compared with."""
    if _objective(record) == "masked-patch":
        return ["Where every colour is as likely as any other, the loss is ln 512 = 6.238: that is where it begins."]
    if section(record.config, "pretraining").get("normalise_pixels"):
        return [
            "The pixels of each patch are normalised, so a loss of just below 1 is that of one flat grey everywhere: a "
            "network that beats it makes something of what it sees."
        ]
    return []


def charts(record: Record) -> list[str]:
    """Loss, what is told rightly, learning rate and speed."""
    best = best_step(record)
    mark = (float(best), "best") if best is not None else None

    def pair(name: str) -> list[Series]:
        return [
            Series("training", record.series(record.training, name)),
            Series("validation", record.series(record.evaluations, f"validation_{name}"), style=1),
        ]

    made = [curve("Loss", pair("loss"), "step", TOLD[_objective(record)][0], mark=mark)]
    if _objective(record) == "masked-patch":
        made.append(
            curve("Colours named rightly", pair("patch_accuracy"), "step", "share of corrupted patches", percent=True,
                  mark=mark)
        )  # fmt: skip
    rate = Series("", record.series(record.training, "learning_rate"))
    speeds = Series("", record.series(record.speeds, "images_per_second"))
    return [
        *made,
        curve("Learning rate", [rate], "step", "of the update"),
        curve("Speed", [speeds], "step", "pictures per second"),
    ]


def pictures(record: Record) -> str:
    """The strips that there are."""
    found = record.examples.get("reconstructions")
    entries = [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []
    items = "".join(_item(entry) for entry in entries)
    if not items:
        why = record.gaps.get("examples.json", "holds none")
        return tables.missing(f"No pictures are shown: examples.json {why}.")
    config = section(record.config, "pretraining")
    seen, split = TOLD[_objective(record)][1], for_html(record.examples.get("split", ""))
    note = NORMALISED if _objective(record) == "mae" and config.get("normalise_pixels") else ""
    return (
        f'<p class="soft">Some pictures of the {split} split, evenly spread. Each as it is; {seen}.{note}</p>\n'
        f'<ul class="strips">\n{items}</ul>\n'
    )


def _item(entry: Line) -> str:
    image: Any = entry.get("image")
    if not isinstance(image, str) or not galleries.BASE64.fullmatch(image):
        return ""
    name = for_html(entry.get("picture", ""), 80)
    alt = "the picture, what was shown of it, and what was made of that"
    return (
        f'<li><figure><img alt="{alt}" loading="lazy" src="data:image/jpeg;base64,{image}">'
        f"<figcaption><bdi>{name}</bdi></figcaption></figure></li>\n"
    )


def _objective(record: Record) -> str:
    return str(section(record.config, "pretraining").get("objective", "none"))
