"""Classify pictures: files, folders, or patterns like 'holiday/*.jpg'."""

from __future__ import annotations

import argparse
import glob
from pathlib import Path
from typing import Any

from vitral.commands.keeping import threshold
from vitral.commands.shared_options import DATA, MODEL, PREPROCESSING, SHORT, add_settings, section, share
from vitral.console import Screen
from vitral.errors import DataError, MissingInputError, UsageError
from vitral.registry import nearest_path


def options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("model", metavar="MODEL", help=MODEL)
    parser.add_argument("pictures", metavar="PICTURE", nargs="+", help="picture, folder of pictures, or quoted pattern")
    parser.add_argument("--top", type=int, default=5, help="classes shown for each picture (default: 5)")
    parser.add_argument(
        "--abstain-below", metavar="P", type=share, help="give no answer below this probability, like 0.8"
    )
    parser.add_argument(
        "--abstain-at-accuracy", metavar="ACCURACY", type=share,
        help="give no answer below the probability that `evaluate --abstain-at ACCURACY --write` found",
    )  # fmt: skip
    add_settings(parser, {name: SHORT[name] for name in ("--device", "--workers")})
    add_settings(parser, {"--max-pixels": DATA["--max-pixels"]})
    add_settings(parser.add_argument_group("preprocessing, where the model's own should not hold"), PREPROCESSING)


def call(arguments: argparse.Namespace, screen: Screen) -> tuple[int, list[dict[str, Any]]]:
    """Classify; the document is a list of {path, predictions: [{label, probability}]}, and `abstained` if asked."""
    if arguments.top < 1:
        raise UsageError(f"--top must be at least 1, not {arguments.top}.")
    if arguments.abstain_below is not None and arguments.abstain_at_accuracy is not None:
        raise UsageError("--abstain-below and --abstain-at-accuracy both draw the line: give one of the two.")
    from vitral.config import DataConfig, RuntimeConfig
    from vitral.data.decode import decode
    from vitral.data.preprocessing import prepare
    from vitral.evaluation import threads
    from vitral.overrides import override
    from vitral.serving.predictor import load

    paths = [path for words in arguments.pictures for path in expand(words)]
    runtime = override(RuntimeConfig(), section(arguments, "runtime."))
    max_pixels = override(DataConfig(), section(arguments, "data.")).max_pixels
    model = load(arguments.model, runtime.device).with_preprocessing(**section(arguments, "preprocessing."))
    least = arguments.abstain_below
    if arguments.abstain_at_accuracy is not None:
        if model.multi_label:
            raise UsageError("--abstain-at-accuracy is for models that give a picture one label: take --abstain-below.")
        least = threshold(model, arguments.abstain_at_accuracy, arguments.model)
        screen.decide(f"no answer below probability {least:.4f}")
    answers: list[dict[str, Any]] = [{"path": path, "predictions": []} for path in paths]
    workers = min(threads(runtime.workers), len(paths) - 1)
    for batch in model.batches(paths, lambda source: prepare(decode(source, max_pixels), model.preprocessing), workers):
        for sample, error in batch.unreadable:
            answers[sample]["error"] = error.reason
        if len(batch):
            rows = model.probabilities_of(model.logits(batch.images)).numpy()
            for sample, row in zip(batch.samples, rows, strict=True):
                answers[sample]["predictions"] = [guess._asdict() for guess in model.best(row, arguments.top)]
                if least is not None:
                    answers[sample]["abstained"] = bool(row.max() < least)
    for answer in answers:
        _show(answer, model.descriptions, screen)
    bad = [answer["path"] for answer in answers if "error" in answer]
    if len(bad) == len(answers):
        reasons = "; ".join(f"{a['path']}: {a['error']}" for a in answers[:3])
        raise DataError(f"not one of the pictures can be read ({reasons}): give JPEG, PNG, WebP, BMP or GIF files.")
    return (DataError.exit_code if bad else 0), answers


def expand(words: str) -> list[str]:
    """The files that one argument stands for, in order of their names."""
    if not words:
        raise UsageError("a picture's path is empty: name a file, a folder or a pattern.")
    path = Path(words)
    if path.is_dir():
        from vitral.datasets.scan import pictures_below

        found = pictures_below(path)
        if not found:
            raise MissingInputError(
                f"{path} holds no pictures: give a folder with JPEG, PNG, WebP, BMP or GIF files in it."
            )
        return found
    if path.exists():
        return [words]
    found = sorted(name for name in glob.glob(words, recursive=True) if Path(name).is_file())  # noqa: PTH207 - any pattern
    if not found:
        if any(sign in words for sign in "*?["):
            raise MissingInputError(f"no picture at {words}: nothing matches the pattern; check it, from {Path.cwd()}.")
        near = nearest_path(path, _may_be_picture)
        raise MissingInputError(f"no picture at {words}: " + (f"did you mean {near}?" if near else "check the path."))
    return found


def _may_be_picture(path: Path) -> bool:
    from vitral.datasets.scan import ENDINGS

    return path.is_dir() or path.suffix.lower() in ENDINGS


def _show(answer: dict[str, Any], descriptions: dict[str, str], screen: Screen) -> None:
    if "error" in answer:
        screen.warn(f"{answer['path']}: {answer['error']}")
        return
    said = [f"{guess['probability']:6.2%}  {_name(guess['label'], descriptions)}" for guess in answer["predictions"]]
    unsure = "  no answer: it is not sure enough" if answer.get("abstained") else ""
    screen.say("\n".join([answer["path"] + unsure, *(f"  {line}" for line in said)]))


def _name(label: str, descriptions: dict[str, str]) -> str:
    return f"{label} ({descriptions[label]})" if label in descriptions else label
