"""What `evaluate` writes into a model folder when asked to, and what `predict` reads there."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitral.commands.measuring import Labelled
from vitral.commands.shared_options import section
from vitral.console import Screen
from vitral.errors import DataError, UsageError

if TYPE_CHECKING:
    from vitral.evaluators.classification import Evaluation
    from vitral.serving.predictor import Model


def require_folder(arguments: argparse.Namespace) -> None:
    """Refuse, before minutes of work, what cannot be written into the model, or should not.

    Raises:
        UsageError: the model is no folder of vitral's, or other options do not go with it.
    """
    asked = "--fit-temperature" if arguments.fit_temperature else "--write" if arguments.write else None
    if asked is None:
        return
    from vitral.weights.folder import is_ours
    from vitral.weights.json_files import read_object

    if arguments.write and arguments.abstain_at is None:
        raise UsageError("--write keeps what --abstain-at finds: name the accuracy, like --abstain-at 0.95.")
    config = Path(arguments.model) / "config.json"
    if not config.is_file() or not is_ours(read_object(config)):
        raise UsageError(
            f"{asked} writes into a model folder of vitral's, which {arguments.model} is not: first "
            f"`vitral convert {arguments.model} --to vitral`."
        )
    if section(arguments, "preprocessing."):
        raise UsageError(f"{asked} is about the model as it is: leave --resize, --crop and the like out.")
    if arguments.only_present_classes:
        raise UsageError(f"{asked} is about all of the model's classes: leave --only-present-classes out.")


def fit(model: Model, result: Evaluation, chosen: Labelled, arguments: argparse.Namespace, screen: Screen) -> Model:
    """The model with the temperature that fits these pictures; it is written into the folder, too.

    Raises:
        UsageError: they are training pictures. DataError: they are too few.
    """
    from vitral.datasets.dataset import TRAIN
    from vitral.evaluation import calibrate
    from vitral.evaluators.temperature import LEAST_PICTURES, known_rows

    if chosen.name == TRAIN:
        raise UsageError(
            "a temperature fitted on training pictures makes a model too sure: give pictures it never saw."
        )
    if len(known_rows(result.logits, chosen.split.labels)) < LEAST_PICTURES:
        raise DataError(f"a temperature takes at least {LEAST_PICTURES} readable pictures of known classes: give more.")
    fitted, sentence = calibrate(model, result.logits, chosen.split.labels, chosen.name)
    fitted.metrics["calibration"]["data"] = chosen.dataset.name
    lost = fitted.metrics.pop("abstain", None)
    kept = _write(arguments.model, fitted.metrics, f"Later: {sentence}.")
    screen.decide(sentence)
    screen.decide(f"written to {arguments.model}, the older numbers are in {kept}")
    screen.decide(
        "below it is measured on the pictures that it was fitted on, which flatters its probabilities a little"
    )
    if lost:
        screen.warn("thresholds of --abstain-at that were kept are for the older temperature, and gone: find them anew")
    return fitted


def keep_threshold(
    model: Model, found: dict[str, Any], chosen: Labelled, arguments: argparse.Namespace, screen: Screen
) -> None:
    """Write the line that --abstain-at found into the folder, for `predict --abstain-at-accuracy`.

    Raises:
        DataError: no line was found.
    """
    line = found["abstain"]
    if line["threshold"] is None:
        raise DataError(
            f"no probability is high enough for {line['wanted']:.1%} right answers on these pictures, so nothing is "
            "kept: ask for less, or give more pictures."
        )
    where = {"split": chosen.name, "data": chosen.dataset.name, "temperature": model.temperature}
    entry = {**line, "count": found["count"], **where}
    others = [known for known in _lines(model.metrics) if known.get("wanted") != line["wanted"]]
    sentence = (
        f"Later: answers from probability {line['threshold']:.4f} on were right in {line['accuracy']:.2%} of "
        f"{line['coverage']:.1%} of {found['count']:,} {chosen.name} pictures."
    )
    kept = _write(arguments.model, model.metrics | {"abstain": [*others, entry]}, sentence)
    screen.decide(f"kept in {arguments.model}, the older numbers are in {kept}")


def threshold(model: Model, accuracy: float, name: str) -> float:
    """From which probability on to answer, as `evaluate --abstain-at ACCURACY --write` found it.

    Args:
        name: the model as the user wrote it.

    Raises:
        DataError: nothing is kept for this accuracy, or for another temperature.
    """
    lines = _lines(model.metrics)
    for line in lines:
        if line.get("wanted") == accuracy:
            value = line.get("threshold")
            if not isinstance(value, int | float) or not 0 <= value <= 1:
                raise DataError(
                    f"metrics.json of {name}: a threshold must be from 0 to 1, not {value!r}: find it anew."
                )
            if line.get("temperature") != model.temperature:
                raise DataError(f"the threshold kept in {name} is for another temperature: {_way_out(name, accuracy)}")
            return float(value)
    known = ", ".join(str(line["wanted"]) for line in lines if "wanted" in line)
    has = f"only for {known}" if known else "for none"
    raise DataError(f"{name} knows no threshold for accuracy {accuracy:g}, {has}: {_way_out(name, accuracy)}")


def _way_out(name: str, accuracy: float) -> str:
    return f"`vitral evaluate {name} PICTURES --abstain-at {accuracy:g} --write` finds and keeps it."


def _lines(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    found = metrics.get("abstain")
    return [line for line in found if isinstance(line, dict)] if isinstance(found, list) else []


def _write(folder: str, metrics: dict[str, Any], note: str) -> str:
    from vitral.weights.folder import replace_metrics

    return replace_metrics(Path(folder), metrics, note).name
