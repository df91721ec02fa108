"""Compare two models on the same pictures: the difference with its 95 % interval, and the pictures that flipped."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vitral.commands.measuring import Labelled, labelled, spread
from vitral.commands.predictions import truth, write_whole_csv
from vitral.commands.shared_options import DATA, MODEL, SHORT, add_settings, section
from vitral.commands.targets import refuse_bad_target
from vitral.console import Screen
from vitral.errors import DataError, UsageError

SHOWN = 20
"""Flipped pictures listed on the screen; --json gives all."""

SIGNIFICANCE = 0.05
"""p from which a difference may be luck: Fisher's convention (1925), the level that the 95 % interval has, too."""


def options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("first", metavar="MODEL_A", help=MODEL)
    parser.add_argument("second", metavar="MODEL_B", help="the model to compare it with")
    parser.add_argument("pictures", metavar="PICTURES", help="folder (class/picture, or test/class/picture) or table")
    parser.add_argument("--split", help="train, validation or test (default: test, else validation)")
    parser.add_argument("--predictions", metavar="FILE.csv", help="also write one line per picture")
    add_settings(parser, {name: SHORT[name] for name in ("--device", "--workers")})
    add_settings(parser.add_argument_group("data"), DATA)


def call(arguments: argparse.Namespace, screen: Screen) -> tuple[int, dict[str, Any]]:
    """Measure both; the document holds `models`, `difference`, `interval`, `p`, `lost`, `gained` and `flipped`."""
    refuse_bad_target("--predictions", arguments.predictions, ".csv")
    from vitral.evaluation import right_of
    from vitral.evaluators.intervals import share_interval
    from vitral.evaluators.paired import paired

    paths = (arguments.first, arguments.second)
    arguments.group.settle()
    prepared = [_prepare(arguments, path, screen) for path in paths]
    _require_comparable(*prepared)
    (one, of_one), (other, of_other) = prepared
    split, split_again = of_one.split, of_other.split
    results = [_measure(arguments, path, *pair, screen) for path, pair in zip(paths, prepared, strict=True)]
    if not arguments.group.leads:  # another process goes on
        return 0, {}
    hits = [
        right_of(model, result.logits, found.labels)
        for model, found, result in zip((one, other), (split, split_again), results, strict=True)
    ]
    models = [
        {"model": path, "accuracy": float(right.mean()), "intervals": {"accuracy": share_interval(right)}}
        for path, right in zip(paths, hits, strict=True)
    ]
    document = {"split": of_one.name, "count": len(split), "models": models, **paired(*hits)}
    best = [_best(model, result) for model, result in zip((one, other), results, strict=True)]
    document["flipped"] = [
        {"path": str(split.sources[i]), "label": truth(one, split.labels[i]), "right": "AB"[int(hits[1][i])],
         "a": best[0][i][0], "b": best[1][i][0]}
        for i in range(len(split)) if hits[0][i] != hits[1][i]
    ]  # fmt: skip
    _show(document, one.multi_label, screen)
    if arguments.predictions:
        _write(Path(arguments.predictions), [truth(one, labels) for labels in split.labels], split.sources, best, hits)
    return 0, document


def _require_comparable(first: tuple[Any, Labelled], second: tuple[Any, Labelled]) -> None:
    (one, of_one), (other, of_other) = first, second
    if of_one.split.sources != of_other.split.sources:
        raise UsageError(
            "the models held out different pictures of these, so there is no split that both can be compared on: give "
            "pictures that neither was trained on."
        )
    if one.multi_label != other.multi_label:
        raise UsageError("one model gives a picture one label, the other several: compare models of one kind.")


def _write(
    path: Path,
    labels: Sequence[str],
    sources: Sequence[Any],
    best: Sequence[list[tuple[str, str]]],
    hits: Sequence[Any],
) -> None:
    """A line per picture: its label, and of both models the answer, how sure it is and whether it is right."""
    columns = ["path", "label", "a", "a probability", "a right", "b", "b probability", "b right"]
    rows = [
        [source, labels[i], *(cell for k in (0, 1) for cell in (*best[k][i], int(hits[k][i])))]
        for i, source in enumerate(sources)
    ]
    write_whole_csv(path, columns, rows)


def _prepare(arguments: argparse.Namespace, path: str, screen: Screen) -> tuple[Any, Labelled]:
    """The model, and the pictures to measure it on; errors name the model."""
    from vitral.config import RuntimeConfig
    from vitral.overrides import override
    from vitral.serving.loading import load, require_classes

    runtime = override(RuntimeConfig(), section(arguments, "runtime."))
    try:
        model = load(path, runtime.device)
        require_classes(model, path)
        return model, labelled(model, arguments, screen, f"{path}: ")
    except (UsageError, DataError) as error:
        if path in str(error):
            raise
        raise type(error)(f"{path}: {error}") from error


def _measure(arguments: argparse.Namespace, path: str, model: Any, pictures: Labelled, screen: Screen) -> Any:
    """What came out for each picture of the split."""
    from vitral.config import RuntimeConfig
    from vitral.evaluation import evaluate_split, threads
    from vitral.overrides import override

    runtime = override(RuntimeConfig(), section(arguments, "runtime."))
    screen.progress(f"measuring {path} on {len(pictures.split):,} pictures of {pictures.shown}")
    workers, group = threads(runtime.workers, arguments.group), arguments.group
    result = evaluate_split(model, pictures.split, workers, pictures.config.max_pixels, group=group)
    screen.end_progress()
    return result


def _best(model: Any, result: Any) -> list[tuple[str, str]]:
    """The likeliest class of each picture and its probability; empty for an unreadable picture."""
    import torch

    probabilities = model.probabilities_of(torch.from_numpy(result.logits)).numpy()
    return [
        ("", "") if i in result.unreadable else (guess.label, f"{guess.probability:.6f}")
        for i, row in enumerate(probabilities)
        for guess in model.best(row, 1)
    ]


def _show(found: dict[str, Any], multi_label: bool, screen: Screen) -> None:
    what = "pictures with every label right" if multi_label else "top-1"
    for letter, row in zip("AB", found["models"], strict=True):
        screen.result(f"{letter}  {what} {row['accuracy']:.2%}{spread(row, 'accuracy')}  {row['model']}")
    low, high = (100 * found["interval"][end] for end in ("low", "high"))
    screen.result(
        f"B less A: {100 * found['difference']:+.2f} points ({low:+.2f} to {high:+.2f}) on {found['count']:,} pictures"
    )
    words = "so the difference may be luck" if found["p"] >= SIGNIFICANCE else "so the difference is hardly luck"
    screen.say(
        f"B gained {found['gained']:,} pictures and lost {found['lost']:,}: p = {found['p']:.3g} by McNemar's exact "
        f"test, {words}"
    )
    if found["flipped"] and not screen.quiet:
        rows = [(row["right"], row["label"], row["a"], row["b"], row["path"]) for row in found["flipped"][:SHOWN]]
        screen.table(("right", "label", "A says", "B says", "picture"), rows)
