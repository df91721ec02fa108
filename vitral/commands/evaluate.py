"""Measure a model on labelled pictures; classes are matched by name. Brackets hold 95 % intervals."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from vitral.commands.measuring import headlines, labelled, spread
from vitral.commands.predictions import write_table
from vitral.commands.shared_options import DATA, MODEL, PREPROCESSING, SHORT, add_settings, section
from vitral.console import Screen

SHOWN_CLASSES = 20
"""Classes listed on the screen, worst first; --json gives all."""

SHOWN_PAIRS = 10
"""Pairs of confused classes listed on the screen, the most frequent first."""


def options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("model", metavar="MODEL", help=MODEL)
    parser.add_argument(
        "pictures", metavar="PICTURES", help="folder (class/picture, or test/class/picture), table, or NAME:FOLDER"
    )
    parser.add_argument("--split", help="train, validation or test (default: test, else validation)")
    parser.add_argument("--predictions", metavar="FILE.csv", help="also write one line per picture")
    parser.add_argument(
        "--real", metavar="WHERE", help="ReaL labels: real.json, or the column of the table that holds class indices"
    )
    parser.add_argument(
        "--abstain-at", metavar="ACCURACY", type=_share, help="find how sure to be for this accuracy, like 0.95"
    )
    parser.add_argument(
        "--conformal", metavar="COVERAGE", type=_share,
        help="also try sets of classes that hold the true one this often, like 0.9: set up on half the pictures, "
        "tried on the other half",
    )  # fmt: skip
    add_settings(parser, {name: SHORT[name] for name in ("--device", "--workers")})
    add_settings(parser.add_argument_group("data"), DATA)
    add_settings(parser.add_argument_group("preprocessing, where the model's own should not hold"), PREPROCESSING)


def _share(word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{word!r} is no share between 0 and 1, like 0.95")
    return value


def call(arguments: argparse.Namespace, screen: Screen) -> tuple[int, dict[str, Any]]:
    """Measure; the document holds `top1`, `top5`, `count`, `unreadable`, `per_class`, `intervals`, `calibration`,
    what was asked for besides, and what was measured."""
    from vitral.config import RuntimeConfig
    from vitral.datasets.real import real_labels
    from vitral.evaluation import evaluate_split, on_request, threads, trust
    from vitral.overrides import override
    from vitral.serving.predictor import load

    runtime = override(RuntimeConfig(), section(arguments, "runtime."))
    model = load(arguments.model, runtime.device).with_preprocessing(**section(arguments, "preprocessing."))
    data, name, shown, split = labelled(model, arguments, screen)
    real = arguments.real and real_labels(arguments.real, data, split.sources, len(model.classes))
    screen.progress(f"measuring {len(split):,} pictures of {shown}")
    result = evaluate_split(model, split, threads(runtime.workers), data.max_pixels)
    screen.end_progress()
    assert result is not None
    for sample, reason in list(result.unreadable.items())[:10]:
        screen.warn(f"counted as wrong, {split.sources[sample]}: {reason}")
    measured = {**result.metrics, **trust(model, result.logits, split.labels)}
    more = on_request(model, result.logits, split.labels, real, arguments.abstain_at, arguments.conformal)
    measured["intervals"] |= more.pop("intervals", {})
    measured |= more
    _show(measured, shown, len(model.classes), screen)
    if arguments.predictions:
        write_table(Path(arguments.predictions), model, split, result)
    unreadable = [{"path": str(split.sources[i]), "reason": reason} for i, reason in result.unreadable.items()]
    return 0, {"model": arguments.model, "split": name, **measured, "unreadable_pictures": unreadable}


def _show(found: dict[str, Any], name: str, classes: int, screen: Screen) -> None:
    for sentence in headlines(found, name, classes):
        screen.result(sentence)
    if found.get("balanced_accuracy") is not None:
        balanced = f"{found['balanced_accuracy']:.2%}{spread(found, 'balanced_accuracy')}"
        screen.say(f"balanced accuracy {balanced}, macro F1 {found['macro_f1']:.4f}")
    if "real_top1" in found:
        screen.result(f"ReaL top-1 {found['real_top1']:.2%}{spread(found, 'real_top1')} of {found['real_count']:,}")
    for sentence in _sentences(found):
        screen.say(sentence)
    if screen.quiet:
        return
    score = "average_precision" if "mean_average_precision" in found else "top1"
    worst = sorted(found["per_class"].items(), key=lambda item: item[1][score])[:SHOWN_CLASSES]
    rows = [(label, f"{row[score]:.1%}", f"{row['count']:,}") for label, row in worst]
    screen.table(("class, worst first", score.replace("_", " "), "pictures"), rows, right=(1, 2))
    if found.get("confused"):
        pairs = [(p["label"], p["guess"], f"{p['count']:,}", f"{p['share']:.1%}") for p in found["confused"]]
        screen.table(("class", "taken for", "pictures", "of its own"), pairs[:SHOWN_PAIRS], right=(2, 3))


def _sentences(found: dict[str, Any]) -> list[str]:
    """What is to be said of probabilities."""
    said = []
    made = found["calibration"]
    if "ece" in made:
        scores = f"NLL {made['nll']:.4f}, Brier {made['brier']:.4f}"
        line = f"calibration error (ECE) {made['ece']:.2%}{spread(found, 'ece')}, {scores}"
        if "before" in made:
            before = made["before"]
            line += (
                f", at temperature {made['temperature']:.3f}; without it ECE {before['ece']:.2%}, "
                f"NLL {before['nll']:.4f}, Brier {before['brier']:.4f}"
            )
        said.append(line)
    abstain = found.get("abstain")
    if abstain and abstain["threshold"] is None:
        said.append(f"no probability is high enough for {abstain['wanted']:.1%} right answers on these pictures")
    elif abstain:
        said.append(
            f"answering only from probability {abstain['threshold']:.4f} on: {abstain['accuracy']:.2%} right, on "
            f"{abstain['coverage']:.1%} of these pictures"
        )
    for method, row in found.get("conformal", {}).get("methods", {}).items():
        said.append(
            f"sets of classes by {method.upper()}: {row['coverage']:.2%} hold the true class "
            f"({found['conformal']['wanted']:.1%} wanted), {row['mean_size']:.2f} classes on average"
        )
    return said
