"""The input path on one core: a real JPEG of about 500x375 to a 224x224 training or evaluation picture.

Paths are timed in one process with one thread, round by round one after the other over the same pictures,
read into memory before: decode alone (simplejpeg), torchvision's Pillow transforms, timm's default transforms,
and vitral's. "uint8" rows stop at the bytes that vitral's loader hands over; others end in normalised float32.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench import report
from tests import places

SIDE = 224  # pixels of the result
BATCH = 64  # pictures that vitral normalises at a time, as its loader's batches
WIDTH, HEIGHT, QUALITY = 500, 375, 90  # of the JPEGs, ImageNet's usual size
PHOTOGRAPHS = (places.DATA / "imagenet_val_1300" / "images", places.DATA / "vtab_like" / "dtd10" / "train")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # torchvision's documented training transform

Path_ = Callable[[list[bytes]], object]


# Pictures -----------------------------------------------------------------------------------------------


def photographs(folders: list[Path], count: int) -> Iterator[Any]:
    """Up to `count` real photographs, cut to 4:3 and enlarged to 500x375."""
    from PIL import Image, ImageOps

    files = [f for folder in folders if folder.is_dir() for f in sorted(folder.rglob("*.[jJ][pP]*"))]
    for file in files[:: max(1, len(files) // count)][:count]:
        with Image.open(file) as image:
            yield ImageOps.fit(image.convert("RGB"), (WIDTH, HEIGHT), Image.Resampling.BICUBIC)


def smooth_noise(count: int) -> Iterator[Any]:
    """Noise whose power falls with frequency, as in photographs; for machines without any."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for _ in range(count):
        total = np.zeros((HEIGHT, WIDTH, 3))
        for octave in range(1, 8):
            coarse = rng.integers(0, 256, (3 * 2**octave // 2, 4 * 2**octave // 2, 3), dtype=np.uint8)
            total += np.asarray(Image.fromarray(coarse).resize((WIDTH, HEIGHT))) / 2**octave
        yield Image.fromarray(total.clip(0, 255).astype(np.uint8))


def make_jpegs(folders: list[Path], count: int, into: Path) -> tuple[list[bytes], str]:
    """`count` JPEGs written into a folder and read back, and what they are made from."""
    pictures, source = list(photographs(folders, count)), "photographs"
    if len(pictures) < count:
        pictures, source = list(smooth_noise(count)), "synthetic noise (no photographs found)"
    files = [into / f"{i:04d}.jpg" for i in range(count)]
    for file, picture in zip(files, pictures, strict=True):
        picture.save(file, quality=QUALITY)
    return [file.read_bytes() for file in files], source


# Paths --------------------------------------------------------------------------------------------------


def per_picture(transform: Callable[[Any], object]) -> Path_:
    """Open each JPEG with Pillow, then transform."""
    from PIL import Image

    def run(jpegs: list[bytes]) -> None:
        for jpeg in jpegs:
            transform(Image.open(io.BytesIO(jpeg)).convert("RGB"))

    return run


def decode_alone() -> Path_:
    """JPEG to RGB, no more."""
    import simplejpeg

    def run(jpegs: list[bytes]) -> None:
        for jpeg in jpegs:
            simplejpeg.decode_jpeg(jpeg)

    return run


def torchvision_paths() -> dict[str, Path_]:
    """The transforms that torchvision's documentation trains and evaluates ImageNet with."""
    from tests import peers

    T = peers.torchvision_transforms()  # noqa: N806
    ending = [T.ToTensor(), T.Normalize(MEAN, STD)]
    train = T.Compose([T.RandomResizedCrop(SIDE), T.RandomHorizontalFlip(), *ending])
    evaluation = T.Compose([T.Resize(256), T.CenterCrop(SIDE), *ending])
    return {"train pillow": per_picture(train), "eval pillow": per_picture(evaluation)}


def timm_paths() -> dict[str, Path_]:
    """timm's defaults: bicubic evaluation; random interpolation and colour jitter 0.4 in training."""
    from tests import peers

    create = peers.timm().data.create_transform
    return {
        "train timm": per_picture(create(SIDE, is_training=True)),
        "eval timm": per_picture(create(SIDE)),
    }


def vitral_paths() -> dict[str, Path_]:
    """vitral as its loader runs it: pictures to uint8, then whole batches to float."""
    import numpy as np
    import torch

    from vitral.config import AugmentationConfig, Preprocessing
    from vitral.data.decode import decode
    from vitral.data.preprocessing import normalise, prepare
    from vitral.data.random_streams import sample_generator
    from vitral.data.transforms import augment

    augmentation, preprocessing = AugmentationConfig(min_area=0.08), Preprocessing()  # area as torchvision's

    def train(jpegs: list[bytes]) -> Iterator[Any]:
        for i, jpeg in enumerate(jpegs):
            yield augment(decode(jpeg), sample_generator(0, 0, i), augmentation, preprocessing)

    def evaluation(jpegs: list[bytes]) -> Iterator[Any]:
        for jpeg in jpegs:
            yield prepare(decode(jpeg), preprocessing)

    def pixels(path: Callable[[list[bytes]], Iterator[Any]]) -> Path_:
        def run(jpegs: list[bytes]) -> None:
            for start in range(0, len(jpegs), BATCH):
                np.stack(list(path(jpegs[start : start + BATCH])))

        return run

    def floats(path: Callable[[list[bytes]], Iterator[Any]]) -> Path_:
        def run(jpegs: list[bytes]) -> None:
            for start in range(0, len(jpegs), BATCH):
                batch = torch.from_numpy(np.stack(list(path(jpegs[start : start + BATCH]))))
                normalise(batch, preprocessing.mean, preprocessing.std)

        return run

    return {
        "train vitral uint8": pixels(train),
        "train vitral": floats(train),
        "eval vitral uint8": pixels(evaluation),
        "eval vitral": floats(evaluation),
    }


# Command ------------------------------------------------------------------------------------------------

COLUMNS = ("path", "images/s", "min-max", "to pillow", "to decode alone")


def measure(paths: dict[str, Path_], jpegs: list[bytes], rounds: int) -> dict[str, list[float]]:
    """Images per second of each path in each round; each round starts with another path."""
    names = list(paths)
    rates: dict[str, list[float]] = {name: [] for name in names}
    for path in paths.values():
        path(jpegs[:8])
    for i in range(rounds):
        first = i % len(names)
        for name in names[first:] + names[:first]:
            start = time.perf_counter()
            paths[name](jpegs)
            rates[name].append(len(jpegs) / (time.perf_counter() - start))
    return rates


def summarise(rates: dict[str, list[float]]) -> list[dict[str, Any]]:
    """One row per path; the Pillow path it is compared with is the one for the same end."""
    rows = []
    for name, values in rates.items():
        pillow = rates["eval pillow" if name.startswith("eval") else "train pillow"]
        rows.append({
            "path": name, "rate": report.spread(values), "rounds": values,
            "to_pillow": report.paired_ratio(values, pillow),
            "to_decode": report.paired_ratio(values, rates["decode alone"]),
        })  # fmt: skip
    return rows


def cells(row: dict[str, Any]) -> list[str]:
    """One row of `summarise`, as printed."""
    rate = row["rate"]
    speeds = [f"{rate['median']:.0f}", f"{rate['min']:.0f}-{rate['max']:.0f}"]
    return [row["path"], *speeds, f"{row['to_pillow']:.2f}", f"{row['to_decode']:.2f}"]


def main(arguments: list[str] | None = None) -> None:
    """Measure every path and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.input", description=(__doc__ or "").split("\n\n")[0],
        epilog="Goals: vitral's training path to uint8 at least 2.7 times the Pillow path, 3/4 of decode alone.",
    )  # fmt: skip
    report.add_common_options(parser)
    parser.add_argument("--pictures", type=int, default=256, help="JPEGs in a round (default 256)")
    parser.add_argument(
        "--photographs", nargs="+", type=Path, default=list(PHOTOGRAPHS),
        help="folders with photographs to make the JPEGs from",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"

    import torch

    torch.set_num_threads(1)
    env = report.environment()
    with tempfile.TemporaryDirectory() as folder:
        jpegs, source = make_jpegs(options.photographs, options.pictures, Path(folder))
    paths = {"decode alone": decode_alone(), **torchvision_paths(), **timm_paths(), **vitral_paths()}
    print(f"{len(jpegs)} JPEGs made from {source}", file=sys.stderr)
    rows = summarise(measure(paths, jpegs, options.rounds))
    mean_kb = sum(map(len, jpegs)) / len(jpegs) / 1000
    print(report.heading(env))
    print(f"one core · {len(jpegs)} JPEGs of {WIDTH}x{HEIGHT}, quality {QUALITY}, {mean_kb:.0f} kB, from {source}\n")
    print(report.table(COLUMNS, [cells(row) for row in rows]))
    settings = {"pictures": len(jpegs), "source": source, "rounds": options.rounds}
    report.write_json(options.json, {"environment": env, "settings": settings, "rows": rows})


if __name__ == "__main__":
    main()
