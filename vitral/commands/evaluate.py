"""Measure a model on labelled pictures; classes are matched by name. Brackets hold 95 % intervals."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from vitral.commands.keeping import fit, keep_threshold, require_folder
from vitral.commands.measuring import Labelled, headlines, labelled, spread
from vitral.commands.page import write_page
from vitral.commands.predictions import write_table
from vitral.commands.shared_options import DATA, MODEL, PREPROCESSING, SHORT, add_settings, section, share
from vitral.commands.targets import refuse_bad_target
from vitral.config import RuntimeConfig
from vitral.console import Screen
from vitral.errors import UsageError
from vitral.overrides import override
from vitral.registry import look_up
from vitral.reports.besides import besides

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
    parser.add_argument("--report", metavar="FILE.html", help="also write a page with pictures, for any browser")
    parser.add_argument(
        "--real", metavar="WHERE", help="ReaL labels: real.json, or the column of the table that holds class indices"
    )
    parser.add_argument(
        "--abstain-at", metavar="ACCURACY", type=share, help="find how sure to be for this accuracy, like 0.95"
    )
    parser.add_argument(
        "--conformal", metavar="COVERAGE", type=share,
        help="also try sets of classes that hold the true one this often, like 0.9: set up on half the pictures, "
        "tried on the other half",
    )  # fmt: skip
    parser.add_argument("--fit-temperature", action="store_true", help="fit the model's probabilities, and keep it")
    parser.add_argument("--write", action="store_true", help="keep what --abstain-at finds in the model, for `predict`")
    parser.add_argument(
        "--labels", default="names", metavar="names|indices|FILE",
        help="what labels are: the model's class names, their positions from 0 (ImageNet-V2), or the first word of "
        "each line of a file like synset_words.txt (ImageNet-A, -R, -Sketch) (default: names)",
    )  # fmt: skip
    parser.add_argument(
        "--only-present-classes", action="store_true",
        help="only classes that have pictures here may be the answer (ImageNet-A and -R)",
    )  # fmt: skip
    parser.add_argument(
        "--corruptions", action="store_true",
        help="also measure top-1 under the 15 corruptions of ImageNet-C at 5 levels: 75 times the work",
    )  # fmt: skip
    parser.add_argument("--corruption", action="append", metavar="NAME", help="only this one of them; may be repeated")
    parser.add_argument("--seed", type=int, default=0, help="of the corruptions (default: 0)")
    add_settings(parser, {name: SHORT[name] for name in ("--device", "--workers")})
    add_settings(parser.add_argument_group("data"), DATA)
    add_settings(parser.add_argument_group("preprocessing, where the model's own should not hold"), PREPROCESSING)


def call(arguments: argparse.Namespace, screen: Screen) -> tuple[int, dict[str, Any]]:
    """Measure; the document holds `top1`, `top5`, `count`, `unreadable`, `per_class`, `intervals`, `calibration`,
    what was asked for besides, and what was measured."""
    refuse_bad_target("--report", arguments.report, ".html")
    refuse_bad_target("--predictions", arguments.predictions, ".csv")
    require_folder(arguments)
    corruptions = _corruptions(arguments)
    model, chosen, real = _prepare(arguments, screen)
    result = _answers(model, chosen, arguments, screen)
    if result is None:  # another process goes on; of the corrupted pictures, too, this one has its share
        _corrupted(corruptions, model, chosen, arguments, screen)
        return 0, {}
    model, measured = _measured(model, chosen, result, real, arguments, screen)
    if corruptions:
        corrupted = _corrupted(corruptions, model, chosen, arguments, screen)
        measured["corruptions"] = {"clean": measured["top1"], **corrupted}
    _show(measured, chosen.shown, len(model.classes), screen)
    if arguments.write:
        keep_threshold(model, measured, chosen, arguments, screen)
    split = chosen.split
    if arguments.predictions:
        write_table(Path(arguments.predictions), model, split, result)
    unreadable = [{"path": str(split.sources[i]), "reason": reason} for i, reason in result.unreadable.items()]
    document = {"model": arguments.model, "split": chosen.name, **measured, "unreadable_pictures": unreadable}
    if arguments.report:
        write_page(Path(arguments.report), arguments, model, chosen, result, document, screen)
    return 0, document


def _prepare(arguments: argparse.Namespace, screen: Screen) -> tuple[Any, Labelled, Any]:
    """The model, the pictures to measure it on, and their ReaL labels if those were asked for."""
    from vitral.datasets.real import real_labels
    from vitral.serving.loading import load, require_classes

    arguments.group.settle()
    model = load(arguments.model, _runtime(arguments).device).with_preprocessing(**section(arguments, "preprocessing."))
    require_classes(model, arguments.model)
    chosen = labelled(model, arguments, screen)
    real = arguments.real and real_labels(arguments.real, chosen.config, chosen.split.sources, len(model.classes))
    if arguments.only_present_classes:
        model, chosen = _only_present(model, chosen, screen)
    return model, chosen, real


def _answers(model: Any, chosen: Labelled, arguments: argparse.Namespace, screen: Screen) -> Any:
    """What came out for each picture; `None` to a process that does not lead."""
    from vitral.evaluation import evaluate_split

    split, workers = chosen.split, _workers(arguments)
    screen.progress(f"measuring {len(split):,} pictures of {chosen.shown}")
    result = evaluate_split(model, split, workers, chosen.config.max_pixels, group=arguments.group)
    screen.end_progress()
    if result is not None:
        for sample, reason in list(result.unreadable.items())[:10]:
            screen.warn(f"counted as wrong, {split.sources[sample]}: {reason}")
    return result


def _measured(
    model: Any, chosen: Labelled, result: Any, real: Any, arguments: argparse.Namespace, screen: Screen
) -> tuple[Any, dict[str, Any]]:
    """The model, with the temperature that was fitted if that was asked for, and the numbers made of its answers."""
    from vitral.evaluation import on_request, trust

    if arguments.fit_temperature:
        model = fit(model, result, chosen, arguments, screen)
    labels = chosen.split.labels
    measured = {**result.metrics, **trust(model, result.logits, labels)}
    more = on_request(model, result.logits, labels, real, arguments.abstain_at, arguments.conformal)
    measured["intervals"] |= more.pop("intervals", {})
    return model, measured | more


def _only_present(model: Any, chosen: Labelled, screen: Screen) -> tuple[Any, Labelled]:
    from vitral.evaluation import only_present

    whole = len(model.classes)
    model, split = only_present(model, chosen.split)
    sentence = f"only the {len(model.classes):,} classes that have pictures compete, of the model's {whole:,}"
    screen.decide(sentence)
    noted = dataclasses.replace(chosen.dataset, notes=(*chosen.dataset.notes, sentence))
    return model, chosen._replace(split=split, dataset=noted)


def _runtime(arguments: argparse.Namespace) -> RuntimeConfig:
    return override(RuntimeConfig(), section(arguments, "runtime."))


def _workers(arguments: argparse.Namespace) -> int:
    from vitral.evaluation import threads

    return threads(_runtime(arguments).workers, arguments.group)


def _corruptions(arguments: argparse.Namespace) -> list[str]:
    """The corruptions to measure, in their order; none unless asked for. Looked at before anything is measured."""
    if arguments.real and arguments.only_present_classes:
        raise UsageError("--real names positions among all classes: leave --only-present-classes out.")
    if arguments.seed < 0:
        raise UsageError(f"--seed must be 0 or more, not {arguments.seed}.")
    if not arguments.corruptions and not arguments.corruption:
        return []
    from vitral.data.corruptions import CORRUPTIONS
    from vitral.data.corruptions.filters import ndimage

    for name in arguments.corruption or ():
        look_up("corruption", name, CORRUPTIONS)
    ndimage()
    return [name for name in CORRUPTIONS if not arguments.corruption or name in arguments.corruption]


def _corrupted(
    names: list[str], model: Any, chosen: Labelled, arguments: argparse.Namespace, screen: Screen
) -> dict[str, Any]:
    """What is left under corruptions; nothing if none are asked for, and to a process that does not lead."""
    if not names:
        return {}
    from vitral.datasets.class_list import are_imagenet, label_names
    from vitral.robustness import mean_corruption_error, measure_corruptions

    count = len(chosen.split)
    made = measure_corruptions(
        model, chosen.split, names, _workers(arguments), chosen.config.max_pixels, arguments.seed,
        lambda done: screen.progress(f"corrupted {done:,} of {count:,} pictures, {5 * len(names)} times each"),
        arguments.group,
    )  # fmt: skip
    screen.end_progress()
    if made is None:
        return {}
    known = not arguments.only_present_classes and are_imagenet(label_names(arguments.labels, model.classes))
    mce = mean_corruption_error(made["mean"]) if known else None
    return {**made, **({"mce": mce} if mce is not None else {})}


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
    if "corruptions" in found:
        _show_corruptions(found["corruptions"], screen)
    score = "average_precision" if "mean_average_precision" in found else "top1"
    worst = sorted(found["per_class"].items(), key=lambda item: item[1][score])[:SHOWN_CLASSES]
    rows = [(label, f"{row[score]:.1%}", f"{row['count']:,}") for label, row in worst]
    screen.table(("class, worst first", score.replace("_", " "), "pictures"), rows, right=(1, 2))
    if found.get("confused"):
        pairs = [(p["label"], p["guess"], f"{p['count']:,}", f"{p['share']:.1%}") for p in found["confused"]]
        screen.table(("class", "taken for", "pictures", "of its own"), pairs[:SHOWN_PAIRS], right=(2, 3))


def _show_corruptions(found: dict[str, Any], screen: Screen) -> None:
    rows = [
        (name.replace("_", " "), *(f"{share:.1%}" for share in found["levels"][name]), f"{mean:.1%}")
        for name, mean in sorted(found["mean"].items(), key=lambda item: item[1])
    ]
    screen.table(("corruption", "1", "2", "3", "4", "5", "mean"), rows, right=range(1, 7))


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
    return [*said, *besides(found)]
