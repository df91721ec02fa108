"""Look into a model: where its answers come from, how far it looks, what its layers do; figures, numbers and a page.

Without pictures: what can be said of the network alone, its filters and positions.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitral.commands.shared_options import DATA, MODEL, PREPROCESSING, SHORT, add_settings, section
from vitral.console import Screen
from vitral.datasets.pictures import Picture, listed
from vitral.errors import DataError, UsageError

if TYPE_CHECKING:
    from vitral.findings.measure import Gallery

METHODS = ("rollout", "attention", "relevance", "gradcam", "occlusion")
SLOW = ("occlusion",)
"""Methods that are only used when they are asked for: a few hundred forward passes per picture."""


def options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("model", metavar="MODEL", help=MODEL)
    parser.add_argument("pictures", metavar="PICTURE", nargs="*", help="picture, folder of pictures, or quoted pattern")
    parser.add_argument("--out", help="folder to write (default: inspections/MODEL)")
    parser.add_argument("--method", action="append", choices=METHODS, metavar="NAME",
                        help=f"how maps are made: {', '.join(METHODS)}; can be given several times (default: all that "
                             f"fit the network, without {' and '.join(SLOW)}, which takes long)")  # fmt: skip
    parser.add_argument("--label", help="class that the maps are about (default: the model's own answer)")
    parser.add_argument("--tested", type=int, default=4, metavar="N",
                        help="test maps by deletion and insertion on the first N pictures (default: 4)")  # fmt: skip
    parser.add_argument("--neighbours", metavar="PICTURES",
                        help="folder or table of pictures among which to look for the most alike")  # fmt: skip
    parser.add_argument("--plane", choices=("pca", "tsne"), default="pca",
                        help="how pictures are laid on a plane (default: pca; tsne needs scikit-learn)")  # fmt: skip
    add_settings(parser, {name: SHORT[name] for name in ("--device", "--workers")})
    add_settings(parser, {"--max-pixels": DATA["--max-pixels"]})
    add_settings(parser.add_argument_group("preprocessing, where the model's own should not hold"), PREPROCESSING)


def call(arguments: argparse.Namespace, screen: Screen) -> tuple[int, dict[str, Any]]:
    """Look, and write the folder; the document is its inspect.json and where it is."""
    if arguments.tested < 0:
        raise UsageError(f"--tested must be 0 or more, not {arguments.tested}.")
    from vitral.config import DataConfig, RuntimeConfig
    from vitral.evaluation import threads
    from vitral.findings import folder
    from vitral.findings.measure import MOST, Request, look
    from vitral.inspection import figures
    from vitral.overrides import override
    from vitral.serving.loading import load, require_classes

    figures.available()
    given = list(itertools.islice(listed(arguments.pictures, DataConfig()).pictures, MOST + 1))
    if len(given) > MOST:
        raise UsageError(f"these are more pictures than can be looked into: name at most {MOST}.")
    runtime = override(RuntimeConfig(), section(arguments, "runtime."))
    max_pixels = override(DataConfig(), section(arguments, "data.")).max_pixels
    model = load(arguments.model, runtime.device).with_preprocessing(**section(arguments, "preprocessing."))
    if given:  # filters and positions it has without classes, too
        require_classes(model, arguments.model)
    name = _name(arguments.model)
    out = Path(arguments.out or f"inspections/{name}")
    folder.require_free(out)
    workers = threads(runtime.workers)
    methods = _methods(model.network, arguments.method)
    gallery = _gallery(arguments.neighbours, screen) if arguments.neighbours else None
    kept, pixels, unreadable = _read(model, given, max_pixels, screen)
    request = Request(methods if given else (), arguments.label, arguments.tested, arguments.plane)
    found = look(model, kept, pixels, request, gallery, workers, screen)
    screen.progress("drawing")
    document = folder.write(found, out, name)
    screen.end_progress()
    _show(document, out, screen)
    return (DataError.exit_code if unreadable else 0), {**document, "folder": str(out), "unreadable": unreadable}


def _name(model: str) -> str:
    """What the model is called: by its folder, or by the run's where it is the model of a run."""
    path = Path(model)
    if not path.exists():
        return "".join(c if c.isalnum() or c in "-_.+" else "-" for c in model)
    path = path.resolve()
    return (path.parent if path.name == "model" else path).stem or "model"


def _methods(network: Any, asked: list[str] | None) -> tuple[str, ...]:
    """The methods to use.

    Raises:
        UsageError: one that was asked for does not fit the network.
    """
    from vitral.inspection.methods import methods_for

    fitting = methods_for(network)
    if asked is None:
        return tuple(name for name in fitting if name not in SLOW) or fitting
    for name in asked:
        if name not in fitting:
            raise UsageError(f"--method {name} does not fit this network: take {' or '.join(fitting)}.")
    return tuple(dict.fromkeys(asked))


def _read(
    model: Any, given: list[Picture], max_pixels: int, screen: Screen
) -> tuple[list[str], Any, list[dict[str, str]]]:
    """The pictures that can be read, their pixels [n, h, w, 3], and the others."""
    import numpy as np

    from vitral.data.decode import decode
    from vitral.data.preprocessing import prepare
    from vitral.errors import UnreadableImageError

    kept, pixels, unreadable = [], [], []
    for picture in given:
        try:
            if picture.error is not None:
                raise UnreadableImageError(picture.name, picture.error)
            pixels.append(prepare(decode(picture.source, max_pixels), model.preprocessing))
            kept.append(picture.name)
        except UnreadableImageError as error:
            screen.warn(f"{picture.name}: {error.reason}")
            unreadable.append({"path": picture.name, "reason": error.reason})
    if given and not kept:
        reasons = "; ".join(f"{one['path']}: {one['reason']}" for one in unreadable[:3])
        raise DataError(f"not one of the pictures can be read ({reasons}): give JPEG, PNG, WebP, BMP or GIF files.")
    return kept, np.stack(pixels) if pixels else np.zeros((0, *model.preprocessing.crop, 3), np.uint8), unreadable


def _gallery(words: str, screen: Screen) -> Gallery:
    """The pictures to look for neighbours in: those of train where the folder or table has splits; a folder without
    classes is taken as it is."""
    from vitral.config import DataConfig
    from vitral.datasets import TRAIN, read
    from vitral.datasets.scan import pictures_below
    from vitral.findings.measure import Gallery

    try:
        data = read(DataConfig(path=words), fewest=1, hold_out=False)
    except DataError:
        if not Path(words).is_dir():
            raise
        paths = tuple(pictures_below(Path(words)))
        screen.decide(f"neighbours are looked for among {len(paths):,} pictures of {words}, which has no classes")
        return Gallery(paths, ("",) * len(paths))
    split = data.splits[TRAIN]
    labels = tuple(" + ".join(data.classes[k] for k in numbers if k >= 0) for numbers in split.labels)
    screen.decide(f"neighbours are looked for among {len(split):,} pictures of {words}, split train")
    return Gallery(tuple(map(str, split.sources)), labels)


def _show(document: dict[str, Any], out: Path, screen: Screen) -> None:
    areas = document["faithfulness"]
    if areas:
        rows = [(name, f"{one['deletion']:.3f}", f"{one['insertion']:.3f}") for name, one in areas.items()]
        screen.table(("map", "deletion (low)", "insertion (high)"), rows, right=(1, 2))
    for name, reason in document["absent"].items():
        screen.decide(f"no {name}: {reason}")
    screen.say(f"{len(document['figures'])} figures, numbers and arrays in {out}")
    screen.result(f"page: {out / 'inspect.html'}")
