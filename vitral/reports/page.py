"""`report.html`: one page of a run that needs no network, no script and no other file."""

from __future__ import annotations

import shlex
from pathlib import Path
from statistics import fmean, median
from typing import Any

from vitral.reports import swept, tables
from vitral.reports.curves import Series, curve
from vitral.reports.frame import frame, save
from vitral.reports.record import Line, Record, read, section
from vitral.reports.verdict import NAMES, RULES, best_step, verdict, written
from vitral.reports.wording import counted, for_html, for_pre, number, percent

MOST_DECISIONS = 40
SLOW_READING = 0.2
"""Share of the time spent waiting for data from which reading is what holds the run up."""

_SECTIONS = ("Numbers", "Curves", "Classes", "Calibration", "Decisions", "Reproduce", "Settings")


def write(run: Path) -> Path:
    """Write `run`/report.html from the other files of the run folder, and return its path.

    A file that is missing, empty or damaged leaves a sentence that says so in its place.

    Raises:
        MissingInputError: there is no such folder.
        StorageError: the page could not be written; an older one is untouched.
    """
    target = run / "report.html"
    save(render(read(run)), target)
    return target


def render(record: Record) -> str:
    """The page as text."""
    bodies = (
        tables.measured(record) + swept.table(record.measured),
        _curves(record),
        tables.classes(record),
        tables.calibration(record),
        _decisions(record),
        _reproduce(record),
        tables.settings(record),
    )
    top = (
        f'<p class="about">{_about(record)}</p>\n'
        f'<p class="verdict">{for_html(" ".join(verdict(record)), 1000)}</p>\n{_tiles(record)}'
    )
    made_from = f"{for_html(record.environment.get('vitral', ''))} from the files of the run folder"
    sections = list(zip(_SECTIONS, bodies, strict=True))
    return frame("training report", record.name, top, sections, made_from)


def _about(record: Record) -> str:
    model, data = section(record.config, "model"), section(record.config, "data")
    start = "fine-tuned from " + str(model["weights"]) if model.get("weights") else "trained from scratch"
    classes = number(record.environment, "classes")
    counts = [
        f"{value:,.0f} {name}"
        for name in ("train", "validation", "test")
        if (value := number(record.environment, f"{name}_count")) is not None
    ]
    facts = [
        record.environment.get("model") or model.get("name"),
        start if record.config else None,
        data.get("path") and f"data {data['path']}",
        counted(int(classes), "class", "classes") if classes else None,
        " / ".join(counts) + " pictures" if counts else None,
        "finished" if record.finished else "not finished" if record.total_steps else None,
    ]
    return " · ".join(for_html(fact, 200) for fact in facts if fact)


def _tiles(record: Record) -> str:
    tiles = []
    split = record.split()
    names = [record.chief, "top1" if record.multi_label else "top5"]
    if not record.multi_label and (number(record.environment, "classes") or 6) <= 5:
        names.pop()  # all of five classes or fewer are among five guesses
    for name in names if split else ():
        value = number(split[1], name) if split else None
        if split and value is not None:
            of = counted(int(number(split[1], "count") or 0), "picture")
            tiles.append((f"{split[0]} {NAMES[name]}".capitalize(), written(name, value), f"of {of}"))
    best = best_step(record)
    if best is not None:
        total = record.total_steps
        tiles.append(("Best step", f"{best:,}", f"of {total:,} planned" if total else ""))
    speeds = [value for _, value in record.series(record.speeds, "images_per_second") if value == value]
    if speeds:
        device = record.environment.get("device")
        tiles.append(("Pictures per second", f"{median(speeds):,.0f}", f"median, on {device}" if device else "median"))
    cells = "".join(
        f'<div><dt>{for_html(name)}</dt><dd class="value">{value}</dd><dd class="note">{for_html(note)}</dd></div>'
        for name, value, note in tiles
    )
    return f'<dl class="tiles">{cells}</dl>\n' if cells else ""


# Curves ---------------------------------------------------------------------------------------------


def _curves(record: Record) -> str:
    reasons = [
        tables.missing(f"{name} {record.gaps[name]}: {lost} cannot be drawn.")
        for name, lost in (("metrics.jsonl", "loss, top-1 and learning rate"), ("speed.jsonl", "speed"))
        if name in record.gaps
    ]
    figures = "".join(f"<figure>{chart}</figure>\n" for chart in _charts(record))
    notes = "".join(f'<p class="soft">{for_html(note, 600)}</p>\n' for note in _notes(record))
    grid = f'<div class="curves">\n{figures}</div>\n' if figures else ""
    return "".join(reasons) + grid + notes


def _charts(record: Record) -> list[str]:
    def trained(name: str) -> Series:
        return Series("training", record.series(record.training, name))

    def validated(name: str) -> Series:
        return Series("validation", record.series(record.evaluations, f"validation_{name}"), style=1)

    best = best_step(record)
    mark = (float(best), "best") if best is not None else None
    charts = []
    if "metrics.jsonl" not in record.gaps:
        losses = [trained("loss"), validated("loss")]
        if _losses_differ(record):
            charts += [
                curve("Training loss", losses[:1], "step", "nats per picture", mark=mark),
                *(
                    [curve("Validation loss", losses[1:], "step", "nats per picture", mark=mark)]
                    if losses[1].points
                    else []
                ),
            ]
        else:
            charts.append(curve("Loss", losses, "step", "nats per picture", mark=mark))
        if record.multi_label:
            precision = [validated("mean_average_precision")]
            charts.append(curve("Mean average precision", precision, "step", "0 to 1", mark=mark))
        shares = [trained("top1"), validated("top1")]
        charts.append(curve("Top-1", shares, "step", "share of pictures", percent=True, mark=mark))
        rate = Series("", record.series(record.training, "learning_rate"))
        if rate.points or not record.training:  # a head that is solved has none
            charts.append(curve("Learning rate", [rate], "step", "of the update"))
    if "speed.jsonl" not in record.gaps:
        speeds = Series("", record.series(record.speeds, "images_per_second"))
        charts.append(curve("Speed", [speeds], "step", "pictures per second"))
    return charts


def _losses_differ(record: Record) -> bool:
    """The sigmoid loss adds up over classes; validation loss is always that of one answer."""
    return section(record.config, "loss").get("name") == "sigmoid"


def _notes(record: Record) -> list[str]:
    augmentation = section(record.config, "augmentation")
    notes = [RULES] if record.evaluations else []
    if record.training:
        notes.append(
            "Training numbers are means over the steps since the last point, on augmented pictures and with dropout; "
            "validation numbers are of plain pictures. Training can therefore look worse than validation."
        )
    if any(number(augmentation, name) for name in ("mixup", "cutmix")):
        notes.append("Mixup or CutMix is on: a training picture counts as right when its larger part is named.")
    if _losses_differ(record) and record.training:
        notes.append("The sigmoid loss is summed over the classes, so training and validation loss are drawn apart.")
    waiting = [value for _, value in record.series(record.speeds, "waiting") if value == value]
    if waiting:
        share = fmean(waiting)
        slow = ": reading pictures is what holds the run up" if share >= SLOW_READING else ""
        notes.append(f"Training waited for data {percent(share, 1)} of the time{slow}.")
    return notes


# The rest -------------------------------------------------------------------------------------------


def _decisions(record: Record) -> str:
    if not record.environment:
        return tables.missing(f"What was decided is not known: {_no_environment(record)}.")
    warnings = "".join(f'<p class="warning">{line}</p>\n' for line in _sentences(record.environment, "warnings"))
    lines = "".join(f"<li>{line}</li>\n" for line in _sentences(record.environment, "decisions"))
    return warnings + (f"<ul>\n{lines}</ul>\n" if lines else tables.missing("Nothing was decided: all was given."))


def _sentences(environment: Line, name: str) -> list[str]:
    found: Any = environment.get(name)
    sentences = found if isinstance(found, list) else []
    more = [f"and {len(sentences) - MOST_DECISIONS:,} more"] if len(sentences) > MOST_DECISIONS else []
    return [for_html(sentence, 400) for sentence in [*sentences[:MOST_DECISIONS], *more]]


def _reproduce(record: Record) -> str:
    if not record.environment:
        return tables.missing(f"The command is not known: {_no_environment(record)}.")
    command = record.environment.get("command")
    if isinstance(command, list) and command:
        how = (
            "<p>The same command in the same place goes on where the run stopped; with another --out it starts "
            f"afresh.</p>\n<pre><code>{for_pre(shlex.join(map(str, command)))}</code></pre>\n"
        )
    else:
        how = tables.missing("No command is known: the run was started from Python. Its settings are below.")
    names = ("vitral", "torch", "python", "device", "cores")
    facts = " · ".join(f"{name} {for_html(record.environment[name])}" for name in names if name in record.environment)
    seed = number(section(record.config, "training"), "seed")
    seeded = f" · seed {seed:.0f}" if seed is not None else ""
    return f'{how}<p class="soft">{facts}{seeded}</p>\n'


def _no_environment(record: Record) -> str:
    return f"environment.json {record.gaps.get('environment.json', 'says nothing')}"
