"""The input path on one core: a real JPEG of about 500x375 to a 224x224 training or evaluation picture.

Paths are timed in one process with one thread, round by round one after the other over the same pictures,
read into memory before: decode alone (simplejpeg), torchvision's Pillow transforms, timm's default transforms,
and vitral's. "uint8", "scaled", "shrink" and "cache" rows stop at the bytes that vitral's loader hands over; others end
in normalised float32. Rates are of core seconds.
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


def photographs(folders: list[Path], count: int, size: tuple[int, int]) -> Iterator[Any]:
    """Up to `count` real photographs, cut and enlarged to a width and height."""
    from PIL import Image, ImageOps

    files = [f for folder in folders if folder.is_dir() for f in sorted(folder.rglob("*.[jJ][pP]*"))]
    for file in files[:: max(1, len(files) // count)][:count]:
        with Image.open(file) as image:
            yield ImageOps.fit(image.convert("RGB"), size, Image.Resampling.BICUBIC)


def smooth_noise(count: int, size: tuple[int, int]) -> Iterator[Any]:
    """Noise whose power falls with frequency, as in photographs; for machines without any."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for _ in range(count):
        total = np.zeros((*size[::-1], 3))
        for octave in range(1, 8):
            coarse = rng.integers(0, 256, (3 * 2**octave // 2, 4 * 2**octave // 2, 3), dtype=np.uint8)
            total += np.asarray(Image.fromarray(coarse).resize(size)) / 2**octave
        yield Image.fromarray(total.clip(0, 255).astype(np.uint8))


def make_jpegs(
    folders: list[Path], count: int, into: Path, size: tuple[int, int] = (WIDTH, HEIGHT)
) -> tuple[list[Path], str]:
    """`count` JPEGs written into a folder, and what they are made from."""
    pictures, source = list(photographs(folders, count, size)), "photographs"
    if len(pictures) < count:
        pictures, source = list(smooth_noise(count, size)), "synthetic noise (no photographs found)"
    files = [into / f"{i:04d}.jpg" for i in range(count)]
    for file, picture in zip(files, pictures, strict=True):
        picture.save(file, quality=QUALITY)
    return files, source


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


def vitral_paths(paths: list[Path]) -> dict[str, Path_]:
    """vitral as its loader runs it: pictures to uint8, then whole batches to float; `paths` are the JPEGs' files."""
    import numpy as np
    import torch

    from vitral.config import AugmentationConfig, Preprocessing
    from vitral.data.cache import Memory
    from vitral.data.decode import decode
    from vitral.data.preprocessing import normalise, prepare
    from vitral.data.random_streams import borrowed_generator
    from vitral.data.reading import Reader
    from vitral.data.transforms import vary

    augmentation, preprocessing = AugmentationConfig(min_area=0.08), Preprocessing()  # area as torchvision's

    def train(reader: Reader) -> Callable[[list[Any]], Iterator[Any]]:
        def run(jpegs: list[Any]) -> Iterator[Any]:
            for i, jpeg in enumerate(jpegs):
                rng = borrowed_generator(0, 0, i)
                yield reader.make(
                    jpeg,
                    lambda picture, rng=rng: vary(picture.cut(rng, augmentation, preprocessing), rng, augmentation),
                )

        return run

    def evaluation(jpegs: list[bytes]) -> Iterator[Any]:
        for jpeg in jpegs:
            yield prepare(decode(jpeg, briefly=True), preprocessing)

    def batch(path: Callable[[list[Any]], Iterator[Any]], jpegs: list[Any]) -> Any:
        images = np.empty((len(jpegs), SIDE, SIDE, 3), dtype=np.uint8)
        for i, pixels in enumerate(path(jpegs)):
            images[i] = pixels
        return images

    def pixels(path: Callable[[list[Any]], Iterator[Any]]) -> Path_:
        def run(jpegs: list[bytes]) -> None:
            for start in range(0, len(jpegs), BATCH):
                batch(path, jpegs[start : start + BATCH])

        return run

    def floats(path: Callable[[list[Any]], Iterator[Any]]) -> Path_:
        def run(jpegs: list[bytes]) -> None:
            for start in range(0, len(jpegs), BATCH):
                images = torch.from_numpy(batch(path, jpegs[start : start + BATCH]))
                normalise(images, preprocessing.mean, preprocessing.std)

        return run

    def cached() -> Path_:
        """From files, as only these are kept; the first call fills the cache."""
        run, files = pixels(train(Reader(cache=Memory("pixels", 10**10)))), list(paths)
        return lambda jpegs: run(files[: len(jpegs)])

    return {
        "train vitral uint8": pixels(train(Reader())),
        "train vitral scaled": pixels(train(Reader(scaled=True))),
        "train vitral shrink": pixels(train(Reader(shrink=256))),
        "train vitral cache": cached(),
        "train vitral": floats(train(Reader())),
        "eval vitral uint8": pixels(evaluation),
        "eval vitral": floats(evaluation),
    }


# Command ------------------------------------------------------------------------------------------------

COLUMNS = ("path", "images/s", "min-max", "to pillow", "to decode alone")


def measure(paths: dict[str, Path_], jpegs: list[bytes], rounds: int) -> dict[str, list[float]]:
    """Images per core second of each path in each round."""
    rates: dict[str, list[float]] = {name: [] for name in paths}
    for path in paths.values():
        path(jpegs)  # libraries warm up, and caches fill
    for name in report.turns(list(paths), rounds):
        start = time.process_time()  # of one thread: what else the machine does counts less
        paths[name](jpegs)
        rates[name].append(len(jpegs) / (time.process_time() - start))
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
        epilog="Goals: vitral's training path to uint8 at least 3 times the Pillow path, 4/5 of decode alone.",
    )  # fmt: skip
    report.add_common_options(parser)
    parser.add_argument("--pictures", type=int, default=256, help="JPEGs in a round (default 256)")
    parser.add_argument("--size", type=int, nargs=2, default=(WIDTH, HEIGHT), metavar=("WIDTH", "HEIGHT"),
                        help=f"of the JPEGs in pixels (default {WIDTH} {HEIGHT})")  # fmt: skip
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
        files, source = make_jpegs(options.photographs, options.pictures, Path(folder), tuple(options.size))
        jpegs = [file.read_bytes() for file in files]
        paths = {"decode alone": decode_alone(), **torchvision_paths(), **timm_paths(), **vitral_paths(files)}
        print(f"{len(jpegs)} JPEGs made from {source}", file=sys.stderr)
        rows = summarise(measure(paths, jpegs, options.rounds))
    mean_kb = sum(map(len, jpegs)) / len(jpegs) / 1000
    print(report.heading(env))
    width, height = options.size
    print(f"one core · {len(jpegs)} JPEGs of {width}x{height}, quality {QUALITY}, {mean_kb:.0f} kB, from {source}\n")
    print(report.table(COLUMNS, [cells(row) for row in rows]))
    settings = {"pictures": len(jpegs), "size": list(options.size), "source": source, "rounds": options.rounds}
    report.write_json(options.json, {"environment": env, "settings": settings, "rows": rows})


if __name__ == "__main__":
    main()
