"""Probe a model's features on labelled pictures: the network stays as it is, only a simple classifier is fitted."""

from __future__ import annotations

import argparse
from typing import Any

from vitral.commands.measuring import say
from vitral.commands.shared_options import DATA, MODEL, PREPROCESSING, SHORT, add_settings, section
from vitral.console import Screen
from vitral.errors import DataError

METHODS = ("fewshot", "knn", "linear")
"""What "all" stands for."""

OLDER = "fewshot-older"
"""The few-shot protocol of older papers, which chooses its penalty on the test pictures: only when asked for."""


def options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("model", metavar="MODEL", help=MODEL)
    parser.add_argument(
        "pictures",
        metavar="PICTURES",
        help="folder train|val|test/class/picture, a table with a column split, or NAME:FOLDER",
    )
    parser.add_argument("--method", choices=(*METHODS, OLDER, "all"), default="all", help="(default: all)")
    add_settings(parser, {name: SHORT[name] for name in ("--device", "--workers")})
    add_settings(parser.add_argument_group("data"), {k: v for k, v in DATA.items() if k != "--multi-label"})
    add_settings(parser.add_argument_group("preprocessing, where the model's own should not hold"), PREPROCESSING)


def call(arguments: argparse.Namespace, screen: Screen) -> tuple[int, dict[str, Any]]:
    """Extract features once, then probe; the document holds accuracies like `5shot`, `20nn`, `1nn` and `linear`."""
    from vitral.config import DataConfig, RuntimeConfig
    from vitral.datasets import read
    from vitral.evaluation import probing, represent, threads
    from vitral.evaluators import PROBES
    from vitral.overrides import override
    from vitral.serving.loading import load

    runtime = override(RuntimeConfig(), section(arguments, "runtime."))
    arguments.group.settle()
    model = load(arguments.model, runtime.device).with_preprocessing(**section(arguments, "preprocessing."))
    data = override(DataConfig(path=arguments.pictures), section(arguments, "data."))
    dataset = read(data)
    say(dataset, screen)
    screen.progress(f"features of {sum(map(len, dataset.splits.values())):,} pictures")
    workers = threads(runtime.workers, arguments.group)
    seen = represent(model, dataset, workers, data.max_pixels, arguments.group)
    screen.end_progress()
    if not arguments.group.leads:  # another process goes on
        return 0, {}
    made, tested, unreadable = probing(dataset, seen)
    for path, reason in list(unreadable.items())[:10]:
        screen.warn(f"{path}: {reason}")
    if not len(made.train) or not len(made.test):
        raise DataError("no picture to learn from or to measure on could be read: see `vitral data check`.")
    document: dict[str, Any] = {"model": arguments.model, "split": tested, "count": len(made.test_labels)}
    document |= {"train_count": len(made.train), "classes": made.classes}
    screen.decide(f"{len(made.train):,} pictures to learn from, measured on {len(made.test):,} of {tested}")
    for method in METHODS if arguments.method == "all" else (arguments.method,):
        screen.progress(f"probing: {method}")
        document[method] = PROBES[method](made)
        screen.end_progress()
    _show(document, screen)
    unread = [{"path": path, "reason": reason} for path, reason in unreadable.items()]
    return 0, {**document, "unreadable_pictures": unread}


def _show(found: dict[str, Any], screen: Screen) -> None:
    rows = []
    for name, value in found.get("fewshot", {}).items():
        if name != "std":
            rows.append((f"{_shots(name)} per class, ridge", f"{value:.2%}", _deviation(found, name)))
    for name, penalty in found.get(OLDER, {}).get("l2", {}).items():
        label = f"{_shots(name)} per class, older protocol"
        rows.append((label, f"{found[OLDER][name]:.2%}", f"penalty {penalty:g}, the best on these very pictures"))
    for name, value in found.get("knn", {}).items():
        # fewer pictures than neighbours are all asked
        count = min(int(name.removesuffix("nn")), found["train_count"])
        rows.append(("nearest neighbour" if count == 1 else f"{count} nearest neighbours", f"{value:.2%}", ""))
    if "linear" in found:
        linear = found["linear"]
        rows.append(("linear classifier", f"{linear['linear']:.2%}", f"weight decay {linear['weight_decay']:.2g}"))
    screen.table(("probe", "accuracy", ""), rows, right=(1,))


def _shots(name: str) -> str:
    """A key like "5shot" in words."""
    count = name.removesuffix("shot")
    return "1 shot" if count == "1" else f"{count} shots"


def _deviation(found: dict[str, Any], name: str) -> str:
    return f"± {100 * found['fewshot']['std'][name]:.2f} over 3 draws of the shots"
