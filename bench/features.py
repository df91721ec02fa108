"""Features of a folder of pictures, end to end from the files: vitral beside a plain loop over Transformers.

Both have the same weights, the same squash to 224x224 (bilinear) and the same threads, in one process; in a round
each goes through all pictures, and each round starts with another one. Rows:

    vitral                     vitral.load(...).features(paths): decoding in threads beside the network
    transformers pil           Pillow opens a batch, ViTImageProcessorPil makes it a tensor, ViTModel gives its features
    transformers torchvision   likewise with ViTImageProcessor, whose work is torchvision's

Features are the class token after the last layer norm. Before anything is timed they are compared.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import report
from tests import places

if TYPE_CHECKING:
    import numpy as np

BATCH = 32  # pictures
PICTURES = places.DATA / "imagenet_val_1300" / "images"
PROCESSORS = {"transformers pil": "ViTImageProcessorPil", "transformers torchvision": "ViTImageProcessor"}
LEAST_COSINE = 0.99
"""Of the features of one picture by two rows: below it they do not do the same work. Decoders and resizing differ."""

Row = Callable[[list[Path]], "np.ndarray"]


def find(folder: Path, count: int) -> list[Path]:
    """Up to `count` pictures below a folder, spread evenly over their names."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if not files:
        raise SystemExit(f"no pictures below {folder}: name a folder with --pictures.")
    count = min(count, len(files))
    return [files[i * len(files) // count] for i in range(count)]


def vitral_row(model: str, workers: int) -> Row:
    """As the documentation has it."""
    import vitral

    loaded = vitral.load(model).with_preprocessing(resize=(224, 224), crop=(224, 224), interpolation="bilinear")
    return lambda paths: loaded.features(paths, workers=workers)


def transformers_row(folder: Path, processor: str) -> Row:
    """The loop of the library's documentation, without gradients."""
    import numpy as np
    import torch
    from PIL import Image

    from tests import peers

    library = peers.transformers_library()
    library.logging.set_verbosity_error()  # it reports the head, which features do not need
    library.logging.disable_progress_bar()
    prepare = getattr(library, processor)(size={"height": 224, "width": 224}, resample=2)
    network = library.ViTModel.from_pretrained(folder, add_pooling_layer=False).eval()

    def row(paths: list[Path]) -> np.ndarray:
        found = []
        for start in range(0, len(paths), BATCH):
            images = [Image.open(path).convert("RGB") for path in paths[start : start + BATCH]]
            with torch.inference_mode():
                found.append(network(**prepare(images, return_tensors="pt")).last_hidden_state[:, 0].numpy())
        return np.concatenate(found)

    return row


def as_transformers(model: str, folder: Path) -> None:
    """The same weights for the other library, and the same colours: its processor's defaults."""
    from vitral.weights import read
    from vitral.weights.conversion import convert

    weights = read(model)
    if weights.preprocessing.mean != (0.5, 0.5, 0.5) or weights.preprocessing.std != (0.5, 0.5, 0.5):
        raise SystemExit(f"{model} has other colours than mean and std 0.5: name another with --model.")
    convert(weights, "huggingface", folder, lambda *_: "")


def agreement(rows: dict[str, Row], paths: list[Path]) -> dict[str, float]:
    """The least cosine of a picture's features with vitral's."""
    import numpy as np

    found = {name: row(paths) for name, row in rows.items()}
    units = {name: values / np.linalg.norm(values, axis=1, keepdims=True) for name, values in found.items()}
    return {name: float((values * units["vitral"]).sum(axis=1).min()) for name, values in units.items()}


def measure(rows: dict[str, Row], paths: list[Path], rounds: int) -> dict[str, list[float]]:
    """Pictures per second of each row in each round."""
    rates: dict[str, list[float]] = {name: [] for name in rows}
    for name in report.turns(list(rows), rounds):
        start = time.perf_counter()
        rows[name](paths)
        rates[name].append(len(paths) / (time.perf_counter() - start))
        print(f"round {len(rates[name])}: {name} {rates[name][-1]:.1f} pictures/s", file=sys.stderr)
    return rates


COLUMNS = ("row", "pictures/s", "min-max", "vitral to it", "least cosine")


def main(arguments: list[str] | None = None) -> None:
    """Measure every row and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.features", description=(__doc__ or "").split("\n\n")[0],
        epilog="Goal: vitral 1.5 times the plain loop with Pillow, on 2 cores.",
    )  # fmt: skip
    report.add_common_options(parser)
    parser.add_argument("--model", default=str(places.WEIGHTS), help="weights of a ViT (default: the real ViT-Ti/16)")
    parser.add_argument("--pictures", type=Path, default=PICTURES, help="folder (default: 1,300 of ImageNet)")
    parser.add_argument("--count", type=int, default=1300, help="pictures in a round (default 1300)")
    parser.add_argument("--threads", type=int, default=report.cores(), help="default: the cores")
    parser.add_argument("--rows", nargs="+", choices=tuple(PROCESSORS), default=list(PROCESSORS))
    options = parser.parse_args(arguments)
    import torch

    torch.set_num_threads(options.threads)
    env = report.environment()
    paths = find(options.pictures, options.count)
    with tempfile.TemporaryDirectory() as place:
        as_transformers(options.model, Path(place) / "model")
        rows = {"vitral": vitral_row(options.model, options.threads)}
        rows |= {name: transformers_row(Path(place) / "model", PROCESSORS[name]) for name in options.rows}
    cosines = agreement(rows, paths[:BATCH])
    if min(cosines.values()) < LEAST_COSINE:
        raise SystemExit(f"the rows do not give the same features (cosines {cosines}): nothing is timed.")
    rates = measure(rows, paths, options.rounds)
    result = [
        {
            "row": name, "rate": report.spread(values), "rounds": values, "cosine": cosines[name],
            "vitral_to_it": report.paired_ratio(rates["vitral"], values),
        }
        for name, values in rates.items()
    ]  # fmt: skip
    print(report.heading(env))
    print(f"{len(paths)} pictures of {options.pictures.name}, {options.threads} threads, {options.rounds} rounds\n")
    print(report.table(COLUMNS, [_cells(row) for row in result]))
    settings = {"pictures": len(paths), "threads": options.threads, "rounds": options.rounds, "model": options.model}
    report.write_json(options.json, {"environment": env, "settings": settings, "rows": result})


def _cells(row: dict[str, Any]) -> list[str]:
    rate = row["rate"]
    speeds = [f"{rate['median']:.1f}", f"{rate['min']:.1f}-{rate['max']:.1f}"]
    return [row["row"], *speeds, f"{row['vitral_to_it']:.2f}", f"{row['cosine']:.4f}"]


if __name__ == "__main__":
    main()
