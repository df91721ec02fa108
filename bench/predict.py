"""Pictures classified from JPEG files, end to end: vitral's `predict` beside the loops that people write with timm and
Transformers. Same weights, same pictures, all cores.

Each (row, round) is a process of its own, so that no library's threads stand in another's way; starting up, loading
and the first batch are not counted: the clock runs from the first file to the last answer of what follows. Rows:

    vitral torch       the network itself, the bits of `evaluate`
    vitral auto        the fastest engine that is installed and agrees to 1e-5
    vitral int8        an export by `vitral export --int8 auto`, named with --int8
    timm               timm's model and its own transform, a DataLoader with a worker per core, batches of 32
    transformers       ViTForImageClassification and its image processor (the one on Pillow), batches of 32

The peers' models are made from the same folder by `vitral convert`, with its preprocessing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench import report

ROWS = ("vitral torch", "vitral auto", "vitral int8", "timm", "transformers")
BATCH = 32


def files_of(pictures: Path, count: int) -> list[str]:
    """The first `count` pictures below a folder, over and over where there are fewer."""
    from vitral.datasets.scan import pictures_below

    found = pictures_below(pictures)
    return [found[i % len(found)] for i in range(count)]


def by_vitral(row: str, model: Path, files: Sequence[str]) -> Iterator[int]:
    """As `vitral predict` does it: pictures answered so far, batch by batch."""
    import vitral
    from vitral.config import MAX_PIXELS
    from vitral.datasets.pictures import Picture
    from vitral.evaluation import threads
    from vitral.fastest import with_backend
    from vitral.serving.stream import answered

    loaded = vitral.load(model)
    if row == "vitral auto":
        loaded, said = with_backend(loaded, "auto")
        print(said, file=sys.stderr)
    done = 0
    for batch in answered(loaded, (Picture(name, name) for name in files), threads(None), MAX_PIXELS):
        for answer in batch:
            assert answer.probabilities is not None, answer
            loaded.best(answer.probabilities, 5)
        done += len(batch)
        yield done


def by_timm(folder: Path, files: Sequence[str]) -> Iterator[int]:
    """The loop of timm's own documentation, with a DataLoader."""
    import torch
    from PIL import Image

    from tests import peers

    timm = peers.timm()
    network = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network), is_training=False)

    class Files(torch.utils.data.Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return len(files)

        def __getitem__(self, i: int) -> Any:
            return transform(Image.open(files[i]).convert("RGB"))

    done = 0
    with torch.inference_mode():
        for images in torch.utils.data.DataLoader(Files(), batch_size=BATCH, num_workers=report.cores()):
            network(images).softmax(dim=-1).topk(min(5, network.num_classes))
            done += len(images)
            yield done


def by_transformers(folder: Path, files: Sequence[str]) -> Iterator[int]:
    """The loop of Transformers' own documentation."""
    import torch
    from PIL import Image

    from tests import peers

    library = peers.transformers_library()
    network = library.AutoModelForImageClassification.from_pretrained(folder).eval()
    processor = library.AutoImageProcessor.from_pretrained(folder)
    with torch.inference_mode():
        for start in range(0, len(files), BATCH):
            images = [Image.open(name).convert("RGB") for name in files[start : start + BATCH]]
            logits = network(**processor(images, return_tensors="pt")).logits
            logits.softmax(dim=-1).topk(min(5, logits.shape[1]))
            yield start + len(images)


def work(options: argparse.Namespace) -> None:
    """One row in this process; prints its pictures per second."""
    row = options.worker
    files = files_of(options.pictures, options.count + BATCH)
    if row.startswith("vitral"):
        batches = by_vitral(row, options.int8 if row == "vitral int8" else options.model, files)
    else:
        batches = (by_timm if row == "timm" else by_transformers)(options.folder / row, files)
    first = next(batches)
    started = time.perf_counter()
    done = first
    for done in batches:  # noqa: B007
        pass
    assert done == len(files), (done, len(files))
    print(json.dumps((done - first) / (time.perf_counter() - started)))


def converted(model: Path, folder: Path) -> None:
    """The peers' folders."""
    for row, layout in (("timm", "timm"), ("transformers", "huggingface")):
        words = [
            sys.executable,
            "-m",
            "vitral",
            "convert",
            str(model),
            "--to",
            layout,
            "--out",
            str(folder / row),
            "-q",
        ]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.predict", description=(__doc__ or "").split("\n\n")[0])
    report.add_common_options(parser)
    parser.add_argument("model", type=Path, help="model folder, of a family that timm and Transformers have")
    parser.add_argument("pictures", type=Path, help="folder of JPEG files")
    parser.add_argument("--count", type=int, default=512, help="timed pictures per round (default 512)")
    parser.add_argument("--int8", type=Path, help="an export by `vitral export MODEL --int8 auto`")
    parser.add_argument("--rows", nargs="+", choices=ROWS)
    parser.add_argument("--worker", choices=ROWS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker:
        work(options)
        return
    rows = options.rows or [row for row in ROWS if row != "vitral int8" or options.int8]
    env = report.environment()
    found: dict[str, list[float]] = {row: [] for row in rows}
    with tempfile.TemporaryDirectory(prefix="vitral-bench-") as folder:
        converted(options.model, Path(folder))
        words = [sys.executable, "-m", "bench.predict", str(options.model), str(options.pictures)]
        words += ["--count", str(options.count), "--folder", folder]
        words += ["--int8", str(options.int8)] if options.int8 else []
        for _ in range(options.rounds):
            for row in rows:
                done = subprocess.run([*words, "--worker", row], check=True, stdout=subprocess.PIPE, text=True)
                found[row].append(json.loads(done.stdout.splitlines()[-1]))
    print(report.heading(env), f"{options.count} pictures, {options.rounds} rounds", sep="\n", end="\n\n")
    peers = [row for row in rows if not row.startswith("vitral")]
    cells = [
        [row, f"{statistics.median(speeds):.1f}", f"{min(speeds):.1f}-{max(speeds):.1f}",
         *(f"{report.paired_ratio(speeds, found[peer]):.2f}" for peer in peers)]
        for row, speeds in found.items()
    ]  # fmt: skip
    print(report.table(("row", "pictures/s", "min-max", *(f"to {peer}" for peer in peers)), cells))
    report.write_json(options.json, {"environment": env, "count": options.count, "rounds": found})


if __name__ == "__main__":
    main()
