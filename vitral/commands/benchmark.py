"""Measure a model on the tasks that papers report together, or ask the paper's questions again.

vitral benchmark vtab MODEL --data FOLDER       VTAB-1k: 19 tasks of 1,000 training pictures each
vitral benchmark transfer MODEL --data FOLDER   ImageNet, ReaL, CIFAR-10, CIFAR-100, Pets, Flowers-102

FOLDER holds the data sets as their authors publish them, as Hugging Face has them (Parquet files in FOLDER/NAME) or as
TensorFlow Datasets prepares them; vtab-1k.zip has all 19 tasks. Archives stay packed.
What is there is measured, what is missing is listed with the place to get it. Finished tasks are kept in a table in the
output folder and are not measured again: the same command goes on where it stopped.

vitral benchmark scaling [PICTURES]     accuracy against pre-training compute, for ViTs, hybrids and ResNets (Figure 5)
vitral benchmark data-size [PICTURES]   and against the size of the pre-training set (Figures 3 and 4)
vitral benchmark ablations [PICTURES]   positions, pooling, shape, optimizer, augmentation, a teacher (Tables 7 and 8)
vitral benchmark selfsup [PICTURES]     pre-training without labels against labels and nothing (section 4.6)

trains many networks on any pictures (default: scikit-learn's digits), at --scale minutes, hours or paper; tables and
figures stand beside the paper's numbers. Likewise, the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitral.commands import studies
from vitral.commands.shared_options import DATA, MODEL, PREPROCESSING, SHORT, add_settings, given
from vitral.console import Screen
from vitral.errors import MissingInputError, UsageError

if TYPE_CHECKING:
    from vitral.benchmarks.benchmark import Benchmark, Entry
    from vitral.benchmarks.sweep import Outcome
    from vitral.datasets.dataset import Dataset

PROTOCOLS = ("paper", "finetune", "linear", "knn")


def options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("benchmark", choices=("vtab", "transfer", *studies.STUDIES), help="what to measure")
    parser.add_argument("model", metavar="MODEL | PICTURES", nargs="?",
                        help=f"of vtab and transfer: {MODEL}; else pictures to train on")  # fmt: skip
    studies.add_options(parser)
    parser.add_argument("--data", metavar="FOLDER", help="folder of the published data sets")
    parser.add_argument(
        "--own", metavar="[NAME=]PICTURES", action="append", default=[],
        help="also measure on pictures of your own, a folder or table as for `vitral probe` (may be repeated)",
    )  # fmt: skip
    parser.add_argument("--tasks", metavar="NAME,NAME", help="only these tasks (default: all)")
    parser.add_argument(
        "--protocol", choices=PROTOCOLS,
        help="paper: fine-tune as Table 4 says, for a GPU; finetune: in fewer steps; linear, knn: probe the features "
        "as they are, in minutes on a CPU (default: paper on a GPU, linear on a CPU)",
    )  # fmt: skip
    parser.add_argument(
        "--out", metavar="FOLDER", help="folder of the results (default: runs/BENCHMARK-MODEL-PROTOCOL)"
    )
    parser.add_argument("--steps", type=float, help="of training: other than the protocol or the scale says")
    parser.add_argument("--micro-batch-size", dest="training.micro_batch_size", default=argparse.SUPPRESS,
                        metavar="MICRO_BATCH_SIZE",
                        help="of fine-tuning: pictures per forward pass, where the memory is small")  # fmt: skip
    add_settings(
        parser.add_argument_group("settings of fine-tuning"), {k: v for k, v in SHORT.items() if k != "--freeze"}
    )
    add_settings(parser.add_argument_group("preprocessing (default: squashed to the model's size)"), PREPROCESSING)
    add_settings(parser.add_argument_group("tables of --own"), {k: v for k, v in DATA.items() if k != "--multi-label"})


def call(arguments: argparse.Namespace, screen: Screen) -> tuple[int, dict[str, Any]]:
    """Measure; the document holds `results` by task, `groups`, `mean`, `missing`, `failed` and what was published."""
    studies.refuse(arguments)
    if arguments.benchmark in studies.STUDIES:
        return studies.call(arguments, screen)
    from vitral.benchmarks import BENCHMARKS
    from vitral.benchmarks.protocols import Asked
    from vitral.benchmarks.sweep import sweep
    from vitral.config import Duration
    from vitral.serving.loading import load

    if not arguments.data and not arguments.own:
        raise UsageError("there are no pictures: name the folder of the data sets with --data, or add --own PICTURES.")
    if arguments.data and not Path(arguments.data).is_dir():
        raise MissingInputError(f"{arguments.data!r} is no folder: give the one that holds the data sets with --data.")
    benchmark = BENCHMARKS[arguments.benchmark]
    entries = _entries(benchmark, arguments)
    words = given(arguments, "training.", "optimizer.", "model.", "runtime.", "preprocessing.")
    if arguments.steps is not None:
        words["schedule.duration"] = Duration(arguments.steps, "steps")
    model = load(arguments.model, words.get("runtime.device", "auto"))
    protocol = arguments.protocol or _protocol(model.device.type, screen)
    if protocol in ("linear", "knn") and any(not name.startswith(("runtime.", "preprocessing.")) for name in words):
        raise UsageError(f"the protocol {protocol} trains nothing: leave the settings of fine-tuning out.")
    name = Path(arguments.model).resolve().name if Path(arguments.model).exists() else arguments.model.replace("/", "-")
    folder = Path(arguments.out or f"runs/{benchmark.name}-{name}-{protocol}")
    asked = Asked(model, arguments.model, words, folder, Path(arguments.data or "."), screen, arguments.command)
    outcome = sweep(benchmark, entries, protocol, asked)
    document = _document(benchmark, protocol, arguments, folder, outcome)
    _show(document, benchmark, screen)
    if outcome.signal:
        screen.warn("stopped; the same command goes on from here.")
        return 128 + outcome.signal, document
    for error in outcome.failed.values():
        return error.exit_code, document
    if not outcome.results:
        name, where = next(iter(outcome.missing.items()))
        put = f"for {name}, say, put there {where}"
        if len(outcome.missing) == len(benchmark.entries) and benchmark.at_once:
            put = f"put there {benchmark.at_once}"
        raise MissingInputError(f"none of the tasks is in {arguments.data!r}: {put}.")
    return 0, document


def _protocol(device: str, screen: Screen) -> str:
    chosen, reason = (
        ("linear", "fine-tuning at 384 pixels is for a GPU") if device == "cpu" else ("paper", "as published")
    )
    screen.decide(f"protocol {chosen}, on {device}: {reason} (--protocol)")
    return chosen


def _entries(benchmark: Benchmark, arguments: argparse.Namespace) -> list[Entry]:
    from vitral.registry import look_up

    published = {entry.name: entry for entry in benchmark.entries} if arguments.data else {}
    own = {entry.name: entry for entry in _own(arguments)}
    if len(own) < len(arguments.own):
        raise UsageError("two --own pictures have the same name: give them names, like --own roses=FOLDER.")
    if arguments.tasks is None:
        return [*published.values(), *own.values()]
    known = published | own
    return [look_up("task", name.strip(), known) for name in arguments.tasks.split(",")]


def _own(arguments: argparse.Namespace) -> list[Entry]:
    from vitral.benchmarks.benchmark import OWN, Entry

    made = []
    for word in arguments.own:
        name, equals, path = word.partition("=")
        if not equals or Path(word).exists():
            path, name = word, Path(word).resolve().stem
        if not name.strip(". ") or set(name) & set("/\\,"):  # it names a folder, and a task in --tasks
            raise UsageError(f"--own takes NAME=PICTURES with a name without slashes and commas, not {word!r}.")
        reading = partial(_read_own, path, given(arguments, "data."))
        made.append(Entry(f"own/{name}", OWN, reading, where=str(Path(path).resolve())))
    return made


def _read_own(path: str, settings: dict[str, Any], _: Path) -> Dataset:
    from vitral.config import DataConfig
    from vitral.datasets import read
    from vitral.overrides import override

    plain = {name.removeprefix("data."): value for name, value in settings.items()}
    return read(override(DataConfig(path=path), {} if Path(path).is_dir() else plain))


def _document(
    benchmark: Benchmark, protocol: str, arguments: argparse.Namespace, folder: Path, outcome: Outcome
) -> dict[str, Any]:
    from vitral.benchmarks.benchmark import means

    found = {task: line["top1"] for task, line in outcome.results.items()}
    made = means(found, benchmark)
    whole = {
        name: {"top1": mean, "tasks": there, "of": all_of_them} for name, (mean, there, all_of_them) in made.items()
    }
    return {
        "benchmark": benchmark.name,
        "model": arguments.model,
        "protocol": protocol,
        "folder": str(folder),
        "results": outcome.results,
        "groups": {group: whole[group] for group in benchmark.groups if group in whole},
        "mean": whole.get("mean"),
        "missing": outcome.missing,
        "all_at_once": benchmark.at_once or None,
        "failed": {task: str(error) for task, error in outcome.failed.items()},
        "published": {"source": benchmark.source, "columns": benchmark.published},
    }


def _show(document: dict[str, Any], benchmark: Benchmark, screen: Screen) -> None:
    results = document["results"]
    rows = []
    for name in [*(entry.name for entry in benchmark.entries), *(name for name in results if name.startswith("own/"))]:
        if name in results:
            line = results[name]
            rows.append((name, line["group"], f"{line['top1']:.2%}", f"{line['count']:,}", *_others(benchmark, name)))
            if "real_top1" in line:
                shown = f"{line['real_top1']:.2%}", f"{line['real_count']:,}"
                rows.append(("  its ReaL labels", "", *shown, *_others(benchmark, "real")))
    for name, made in {**document["groups"], "mean": document["mean"]}.items():
        if made is not None and benchmark.groups:
            published = _means(benchmark, name, results)
            rows.append((f"mean of {name}" if name != "mean" else "mean of all", "", f"{made['top1']:.2%}",
                         f"{made['tasks']} of {made['of']} tasks", *published))  # fmt: skip
    if rows:
        columns, kept = (
            ("task", "group", "top-1", "pictures", *benchmark.shown),
            2 if any(row[1] for row in rows) else 1,
        )
        rows = [(row[0], *row[1:kept], *row[2:]) for row in rows]
        screen.table((columns[0], *columns[1:kept], *columns[2:]), rows, right=range(kept, len(columns)))
        screen.say(f"columns on the right: {benchmark.source}, in percent; fine-tuned at 384 pixels and more")
    if document["missing"] and not screen.quiet:
        screen.say("\nnot there, so not measured:")
        if benchmark.at_once:
            screen.say(f"  all of them at once: {benchmark.at_once}")
        for name, where in document["missing"].items():
            screen.say(f"  {name}: {where}")


def _others(benchmark: Benchmark, task: str) -> list[str]:
    values = [benchmark.published[column].get(task) for column in benchmark.shown]
    return ["" if value is None else f"{value:g}" for value in values]


def _means(benchmark: Benchmark, group: str, results: dict[str, Any]) -> list[str]:
    """The published means over the tasks that were measured, so that both are of the same ones."""
    from vitral.benchmarks.benchmark import means

    columns = [{k: v for k, v in benchmark.published[column].items() if k in results} for column in benchmark.shown]
    made = [means(column, benchmark).get(group) for column in columns]
    return ["" if mean is None else f"{mean[0]:.1f}" for mean in made]
