"""Is a folder of pictures sound? `vitral data check PICTURES`: unreadable, copies, leaks, shortcuts, wrong labels."""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitral.commands.shared_options import DATA, MODEL, SHORT, add_settings, section
from vitral.commands.targets import refuse_bad_target
from vitral.config import DataConfig, RuntimeConfig
from vitral.console import Screen
from vitral.errors import UsageError
from vitral.overrides import override
from vitral.registry import look_up

if TYPE_CHECKING:
    from vitral.checks import Examination

FAIL_ON = {
    # what --fail-on names: the fields of the report that must then hold no problem
    "leak": ("leaks",),
    "near-leak": ("leaks", "near_leaks"),
    "unreadable": ("unreadable",),
    "conflict": ("conflicts", "near_conflicts"),
    "shortcut": ("shortcuts",),
    "any": ("problems",),
}

PREVIEW_SIDE = 112
"""Pixels of the longer side of a picture on the page."""


def options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("action", metavar="check", help="what to do")
    parser.add_argument("pictures", metavar="PICTURES", nargs="?", help="folder or table of pictures, or NAME:FOLDER")
    parser.add_argument("--fail-on", metavar="|".join(FAIL_ON), help="exit with 65 if such a problem is found")
    parser.add_argument("--report", metavar="FILE.html", help="also write a page with the pictures, for any browser")
    parser.add_argument("--model", help=f"also look for wrong labels, by the features of this: {MODEL}")
    parser.add_argument(
        "--write-clean",
        metavar="TABLE.csv",
        help="also write a table for `vitral finetune`, without unreadable pictures and copies across splits",
    )
    parser.add_argument("--drop-conflicts", action="store_true", help="leave copies with different labels out of it")
    add_settings(parser, {name: SHORT[name] for name in ("--device", "--workers")})
    add_settings(parser.add_argument_group("data"), DATA)


def call(arguments: argparse.Namespace, screen: Screen) -> tuple[int, dict[str, Any]]:
    """Check; the document is the whole report."""
    if arguments.pictures is None and Path(arguments.action).exists():
        raise UsageError(f"say what to do with {arguments.action}: `vitral data check {arguments.action}`.")
    look_up("data action", arguments.action, {"check": None})
    if arguments.pictures is None:
        raise UsageError("say which folder or table of pictures: `vitral data check PICTURES`.")
    forbidden = look_up("problem", arguments.fail_on, FAIL_ON) if arguments.fail_on else ()
    _refuse_bad_targets(arguments)
    seen, document = _check(arguments, screen)
    _show(seen, document, screen)
    if arguments.write_clean:
        document["clean"] = _write_clean(seen, arguments, screen)
    problems = bool(seen.dataset.warnings or document["problems"])
    if problems and not (arguments.report or arguments.write_clean):
        screen.say("next          add --report FILE.html to see them, --write-clean TABLE.csv for a table without them")
    if arguments.report:
        max_pixels = section(arguments, "data.").get("max_pixels", DataConfig().max_pixels)
        _write_report(seen, document, Path(arguments.report), max_pixels, screen)
    return (65 if any(_holds_problem(document[name]) for name in forbidden) else 0), document


def _check(arguments: argparse.Namespace, screen: Screen) -> tuple[Examination, dict[str, Any]]:
    """Look at every picture, and judge what was seen."""
    from vitral.checks import examine, judge
    from vitral.datasets import read
    from vitral.evaluation import threads

    config = override(DataConfig(path=arguments.pictures), section(arguments, "data."))
    runtime = override(RuntimeConfig(), section(arguments, "runtime."))
    features = _features_of(arguments.model, runtime, config.max_pixels, screen)
    dataset = read(config, fewest=1, hold_out=False)
    total = sum(map(len, dataset.splits.values()))
    screen.progress(f"looking at {total:,} pictures")
    seen = examine(
        dataset,
        threads(runtime.workers),
        config.max_pixels,
        lambda done: screen.progress(f"looked at {done:,} of {total:,} pictures"),
    )
    report = judge(seen)
    if features is not None:
        from vitral.checks.suspects import suspects

        report = dataclasses.replace(report, suspects=suspects(seen, features))
    screen.end_progress()
    return seen, report.to_json()


def _show(seen: Examination, document: dict[str, Any], screen: Screen) -> None:
    dataset = seen.dataset
    for sentence in (*dataset.notes, *_census(document), *document["remarks"]):
        screen.decide(sentence)
    rows = [(name, f"{len(found):,}", f"{sum(found.values()):,}") for name, found in document["counts"].items()]
    screen.table(("split", "classes", "pictures"), rows, right=(1, 2))
    for sentence in (*dataset.warnings, *document["problems"]):
        screen.warn(sentence)
    if not dataset.warnings and not document["problems"]:
        screen.result("no problem found")


def _holds_problem(rows: Sequence[Any]) -> bool:
    """Whether a field of the report names a problem; of shortcuts, it holds what was found harmless, too."""
    return any(row.get("suspicious", True) if isinstance(row, dict) else True for row in rows)


def _refuse_bad_targets(arguments: argparse.Namespace) -> None:
    """Before minutes of work: files that cannot be what is asked for."""
    refuse_bad_target("--report", arguments.report, ".html")
    refuse_bad_target("--write-clean", arguments.write_clean, ".csv")
    if arguments.drop_conflicts and not arguments.write_clean:
        raise UsageError("--drop-conflicts is about the table of --write-clean: name that too.")
    from vitral.datasets.named import split_name

    if arguments.write_clean and split_name(arguments.pictures):
        raise UsageError("a table names files, and these pictures lie inside an archive: leave --write-clean out.")


def _features_of(
    name: str | None, runtime: RuntimeConfig, max_pixels: int, screen: Screen
) -> Callable[[list[Any]], Any] | None:
    """From pictures to the features of the model `name`, loaded at once so that a wrong name stops early."""
    if name is None:
        return None
    from vitral.datasets import Split
    from vitral.errors import DataError
    from vitral.evaluation import represent_split, threads
    from vitral.serving.loading import load

    model = load(name, runtime.device)

    def features(sources: list[Any]) -> Any:
        split = Split(sources, [()] * len(sources))
        found, unreadable = represent_split(
            model,
            split,
            threads(runtime.workers),
            max_pixels,
            lambda done: screen.progress(f"features of {done:,} of {len(sources):,} pictures"),
        )
        for sample, reason in unreadable.items():  # they could be read a moment ago
            raise DataError(f"{sources[sample]} cannot be read any more ({reason}): check again.")
        return found

    return features


def _write_clean(seen: Examination, arguments: argparse.Namespace, screen: Screen) -> dict[str, Any]:
    from vitral.checks.clean import propose, write_table

    proposal = propose(seen, arguments.drop_conflicts)
    for name in write_table(seen, proposal, Path(arguments.write_clean)):
        screen.warn(f"left out of the table, because its name is not UTF-8: {name}")
    kept, dropped = len(proposal.kept), len(proposal.dropped)
    screen.result(f"{arguments.write_clean}: {kept:,} pictures kept, {dropped:,} left out; no picture was changed")
    left_out = [{"picture": seen.name(place), "reason": reason} for place, reason in proposal.dropped.items()]
    return {"table": arguments.write_clean, "kept": kept, "dropped": left_out}


def _write_report(seen: Examination, document: dict[str, Any], path: Path, max_pixels: int, screen: Screen) -> None:
    from vitral.data.thumbnail import preview
    from vitral.reports import data_page
    from vitral.reports.frame import save

    sources = {seen.name(place): seen.source(place) for place in seen.looks}
    page = data_page.render(
        document,
        seen.dataset.name,
        lambda name: preview(sources[name], max_pixels, PREVIEW_SIDE),
        f"{seen.dataset.root}{os.sep}",
    )
    save(page, path)
    screen.result(f"report: {path}")


def _census(document: dict[str, Any]) -> list[str]:
    """Sizes, formats and colour modes in one sentence each."""
    said = []
    if document["width"] is not None:
        (low, middle, high), (shortest, median, tallest) = document["width"], document["height"]
        said.append(f"width {low} to {high} (median {middle}), height {shortest} to {tallest} (median {median}) pixels")
    for name in ("formats", "modes"):
        said.append(f"{name}: " + ", ".join(f"{count:,} {kind}" for kind, count in document[name].items()))
    return said
