"""A sweep over the tasks of a benchmark: what is there is measured, what has been measured is not measured again.

FOLDER/benchmark.json   what is measured: model, protocol, settings
       results.jsonl    a line for each finished task
       runs/TASK/       runs of fine-tuning, which go on where they stopped
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vitral.benchmarks.benchmark import OWN, Benchmark, Entry
from vitral.benchmarks.protocols import PROTOCOLS, Asked, StoppedError, as_it_is, knows
from vitral.errors import MissingInputError, StorageError, UsageError, VitralError
from vitral.files import replace_durably
from vitral.models.digest import weights_digest
from vitral.run_folder import held, holds_only
from vitral.training.log import JsonLines

DESCRIPTION, RESULTS = "benchmark.json", "results.jsonl"


@dataclass
class Outcome:
    """What came of a sweep.

    Attributes:
        results: what was measured, by task, now or earlier.
        missing: what to put into the folder of data, by task.
        failed: why a task that is there could not be measured.
        signal: that stopped it, if one did.
    """

    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    failed: dict[str, VitralError] = field(default_factory=dict)
    signal: int | None = None


def sweep(benchmark: Benchmark, entries: Sequence[Entry], protocol: str, asked: Asked) -> Outcome:
    """Measure the entries that are not measured yet.

    Raises:
        UsageError: the folder holds the results of another model, protocol or settings, or another process measures
            into it.
        StorageError: it cannot be written.
    """
    identity = _identity(benchmark, protocol, asked)
    _is_begun(asked.folder, identity)
    with held(asked.folder):
        _describe(asked.folder, identity)
        return _measured(entries, protocol, asked)


def _measured(entries: Sequence[Entry], protocol: str, asked: Asked) -> Outcome:
    table = JsonLines(asked.folder / RESULTS)
    table.cut_torn_line()
    outcome = Outcome({str(line["task"]): line for line in table.read() if line.keys() >= {"task", "top1", "count"}})
    for entry in entries:
        if entry.name in outcome.results:
            _require_same_pictures(entry, outcome.results[entry.name], asked.folder)
            asked.screen.decide(f"{entry.name}: measured before, {outcome.results[entry.name]['top1']:.2%}")
            continue
        try:
            made = _measure(entry, protocol, asked)
        except StoppedError as stopped:
            outcome.signal = stopped.signal
            break
        except StorageError:
            raise
        except VitralError as error:  # the other tasks can be measured all the same
            asked.screen.end_progress()
            asked.screen.warn(f"{entry.name}: {error}")
            outcome.failed[entry.name] = error
            continue
        if made is None:
            outcome.missing[entry.name] = entry.where
            continue
        own = {"source": entry.where} if entry.group == OWN else {}
        outcome.results[entry.name] = {"task": entry.name, "group": entry.group, **made, **own}
        table.append(outcome.results[entry.name])
        asked.screen.end_progress()
        asked.screen.say(f"{entry.name}: {made['top1']:.2%} of {made['count']:,} pictures")
    return outcome


def _require_same_pictures(entry: Entry, line: Mapping[str, Any], folder: Path) -> None:
    if entry.group == OWN and line.get("source") != entry.where:
        raise UsageError(
            f"{folder} holds {entry.name} of other pictures ({line.get('source')}): give these another name, like "
            f"--own other={entry.where}."
        )


def _measure(entry: Entry, protocol: str, asked: Asked) -> dict[str, Any] | None:
    asked.screen.progress(f"{entry.name}: reading")
    dataset = entry.read(asked.data)
    if dataset is None:
        return None
    asked.screen.end_progress()
    for sentence in dataset.notes:
        asked.screen.decide(sentence)
    for sentence in dataset.warnings:
        asked.screen.warn(sentence)
    source = {} if dataset.source is None else {"source": dataset.source}
    if entry.known and knows(asked.model, dataset):
        asked.screen.decide(f"{entry.name}: its classes are the model's, so the model is measured as it is")
        return as_it_is(entry, dataset, asked) | source
    if "train" not in dataset.splits:
        raise MissingInputError(f"there are no training pictures of {entry.name}: put there {entry.where}.")
    return PROTOCOLS[protocol](entry, dataset, asked) | source


def _identity(benchmark: Benchmark, protocol: str, asked: Asked) -> dict[str, Any]:
    return {
        "benchmark": benchmark.name,
        "model": asked.weights,
        "weights_sha256": weights_digest(asked.model.network),
        "protocol": protocol,
        "settings": {name: str(value) for name, value in asked.words.items() if not name.startswith("runtime.")},
    }


def _is_begun(folder: Path, identity: Mapping[str, Any]) -> bool:
    """Whether the folder holds results of this; nothing is written.

    Raises:
        UsageError: it holds something else: what differs.
    """
    path = folder / DESCRIPTION
    if not path.is_file():
        if folder.is_dir() and not holds_only(folder, {DESCRIPTION}):
            raise UsageError(f"{folder} is not empty and holds no results: name another folder with --out.")
        return False
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        changed = [
            f"{key}: {before.get(key)} -> {identity[key]}" for key in identity if before.get(key) != identity[key]
        ]
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise UsageError(f"{path} cannot be read ({error}): name another folder with --out.") from error
    if changed:
        raise UsageError(
            f"{folder} holds results of something else ({'; '.join(changed)}): name another folder with --out."
        )
    return True


def _describe(folder: Path, identity: Mapping[str, Any]) -> None:
    if _is_begun(folder, identity):
        return
    try:
        replace_durably(folder / DESCRIPTION, json.dumps(identity, indent=1).encode())
    except OSError as error:
        raise StorageError(f"cannot write to {folder} ({error.strerror}): name another folder with --out.") from error
