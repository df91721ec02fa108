"""Measure a model on labelled pictures; classes are matched by name."""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import Any

from vitral.commands.shared_options import DATA, PREPROCESSING, SHORT, add_settings, given
from vitral.console import Screen
from vitral.errors import StorageError, UsageError

SHOWN_CLASSES = 20
"""Classes listed on the screen, worst first; --json gives all."""


def options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("model", metavar="MODEL", help="model folder, or published weights")
    parser.add_argument("pictures", metavar="PICTURES", help="folder (class/picture, or test/class/picture) or table")
    parser.add_argument("--split", help="train, validation or test (default: test, else validation)")
    parser.add_argument("--predictions", metavar="FILE.csv", help="also write one line per picture")
    add_settings(parser, {name: SHORT[name] for name in ("--device", "--workers")})
    add_settings(parser.add_argument_group("data"), DATA)
    add_settings(parser.add_argument_group("preprocessing, where the model's own should not hold"), PREPROCESSING)


def call(arguments: argparse.Namespace, screen: Screen) -> tuple[int, dict[str, Any]]:
    """Measure; the document holds `top1`, `top5`, `count`, `unreadable`, `per_class` and what was measured."""
    from vitral.config import DataConfig, RuntimeConfig
    from vitral.datasets import read_for_evaluation
    from vitral.evaluation import evaluate_split, threads
    from vitral.overrides import override
    from vitral.serving.predictor import load

    runtime = override(RuntimeConfig(), _section(arguments, "runtime."))
    model = load(arguments.model, runtime.device).with_preprocessing(**_section(arguments, "preprocessing."))
    data = override(DataConfig(path=arguments.pictures, multi_label=model.multi_label), _section(arguments, "data."))
    if data.multi_label != model.multi_label:
        kind = "several labels" if model.multi_label else "one label"
        raise UsageError(f"the model gives a picture {kind}: leave --multi-label out, the model knows.")
    dataset = read_for_evaluation(data, model.classes, arguments.split, _cut(model.metrics))
    for sentence in dataset.notes:
        screen.decide(sentence)
    for sentence in dataset.warnings:
        screen.warn(sentence)
    ((name, split),) = dataset.splits.items()
    screen.progress(f"measuring {len(split):,} pictures of {name}")
    result = evaluate_split(model, split, threads(runtime.workers), data.max_pixels)
    screen.end_progress()
    assert result is not None
    for sample, reason in list(result.unreadable.items())[:10]:
        screen.warn(f"counted as wrong, {split.sources[sample]}: {reason}")
    _show(result.metrics, name, screen)
    if arguments.predictions:
        _write_predictions(Path(arguments.predictions), model, split, result)
    unreadable = [{"path": str(split.sources[i]), "reason": reason} for i, reason in result.unreadable.items()]
    return 0, {"model": arguments.model, "split": name, **result.metrics, "unreadable_pictures": unreadable}


def _section(arguments: argparse.Namespace, prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in given(arguments, prefix).items()}


def _cut(metrics: dict[str, Any]) -> Any:
    """How the model's own validation pictures were held out, if its folder says so."""
    from vitral.datasets import Cut

    try:
        return Cut(**metrics["held_out"])
    except (KeyError, TypeError):
        return None


def _show(metrics: dict[str, Any], name: str, screen: Screen) -> None:
    screen.result(f"{name}: top-1 {metrics['top1']:.2%}, top-5 {metrics['top5']:.2%} of {metrics['count']:,} pictures")
    if "mean_average_precision" in metrics:
        screen.result(f"mean average precision {metrics['mean_average_precision']:.4f}")
    score = "average_precision" if "mean_average_precision" in metrics else "top1"
    worst = sorted(metrics["per_class"].items(), key=lambda item: item[1][score])[:SHOWN_CLASSES]
    rows = [(label, f"{found[score]:.1%}", f"{found['count']:,}") for label, found in worst]
    if not screen.quiet:
        screen.table(("class, worst first", score.replace("_", " "), "pictures"), rows, right=(1, 2))


def _write_predictions(path: Path, model: Any, split: Any, result: Any) -> None:
    import torch

    top = min(5, len(model.classes))
    columns = ["path", "label", *(f"{what}{k + 1}" for k in range(top) for what in ("top", "probability")), "logit"]
    probabilities = model.probabilities_of(torch.from_numpy(result.logits)).numpy()
    try:
        with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            for i, (source, labels) in enumerate(zip(split.sources, split.labels, strict=True)):
                truth = ";".join(model.classes[k] if k >= 0 else "" for k in labels)
                guesses = [] if i in result.unreadable else model.best(probabilities[i], top)
                cells = [cell for guess in guesses for cell in (guess.label, f"{guess.probability:.6f}")]
                logit = f"{result.logits[i].max():.6f}" if guesses else ""
                writer.writerow([source, truth, *cells, *[""] * (2 * (top - len(guesses))), logit])
    except OSError as error:
        raise StorageError(f"cannot write {path} ({error.strerror}): name another file.") from error
