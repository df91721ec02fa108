"""Classify pictures: files, folders, patterns like 'holiday/*.jpg', tables with a column of paths (csv, tsv, jsonl,
parquet), tar archives (read as they are, never unpacked), and - for a list of paths on standard input."""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitral.commands.answers_file import AnswersFile
from vitral.commands.keeping import threshold
from vitral.commands.shared_options import DATA, MODEL, PREPROCESSING, SHORT, add_settings, section, share
from vitral.console import Screen, duration_words
from vitral.errors import DataError, MissingInputError, UsageError

if TYPE_CHECKING:
    from vitral.datasets.pictures import Listed, Picture
    from vitral.serving.predictor import Model
    from vitral.serving.stream import Answer

BACKENDS = ("torch", "onnxruntime", "openvino", "auto")
"""As `vitral.fastest` knows them, for the help, which imports no torch."""

MANY = 1000
"""Pictures from which on another engine is recommended."""

NAMED = 10
"""Unreadable pictures that are named on the screen where the answers go to a file."""


def options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("model", metavar="MODEL", help=f"{MODEL}, or an exported folder")
    parser.add_argument(
        "pictures", metavar="PICTURES", nargs="+", help="picture, folder, quoted pattern, table, tar or -"
    )
    parser.add_argument("--top", type=int, default=5, help="classes shown for each picture (default: 5)")
    parser.add_argument(
        "--out", metavar="FILE", help="write a row per picture: .csv, .jsonl or .parquet; typed again, it goes on"
    )
    parser.add_argument("--features", action="store_true", help="also give what the head sees (--json, --out)")
    parser.add_argument(
        "--backend", choices=BACKENDS, default="torch",
        help="torch: the bits of `evaluate`. auto: MODEL/int8, where `export --int8 auto` put it, or the fastest "
        "engine that is installed and agrees to 1e-5; it pays from some hundred pictures on (default: torch)",
    )  # fmt: skip
    parser.add_argument(
        "--abstain-below", metavar="P", type=share, help="give no answer below this probability, like 0.8"
    )
    parser.add_argument(
        "--abstain-at-accuracy", metavar="ACCURACY", type=share,
        help="give no answer below the probability that `evaluate --abstain-at ACCURACY --write` found",
    )  # fmt: skip
    add_settings(parser, {name: SHORT[name] for name in ("--device", "--workers")})
    add_settings(parser, {name: DATA[name] for name in ("--path-column", "--image-folder", "--max-pixels")})
    add_settings(parser.add_argument_group("preprocessing, where the model's own should not hold"), PREPROCESSING)


def call(arguments: argparse.Namespace, screen: Screen) -> tuple[int, Any]:
    """Classify; the document is a list of {path, predictions: [{label, probability}]}, or with --out an account.

    Where asked to abstain, each answer also says whether it is `abstained`.
    """
    if arguments.top < 1:
        raise UsageError(f"--top must be at least 1, not {arguments.top}.")
    if arguments.features and not (arguments.out or arguments.json):
        raise UsageError("--features are too many numbers for the screen: add --out FILE or --json.")
    if arguments.abstain_below is not None and arguments.abstain_at_accuracy is not None:
        raise UsageError("--abstain-below and --abstain-at-accuracy both draw the line: give one of the two.")
    from vitral.config import DataConfig, RuntimeConfig
    from vitral.datasets.pictures import listed
    from vitral.evaluation import threads
    from vitral.overrides import override
    from vitral.serving.loading import load, require_classes
    from vitral.serving.stream import answered

    runtime = override(RuntimeConfig(), section(arguments, "runtime."))
    data = override(DataConfig(), section(arguments, "data."))
    found = listed(arguments.pictures, data)
    model = load(arguments.model, runtime.device).with_preprocessing(**section(arguments, "preprocessing."))
    if not arguments.features:
        require_classes(model, arguments.model)
    least = _least(model, arguments, screen)
    workers = threads(runtime.workers) if found.total is None else min(threads(runtime.workers), found.total - 1)
    with nullcontext() if arguments.out is None else _file(model, arguments, least) as file:
        model = _with_backend(model, arguments, found.total, screen)
        pictures = _rest(found.pictures, file, screen) if file else found.pictures
        answers = answered(model, pictures, workers, data.max_pixels, arguments.features)
        if file is None:
            return _shown(model, answers, arguments, least, screen)
        made = ([_row(model, answer, arguments.top, least) for answer in batch] for batch in answers)
        return _written(made, file, found, model.backend_name, screen)


def _shown(
    model: Model,
    answers: Iterable[list[Answer]],
    arguments: argparse.Namespace,
    least: float | None,
    screen: Screen,
) -> tuple[int, list[dict[str, Any]]]:
    """Answers on the screen as they come, and all of them for --json."""
    document: list[dict[str, Any]] = []
    bad: list[dict[str, Any]] = []
    count = 0
    for answer in itertools.chain.from_iterable(answers):
        row = {"predictions": [], **_row(model, answer, arguments.top, least)}
        _show(row, model.descriptions, screen)
        count += 1
        bad += [row] if "error" in row else []
        document += [row] if arguments.json else []
    return _code(count, len(bad), bad), document


def _written(
    answers: Iterable[list[dict[str, Any]]], file: AnswersFile, found: Listed, backend: str, screen: Screen
) -> tuple[int, dict[str, Any]]:
    """Answers into a file, with a line that says how far it is."""
    started, made = time.monotonic(), 0
    bad: list[dict[str, Any]] = []
    try:
        for rows in answers:
            file.add(rows)
            made += len(rows)
            bad += [row for row in rows if "error" in row]
            screen.progress(_progress(file.done, made, found.total, time.monotonic() - started))
    except BaseException:
        screen.end_progress()
        screen.say(f"{file.done + made:,} rows are kept in {file.part}: the same command goes on from there")
        raise
    finally:
        screen.end_progress()
        file.close()
    total, unreadable = file.done + made, file.bad + len(bad)
    for row in bad[:NAMED]:
        screen.warn(_line(f"{row['path']}: {row['error']}"))
    if len(bad) > NAMED:
        screen.warn(f"and {len(bad) - NAMED:,} more: column error of {file.path}")
    code = _code(total, unreadable, bad)
    file.finish()
    seconds = time.monotonic() - started
    speed = f", {made / seconds:,.1f} a second" if made else ""
    screen.result(f"{total:,} pictures{speed}, {unreadable:,} unreadable  {file.path}")
    listed = [{"path": row["path"], "reason": row["error"]} for row in bad]
    return code, {
        "out": str(file.path), "pictures": total, "resumed_after": file.done, "unreadable": unreadable,
        "unreadable_pictures": listed, "seconds": round(seconds, 3), "backend": backend,
    }  # fmt: skip


def _least(model: Model, arguments: argparse.Namespace, screen: Screen) -> float | None:
    """The probability below which no answer is given; `None` where all are."""
    if arguments.abstain_at_accuracy is None:
        below: float | None = arguments.abstain_below
        return below
    if model.multi_label:
        raise UsageError("--abstain-at-accuracy is for models that give a picture one label: take --abstain-below.")
    least = threshold(model, arguments.abstain_at_accuracy, arguments.model)
    screen.decide(f"no answer below probability {least:.4f}")
    return least


def _row(model: Model, answer: Answer, top: int, least: float | None) -> dict[str, Any]:
    if answer.probabilities is None:
        return {"path": answer.name, "error": answer.error}
    row: dict[str, Any] = {
        "path": answer.name,
        "predictions": [guess._asdict() for guess in model.best(answer.probabilities, top)],
    }
    if least is not None:
        row["abstained"] = bool(answer.probabilities.max() < least)
    return row if answer.features is None else row | {"features": [float(value) for value in answer.features]}


def _code(count: int, unreadable: int, bad: list[dict[str, Any]]) -> int:
    if count == 0:
        raise MissingInputError("there are no pictures in what was given: give JPEG, PNG, WebP, BMP or GIF files.")
    if unreadable == count:
        reasons = "; ".join(f"{row['path']}: {row['error']}" for row in bad[:3])
        raise DataError(f"not one of the pictures can be read ({reasons}): give JPEG, PNG, WebP, BMP or GIF files.")
    return DataError.exit_code if unreadable else 0


def _file(model: Model, arguments: argparse.Namespace, least: float | None) -> AnswersFile:
    from vitral.data.preprocessing import to_json
    from vitral.fastest import fingerprint

    return AnswersFile(
        Path(arguments.out),
        {
            "model": fingerprint(model), "backend": arguments.backend, "preprocessing": to_json(model.preprocessing),
            "top": min(arguments.top, len(model.classes)), "features": arguments.features,
            "abstain_below": least,
        },
    )  # fmt: skip


def _rest(pictures: Iterator[Picture], file: AnswersFile, screen: Screen) -> Iterator[Picture]:
    """The pictures that have no row yet.

    Raises:
        UsageError: those that have one are others now.
    """
    if not file.done:
        return pictures
    screen.decide(f"goes on after {file.done:,} pictures of {file.part}")
    for i, name in enumerate(file.names()):
        now = next(pictures, None)
        if now is None or now.name != name:
            there = "nothing" if now is None else now.name
            raise UsageError(
                f"picture {i + 1:,} was {name} when {file.part} was begun and is {there} now: remove it to start anew."
            )
    return pictures


def _with_backend(model: Model, arguments: argparse.Namespace, count: int | None, screen: Screen) -> Model:
    if arguments.backend == "torch":
        if model.backend is None and count is not None and count >= MANY:
            screen.decide(
                "torch answers, to the bit as `evaluate` does; --backend auto may be faster, and agrees to 1e-5"
            )
        return model
    from vitral.fastest import with_backend

    model, sentence = with_backend(model, arguments.backend, count, arguments.model, arguments.features)
    screen.decide(sentence)
    return model


def _progress(before: int, made: int, count: int | None, seconds: float) -> str:
    rate = made / max(seconds, 1e-9)
    if count is None:
        return f"{before + made:,} pictures, {rate:,.1f} a second"
    left = duration_words(max(0, count - before - made) / rate)
    return f"{before + made:,} of {count:,} pictures, {rate:,.1f} a second, {left} left"


def _show(answer: dict[str, Any], descriptions: dict[str, str], screen: Screen) -> None:
    """An answer on the screen; a line break within a name is spelled out, for it could fake another answer."""
    if "error" in answer:
        screen.warn(_line(f"{answer['path']}: {answer['error']}"))
        return
    said = [f"{guess['probability']:6.2%}  {_name(guess['label'], descriptions)}" for guess in answer["predictions"]]
    unsure = "  no answer: it is not sure enough" if answer.get("abstained") else ""
    screen.say("\n".join([_line(answer["path"]) + unsure, *(f"  {_line(line)}" for line in said)]))


def _name(label: str, descriptions: dict[str, str]) -> str:
    return f"{label} ({descriptions[label]})" if label in descriptions else label


def _line(text: str) -> str:
    return text.replace("\n", "\\n")
