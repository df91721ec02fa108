"""Pictures with the spectrum of photographs, and what people do to photographs before they copy them."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from vitral.datasets.dataset import Dataset, Source, Split


def textured(seed: int, size: tuple[int, int] = (120, 96)) -> Image.Image:
    """Coloured noise whose amplitude falls as 1 / frequency, as in photographs; `size` is width and height."""
    rng = np.random.default_rng(seed)
    width, height = size
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    frequency[0, 0] = 1
    spectrum = np.fft.fft2(rng.normal(size=(height, width, 3)), axes=(0, 1)) / frequency[..., None]
    pixels = np.fft.ifft2(spectrum, axes=(0, 1)).real
    pixels = pixels.mean(axis=2, keepdims=True) + 0.3 * pixels
    pixels = 128 + 50 * (pixels - pixels.mean()) / pixels.std() + rng.uniform(-20, 20, 3)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str = "JPEG", **settings: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


def again(image: Image.Image, quality: int = 85) -> Image.Image:
    return Image.open(io.BytesIO(encoded(image, quality=quality))).convert("RGB")


def resized(image: Image.Image, share: float) -> Image.Image:
    return image.resize((round(image.width * share), round(image.height * share)), Image.Resampling.BICUBIC)


def cropped(image: Image.Image, rng: random.Random) -> Image.Image:
    """95 % of each side, from anywhere."""
    width, height = round(image.width * 0.95), round(image.height * 0.95)
    x, y = rng.randint(0, image.width - width), rng.randint(0, image.height - height)
    return image.crop((x, y, x + width, y + height))


def mirrored(image: Image.Image) -> Image.Image:
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def trimmed(image: Image.Image) -> Image.Image:
    """5 % off every side."""
    x, y = round(image.width * 0.05), round(image.height * 0.05)
    return image.crop((x, y, image.width - x, image.height - y))


CHANGES: dict[str, Callable[[Image.Image, random.Random], Image.Image]] = {
    "half the size": lambda image, rng: again(resized(image, 0.5), 90),
    "half as large again": lambda image, rng: again(resized(image, 1.5)),
    "encoded at quality 50": lambda image, rng: again(image, 50),
    "cropped by 5 %": lambda image, rng: again(cropped(image, rng)),
    "5 % off every side": lambda image, rng: again(trimmed(image)),
    "mirrored": lambda image, rng: again(mirrored(image)),
    "all at once": lambda image, rng: again(resized(cropped(mirrored(image), rng), 0.6), 60),
}


def dataset(classes: tuple[str, ...] = ("cat", "dog"), **splits: list[tuple[Source, tuple[int, ...]]]) -> Dataset:
    made = {
        name: Split([source for source, _ in rows], [labels for _, labels in rows]) for name, rows in splits.items()
    }
    return Dataset("made up", None, classes, made)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below `folder`, to compare before and after."""
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
