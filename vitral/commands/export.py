"""Write a model as one graph for other programs: pixels in, calibrated probabilities out, compared with the model.

The graph takes uint8 RGB pixels [n, height, width, 3], already resized and cut, for any n; normalisation and softmax
with the model's temperature are inside. Class names, temperature and preprocessing stand in the file. example.py in
the folder shows how to use it without vitral. huggingface and timm write what those libraries open, as `vitral
convert` does.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitral.commands import convert
from vitral.commands.quantising import CALIBRATION
from vitral.commands.shared_options import DATA, MODEL, PREPROCESSING, SHORT, add_settings, section
from vitral.console import Screen
from vitral.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from vitral.exporters.folder import Report
    from vitral.serving.predictor import Model

FORMATS = ("onnx", "openvino", "torch-export")
"""Keys of `vitral.exporters.EXPORTERS`, for the help, which imports no torch."""

LAYOUTS = ("huggingface", "timm")
"""Layouts that are named beside them; `vitral convert` knows more."""

INT8 = ("auto", "static", "dynamic", "weights")

COMPARED = 32
"""Pictures on which a graph is compared with the model, of those that are given."""


def options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("model", metavar="MODEL", help=MODEL)
    parser.add_argument("--to", metavar="FORMAT", help=f"one of {', '.join((*FORMATS, *LAYOUTS))} (default: onnx)")
    parser.add_argument("--out", metavar="FOLDER", help="folder to write (default: MODEL-FORMAT or RUN-FORMAT, here)")
    parser.add_argument(
        "--precision", choices=("float32", "float16", "bfloat16"), default="float32",
        help="of the weights in the file; arithmetic is float32 (default: float32)",
    )  # fmt: skip
    parser.add_argument(
        "--int8", choices=INT8,
        help="static: multiply in int8, ranges measured on --pictures (openvino). dynamic: ranges as they come (onnx). "
        "weights: only stored so. auto: try what is installed on labelled --pictures, keep the fastest that is right",
    )  # fmt: skip
    parser.add_argument(
        "--allowed-drop", type=float, default=0.5, metavar="POINTS",
        help="top-1 accuracy that --int8 auto may give up, in percentage points (default: 0.5)",
    )  # fmt: skip
    parser.add_argument("--features", action="store_true", help="also give what the head sees, for search and probes")
    parser.add_argument(
        "--pictures", metavar="PICTURES", help="to compare and calibrate on: folder or table (default: made-up ones)"
    )
    parser.add_argument("--tolerance", type=float, help="how far probabilities may be from the model's")
    add_settings(parser, {"--workers": SHORT["--workers"]})
    add_settings(parser.add_argument_group("data"), DATA)
    add_settings(parser.add_argument_group("preprocessing, where the model's own should not hold"), PREPROCESSING)


def call(arguments: argparse.Namespace, screen: Screen) -> tuple[int, dict[str, Any]]:
    """Export; the document holds the folder, its files, and how the graph compared with the model."""
    if arguments.to in (*convert.LAYOUTS, *convert.OTHER_WORDS):
        return _converted(arguments, screen)
    if not 0 <= arguments.allowed_drop <= 100:
        raise UsageError(f"--allowed-drop is in percentage points, 0 to 100, not {arguments.allowed_drop:g}.")
    if arguments.tolerance is not None and not 0 < arguments.tolerance <= 1:
        raise UsageError(f"--tolerance is a distance of probabilities above 0, up to 1, not {arguments.tolerance:g}.")
    name = _format(arguments)
    kind = f"int8-{arguments.int8}" if arguments.int8 else arguments.precision
    from vitral.exporters.folder import export, supported
    from vitral.exporters.options import Options
    from vitral.serving.exported import MARK, is_export
    from vitral.serving.loading import load, require_classes
    from vitral.weights.aside import require_own

    if is_export(arguments.model):
        raise UsageError(f"{arguments.model} is an export already: name the model that it was made from.")
    model = load(arguments.model).with_preprocessing(**section(arguments, "preprocessing."))
    if not arguments.features:
        require_classes(model, arguments.model)
    if arguments.int8 == "auto":
        return _chosen(model, arguments, screen)
    supported(name, kind)
    folder = folder_of(arguments, name)
    if kind == "int8-static" and not arguments.pictures:
        raise UsageError("--int8 static measures ranges on pictures: name some of the kind to come with --pictures.")
    require_own(folder, Path(arguments.model), MARK, "export")  # before any work is done
    found = pixels(model, arguments, screen)
    ranges, compared = found[:CALIBRATION], found[-COMPARED:]
    if kind == "int8-static":
        screen.decide(f"ranges measured on {len(ranges)} pictures of {arguments.pictures}")
    screen.progress(f"writing {folder}", force=True)
    chosen = Options(kind, arguments.features, ranges)
    report = export(model, name, chosen, folder, Path(arguments.model), compared, arguments.tolerance)
    screen.end_progress()
    say(report, model, screen)
    return 0, document(report)


def _chosen(model: Model, arguments: argparse.Namespace, screen: Screen) -> tuple[int, dict[str, Any]]:
    """The fastest export that is right on labelled pictures."""
    from vitral.commands.quantising import quantise
    from vitral.serving.exported import MARK
    from vitral.weights.aside import require_own

    if not arguments.pictures:
        raise UsageError("--int8 auto measures accuracy: name labelled pictures with --pictures.")
    folder = folder_of(arguments, "int8")
    require_own(folder, Path(arguments.model), MARK, "export")  # before any work is done
    report = quantise(model, arguments, folder, screen)
    say(report, model, screen)
    return 0, document(report)


def say(report: Report, model: Model, screen: Screen) -> None:
    """What was written, how it compared, and how it is used."""
    screen.decide(report.parity.line())
    files = (f"{name} ({size / 1e6:,.1f} MB)" if size >= 1e5 else name for name, size in report.files)
    screen.decide(", ".join(files))
    height, width = model.preprocessing.crop
    kinds = "sigmoid" if model.multi_label else "softmax"
    screen.say(
        f"pixels [n, {height}, {width}, 3] uint8 -> probabilities [n, {len(model.classes)}] "
        f"({kinds} at temperature {model.temperature:.3f})"
    )
    if report.record["format"] == "openvino":
        screen.say("open it with INFERENCE_PRECISION_HINT f32, as example.py does: OpenVINO would round to bfloat16")
    screen.result(f"{report.record['format']} folder  {report.folder}")


def document(report: Report) -> dict[str, Any]:
    """For --json."""
    return {"folder": str(report.folder), **report.record, "files": dict(report.files)}


def folder_of(arguments: argparse.Namespace, name: str) -> Path:
    """Where the export goes."""
    return Path(arguments.out or f"{convert.name_beside(arguments.model)}-{name}")


def pixels(model: Model, arguments: argparse.Namespace, screen: Screen) -> np.ndarray:
    """Pictures [n, height, width, 3] uint8 to measure and compare on: the user's, spread over all of them, or
    made-up ones."""
    from vitral.config import DataConfig, RuntimeConfig
    from vitral.datasets.pictures import listed
    from vitral.evaluation import threads
    from vitral.exporters.parity import synthetic
    from vitral.exporters.sample import some_pixels
    from vitral.overrides import override

    if arguments.pictures == "-":
        raise UsageError("--pictures takes a picture folder, table or archive, not standard input: name one.")
    if not arguments.pictures:
        screen.decide("compared on made-up pictures: --pictures names real ones")
        return synthetic(model.preprocessing.crop)
    data = override(DataConfig(path=arguments.pictures), section(arguments, "data."))
    runtime = override(RuntimeConfig(), section(arguments, "runtime."))
    found = listed([arguments.pictures], data)
    if found.total is None:  # an archive is read twice, so that it need not be held: once to count
        total = sum(1 for _ in found.pictures)
        found = listed([arguments.pictures], data)
    else:
        total = found.total
    wanted = CALIBRATION + COMPARED if arguments.int8 == "static" else COMPARED
    made, unreadable = some_pixels(model, found.pictures, total, wanted, threads(runtime.workers), data.max_pixels)
    for path, reason in unreadable:
        screen.warn(f"left out, {path}: {reason}")
    return made


def _format(arguments: argparse.Namespace) -> str:
    from vitral.registry import look_up

    if arguments.int8 and arguments.precision != "float32":
        raise UsageError("--int8 and --precision exclude each other: give one of them.")
    if arguments.int8 == "auto" and arguments.to:
        raise UsageError("--int8 auto chooses the format itself: leave --to out.")
    usual = {"static": "openvino"}.get(arguments.int8, "onnx")
    return look_up("format", arguments.to or usual, {name: name for name in (*FORMATS, *LAYOUTS)})


def _converted(arguments: argparse.Namespace, screen: Screen) -> tuple[int, dict[str, Any]]:
    """Another library's layout: `vitral convert`."""
    given = [
        f"--{name.replace('_', '-')}"
        for name, usual in (("int8", None), ("precision", "float32"), ("features", False), ("pictures", None))
        if getattr(arguments, name) != usual
    ]
    if given or section(arguments, "preprocessing."):
        raise UsageError(
            f"{' and '.join(given) or 'other preprocessing'} does not go with --to {arguments.to}, which writes the "
            f"model as it is: leave it out."
        )
    arguments.dry_run = False
    return convert.call(arguments, screen)
