"""`report.html`: one page of a run that needs no network, no script and no other file."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean

from vitral.reports import galleries, matrix, pretraining_page, swept, tables
from vitral.reports.curves import Series, curve
from vitral.reports.frame import fold, frame, save
from vitral.reports.origin import decisions, problems, reproduce
from vitral.reports.record import Line, Record, read, section
from vitral.reports.tiles import tiles
from vitral.reports.verdict import RULES, SOLVED, best_step, verdict
from vitral.reports.wording import counted, for_html, number, percent

SLOW_READING = 0.2
"""Share of the time spent waiting for data from which reading is what holds the run up."""

_AGAIN = "The same command in the same place goes on where the run stopped; with another --out it starts afresh."


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


def keep_examples(run: Path, examples: Line) -> None:
    """Write `run`/examples.json: what `vitral.gallery` chose to show.

    Raises:
        StorageError: it could not be written; an older one is untouched.
    """
    save(json.dumps(examples), run / "examples.json")


def render(record: Record) -> str:
    """The page as text."""
    unlabelled = pretraining_page.applies(record)
    said = pretraining_page.verdict(record) if unlabelled else verdict(record)
    first = pretraining_page.tiles(record) if unlabelled else []
    top = (
        f'<p class="about">{_about(record)}</p>\n'
        f'<p class="verdict">{for_html(" ".join(said), 1000)}</p>\n{tiles(record, first)}'
    )
    made_from = f"{for_html(record.environment.get('vitral', ''))} from the files of the run folder"
    sections = [*(_of_patches(record) if unlabelled else _of_classes(record)), *_of_every_run(record)]
    style = pretraining_page.STYLE if unlabelled else galleries.STYLE + matrix.STYLE
    return frame("training report", record.name, top, sections, made_from, style, images=True)


def _of_classes(record: Record) -> list[tuple[str, str]]:
    return [
        ("Numbers", tables.measured(record) + swept.table(record.measured)),
        ("Curves", _curves(record, _charts(record))),
        ("Classes", fold("the classes", tables.classes(record))),
        ("Calibration", tables.calibration(record)),
        ("Pictures", fold("the pictures", galleries.pictures(record))),
    ]


def _of_patches(record: Record) -> list[tuple[str, str]]:
    return [
        ("Curves", _curves(record, pretraining_page.charts(record))),
        ("Pictures", pretraining_page.pictures(record)),
    ]


def _of_every_run(record: Record) -> list[tuple[str, str]]:
    return [
        ("Data problems", problems(record)),
        ("Decisions", fold("the decisions", decisions(record))),
        ("Reproduce", reproduce(record, _AGAIN)),
        ("Settings", fold("every setting", tables.settings(record))),
    ]


def _about(record: Record) -> str:
    model, data = section(record.config, "model"), section(record.config, "data")
    start = "fine-tuned from " + str(model["weights"]) if model.get("weights") else "trained from scratch"
    start = "pre-trained without labels" if pretraining_page.applies(record) else start
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


# Curves ---------------------------------------------------------------------------------------------


def _curves(record: Record, charts: list[str]) -> str:
    reasons = [
        tables.missing(f"{name} {record.gaps[name]}: {lost} cannot be drawn.")
        for name, lost in (("metrics.jsonl", "loss, top-1 and learning rate"), ("speed.jsonl", "speed"))
        if name in record.gaps
    ]
    figures = "".join(f"<figure>{chart}</figure>\n" for chart in charts)
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
    axis = "weight decay, one after the other" if record.solved else "step"
    charts = []
    if "metrics.jsonl" not in record.gaps:
        losses = [trained("loss"), validated("loss")]
        if _losses_differ(record):
            charts += [
                curve("Training loss", losses[:1], axis, "nats per picture", mark=mark),
                *(
                    [curve("Validation loss", losses[1:], axis, "nats per picture", mark=mark)]
                    if losses[1].points
                    else []
                ),
            ]
        else:
            charts.append(curve("Loss", losses, axis, "nats per picture", mark=mark))
        if record.multi_label:
            precision = [validated("mean_average_precision")]
            charts.append(curve("Mean average precision", precision, axis, "0 to 1", mark=mark))
        shares = [trained("top1"), validated("top1")]
        charts.append(curve("Top-1", shares, axis, "share of pictures", percent=True, mark=mark))
        rate = Series("", record.series(record.training, "learning_rate"))
        if rate.points or not record.training:  # a head that is solved has none
            charts.append(curve("Learning rate", [rate], axis, "of the update"))
    if "speed.jsonl" not in record.gaps and not record.solved:
        speeds = Series("", record.series(record.speeds, "images_per_second"))
        charts.append(curve("Speed", [speeds], axis, "pictures per second"))
    return charts


def _losses_differ(record: Record) -> bool:
    """The sigmoid loss adds up over classes; validation loss is always that of one answer."""
    return section(record.config, "loss").get("name") == "sigmoid"


def _notes(record: Record) -> list[str]:
    if record.solved:
        return [SOLVED] if record.evaluations else []
    augmentation = section(record.config, "augmentation")
    notes = [RULES] if record.evaluations else []
    if pretraining_page.applies(record):
        notes = pretraining_page.notes(record)
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
