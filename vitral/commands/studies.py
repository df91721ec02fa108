"""`vitral benchmark scaling` and its like: the paper's questions, asked again at the scale that one can afford."""

from __future__ import annotations

import argparse
import fnmatch
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitral.commands.predictions import write_whole_csv
from vitral.commands.shared_options import given
from vitral.console import Screen, duration_words
from vitral.errors import MissingInputError, StorageError, UsageError

if TYPE_CHECKING:
    from vitral.benchmarks.budget import Budget
    from vitral.benchmarks.measures import Asked
    from vitral.benchmarks.study import Member, Panel
    from vitral.datasets.dataset import Dataset

STUDIES = ("scaling", "data-size", "ablations", "selfsup")
SCALES = ("minutes", "hours", "paper")

DIGITS = Path("runs/digits")
"""Where the pictures of the scale "minutes" are written, if none are named."""

TAKEN = ("runtime.", "training.precision", "training.micro_batch_size")
"""Beginnings of the settings of runs that their options may change; the others are what is studied."""

SHOWN = {"top1": "top-1", "5shot": "5-shot", "transfer_top1": "fine-tuned"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the studies."""
    group = parser.add_argument_group("of scaling, data-size, ablations and selfsup")
    group.add_argument("--scale", choices=SCALES, help="minutes: two cores; hours: one GPU; paper: a pod (default: "
                       "minutes)")  # fmt: skip
    group.add_argument("--seeds", type=int, help="runs of each kind (default: 3); more can be added later")
    group.add_argument("--only", metavar="PATTERN,PATTERN", help="only these runs, like 'positions/*'")
    group.add_argument("--transfer-to", metavar="PICTURES",
                       help="pictures to transfer to (default: every other class of PICTURES)")  # fmt: skip
    group.add_argument("--dry-run", action="store_true", help="list the runs and how long they will take")


def call(arguments: argparse.Namespace, screen: Screen) -> tuple[int, dict[str, Any]]:
    """Study; the document holds `runs` (a line each), `rows` (means over seeds), `figures` and what was published."""
    from vitral.benchmarks.budget import estimate
    from vitral.benchmarks.studying import finished, require_study, study
    from vitral.inspection.figures import available

    seeds = 3 if arguments.seeds is None else arguments.seeds
    if seeds < 1:
        raise UsageError(f"--seeds must be at least 1, not {seeds}.")
    available()  # said now, and not after hours
    asked = _asked(arguments, screen)
    members = _chosen(asked, arguments.only)
    require_study(asked)
    screen.progress(f"timing a step of {len(members)} networks")
    budget = estimate(members, asked)
    screen.end_progress()
    done = finished(asked.folder)
    left = [(member, seed) for seed in range(seeds) for member in members if (member.name, seed) not in done]
    _intent(asked, members, seeds, budget.of(left), len(left), screen)
    if arguments.dry_run:
        return 0, _show_plan(members, budget, asked, screen)
    outcome = study(members, seeds, asked, budget)
    document = _document(asked, outcome.lines, len(outcome.lines) == seeds * len(members))
    _show(document, screen)
    if outcome.signal:
        screen.warn(f"stopped; to go on: {shlex.join(arguments.command)}")
        return 128 + outcome.signal, document
    return 0, document


# Before ---------------------------------------------------------------------------------------------


def _asked(arguments: argparse.Namespace, screen: Screen) -> Asked:
    from vitral.benchmarks import STUDIES as KNOWN
    from vitral.benchmarks.measures import Asked
    from vitral.benchmarks.scales import SCALES as BY_NAME
    from vitral.config import Duration

    scale = BY_NAME[arguments.scale or "minutes"]
    words = given(arguments, "")
    wrong = [name for name in words if not name.startswith(TAKEN)]
    if wrong:
        raise UsageError(f"{wrong[0]} is among what {arguments.benchmark} studies: leave it out.")
    if arguments.steps is not None:
        words["schedule.duration"] = Duration(arguments.steps, "steps")
        words["schedule.warmup"] = Duration(0, "steps")
    upstream, downstream = _pictures(arguments, scale.name, screen)
    return Asked(
        study=KNOWN[arguments.benchmark](scale),
        scale=scale,
        upstream=upstream,
        downstream=downstream,
        words=words,
        folder=Path(arguments.out or f"runs/{arguments.benchmark}-{scale.name}"),
        screen=screen,
        command=arguments.command,
    )


def _pictures(arguments: argparse.Namespace, scale: str, screen: Screen) -> tuple[Dataset, Dataset]:
    from vitral.benchmarks.pictures import halves, read_pictures
    from vitral.datasets.bundled import write_digits

    path = arguments.model
    if path is None and scale != "minutes":
        raise UsageError(f"name the pictures: `vitral benchmark {arguments.benchmark} PICTURES --scale {scale}`.")
    if path is None:
        path = str(write_digits(DIGITS))
        screen.decide(f"no pictures are named: scikit-learn's digits, in {path}")
    dataset = read_pictures(path)
    if arguments.transfer_to is not None:
        upstream, downstream = dataset, read_pictures(arguments.transfer_to)
    else:
        upstream, downstream = halves(dataset)
    for did, own in (("pre-trained on", upstream), ("transferred to", downstream)):
        counts = ", ".join(f"{len(split):,} {name}" for name, split in own.splits.items())
        screen.decide(f"{did} {len(own.classes)} classes ({', '.join(own.classes[:6])}{' ...' * (len(own.classes) > 6)}"
                      f"): {counts}")  # fmt: skip
    return upstream, downstream


def _chosen(asked: Asked, only: str | None) -> list[Member]:
    """The members that were asked for, and those that they learn from."""
    if only is None:
        return list(asked.study.members)
    patterns = [pattern.strip() for pattern in only.split(",") if pattern.strip()]
    names = [member.name for member in asked.study.members]
    if not patterns:
        raise UsageError("--only names no runs: leave it out for all of them, or see --dry-run for their names.")
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            raise UsageError(f"--only {pattern} fits no run of {asked.study.name}: see --dry-run for their names.")
    kept = {name for pattern in patterns for name in fnmatch.filter(names, pattern)}
    kept |= {member.teacher for member in asked.study.members if member.name in kept and member.teacher}
    return [member for member in asked.study.members if member.name in kept]


def _intent(asked: Asked, members: Sequence[Member], seeds: int, seconds: float, left: int, screen: Screen) -> None:
    screen.say(f"{asked.study.name}: {asked.study.question}")
    done = len(members) * seeds - left
    before = f", {done} of them done before" if done else ""
    each = f"{len(members)} runs with {seeds} seed{'s' * (seeds > 1)} each"
    screen.say(f"{each}{before}: about {duration_words(seconds)} on this machine")


def _show_plan(members: Sequence[Member], budget: Budget, asked: Asked, screen: Screen) -> dict[str, Any]:
    rows = []
    for member in members:
        facts = budget.facts[member.name]
        rows.append({"member": member.name, "seconds": budget.seconds[member.name], **facts})
    screen.table(
        ("run", "pictures", "parameters", "MACs", "exaFLOPs", "time"),
        [
            (row["member"], f"{row['train_count']:,}", f"{row['parameters']:,}", f"{row['macs']:.3g}",
             f"{row['exaflops']:.3g}" if "exaflops" in row else "", duration_words(row["seconds"]))
            for row in rows
        ],
        right=range(1, 6),
    )  # fmt: skip
    screen.result(f"nothing was trained: {asked.folder} would hold the runs")
    return {"benchmark": asked.study.name, "scale": asked.scale.name, "folder": str(asked.folder), "runs": rows}


# After ----------------------------------------------------------------------------------------------


def _document(asked: Asked, lines: list[dict[str, Any]], whole: bool) -> dict[str, Any]:
    """The document, also as FOLDER/results.json, with every run in FOLDER/results.csv and the figures beside."""
    from vitral.benchmarks.summary import summary
    from vitral.files import replace_durably

    rows = summary(asked.study, lines)
    document = {
        "benchmark": asked.study.name,
        "scale": asked.scale.name,
        "folder": str(asked.folder),
        "finished": whole,
        "rows": rows,
        "runs": lines,
        "published": {
            panel.file: {"source": panel.published.source, "points": panel.published.points}
            for panel in asked.study.panels
            if panel.published is not None
        },
        "figures": _draw(asked, rows),
    }  # fmt: skip
    columns = list(dict.fromkeys(name for line in lines for name in line))
    write_whole_csv(asked.folder / "results.csv", columns, ([line.get(name) for name in columns] for line in lines))
    try:
        replace_durably(asked.folder / "results.json", json.dumps(document, indent=1).encode())
    except OSError as error:
        raise StorageError(f"cannot write to {asked.folder} ({error.strerror}): free some space.") from error
    return document


def _draw(asked: Asked, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Draw every figure that has something to show; its files."""
    from vitral.files import replace_durably
    from vitral.inspection.figures import png, svg

    made = []
    for panel in asked.study.panels:
        figure = _figure(panel, rows)
        if figure is None:
            continue
        for ending, write in (("png", png), ("svg", svg)):
            path = asked.folder / f"{panel.file}.{ending}"
            try:
                replace_durably(path, write(figure))
            except OSError as error:
                raise StorageError(f"cannot write {path} ({error.strerror}): free some space.") from error
            made.append(str(path))
    return made


def _figure(panel: Panel, rows: Sequence[Mapping[str, Any]]) -> Any:
    from vitral.benchmarks.summary import differences_of, lines_of, published_differences
    from vitral.inspection.figures import Words, draw_differences, draw_lines

    seeds = max((row["seeds"] for row in rows if row["group"] == panel.group), default=0)
    there = panel.published
    sides = {} if there is None else {"published_x": there.x, "published_y": there.y, "source": there.source}
    if panel.x is not None:
        own = lines_of(panel, rows)
        words = Words(panel.title, panel.x.label, panel.y.label, seeds, **sides)
        return draw_lines(own, there.points if there else {}, words) if own else None
    away = differences_of(panel, rows)
    words = Words(panel.title, f"points from {panel.base}", panel.y.label.partition(",")[0], seeds, **sides)
    return draw_differences(away, published_differences(panel), words) if away else None


def _show(document: Mapping[str, Any], screen: Screen) -> None:
    rows = document["rows"]
    if not rows:
        return
    shown = {name: said for name, said in SHOWN.items() if any(name in row for row in rows)}
    screen.table(
        ("run", "seeds", "exaFLOPs", *shown.values()),
        [
            (row["member"], f"{row['seeds']}{' (diverged: ' + str(row['diverged']) + ')' if row['diverged'] else ''}",
             f"{row['exaflops']:.2g}" if "exaflops" in row else "", *(_cell(row, name) for name in shown))
            for row in rows
        ],
        right=range(1, 3 + len(shown)),
    )  # fmt: skip
    screen.say("accuracies in percent, with the standard deviation over seeds")
    for path in document["figures"]:
        if path.endswith(".png"):
            screen.say(f"figure        {path} and .svg")
    screen.say(f"every run     {Path(document['folder']) / 'results.csv'}")


def _cell(row: Mapping[str, Any], name: str) -> str:
    if name not in row:
        return ""
    spread = row[f"{name}_std"]
    return f"{100 * row[name]:.1f}" + (f" ± {100 * spread:.1f}" if spread is not None else "")


def refuse(arguments: argparse.Namespace) -> None:
    """Refuse options that go with the other kind of benchmark.

    Raises:
        UsageError: one was given. MissingInputError: a benchmark of a model has none.
    """
    is_study = arguments.benchmark in STUDIES
    others = ("data", "own", "tasks", "protocol") if is_study else ("scale", "seeds", "only", "transfer_to", "dry_run")
    for name in others:
        if getattr(arguments, name):
            option = "--" + name.replace("_", "-")
            raise UsageError(f"{option} is not for {arguments.benchmark}: see `vitral benchmark --help`.")
    if not is_study and arguments.model is None:
        raise MissingInputError(f"name the model: `vitral benchmark {arguments.benchmark} MODEL --data FOLDER`.")
